//! Fake members on port 0: each does as told and keeps what it was asked.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use mutual_tls::Security;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use control_client::{Backoff, ClientOptions, ControlClient, Endpoint};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tenantry_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use tenantry_proto::v1::notification_service_server::{NotificationService, NotificationServiceServer};
use tenantry_proto::v1::placement_service_server::{PlacementService, PlacementServiceServer};
use tenantry_proto::v1::*;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How a member answers a call.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer,
    NotLeader(Option<Endpoint>),
    Hang,
    Fail(Status),
}

/// How a stream goes on after its messages.
#[derive(Debug, Clone)]
pub enum End {
    Silent,
    Closed,
    Fail(Status),
}

/// The streams that a member will serve, one after the other.
pub type Streams<M> = Mutex<VecDeque<(Vec<M>, End)>>;

#[derive(Debug)]
pub struct Member {
    pub endpoint: Endpoint,
    /// Taken in turn; the last one stays.
    replies: Mutex<VecDeque<Reply>>,
    pub created: Mutex<Vec<CreateTenantRequest>>,
    pub deadlines: Mutex<Vec<bool>>,
    pub routing: Streams<PlacementServiceWatchResponse>,
    pub routing_asked: Mutex<Vec<PlacementServiceWatchRequest>>,
    pub events: Streams<NotificationServiceWatchResponse>,
    pub events_asked: Mutex<Vec<NotificationServiceWatchRequest>>,
    /// Batches as `stream number: first sequence`.
    pub reported: Mutex<Vec<(u64, u64)>>,
    report_streams: Mutex<u64>,
}

pub struct Serving(Arc<Member>);

impl Member {
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let member = Arc::new(Self {
            endpoint: listener.local_addr().unwrap().to_string().parse().unwrap(),
            replies: Mutex::new(replies.into_iter().collect()),
            created: Mutex::default(),
            deadlines: Mutex::default(),
            routing: Mutex::default(),
            routing_asked: Mutex::default(),
            events: Mutex::default(),
            events_asked: Mutex::default(),
            reported: Mutex::default(),
            report_streams: Mutex::default(),
        });
        let serving = Arc::new(Serving(Arc::clone(&member)));
        let server = tonic::transport::Server::builder()
            .add_service(AdminServiceServer::from_arc(Arc::clone(&serving)))
            .add_service(PlacementServiceServer::from_arc(Arc::clone(&serving)))
            .add_service(NotificationServiceServer::from_arc(serving));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        member
    }

    pub fn set(&self, reply: Reply) {
        *self.replies.lock().unwrap() = [reply].into();
    }

    pub fn asked(&self) -> usize {
        self.created.lock().unwrap().len()
    }

    async fn reply(&self) -> Result<(), Status> {
        let reply = {
            let mut replies = self.replies.lock().unwrap();
            let next = replies.pop_front().unwrap();
            if replies.is_empty() {
                replies.push_back(next.clone());
            }
            next
        };
        match reply {
            Reply::Answer => Ok(()),
            Reply::Hang => std::future::pending().await,
            Reply::Fail(status) => Err(status),
            Reply::NotLeader(leader) => {
                let hint = leader.map(|leader| ("leader_address".to_owned(), leader.to_string()));
                let details = ErrorDetails::with_error_info(
                    "NOT_LEADER",
                    "tenantry",
                    hint.into_iter().collect::<std::collections::HashMap<_, _>>(),
                );
                Err(Status::with_error_details(Code::Unavailable, "not the leader", details))
            }
        }
    }
}

/// An address where nobody listens.
pub async fn dead() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

/// A member that takes connections and drops each as soon as it hears something.
pub async fn dying() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 64]).await;
        }
    });
    endpoint
}

/// Short waits, long limits: nothing here depends on how fast the machine is.
pub fn options() -> ClientOptions {
    ClientOptions {
        timeout: Duration::from_secs(60),
        attempt_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        watch_silence: Duration::from_secs(60),
        backoff: Backoff {
            first: Duration::from_millis(1),
            max: Duration::from_millis(2),
        },
    }
}

pub fn client(endpoints: &[&Endpoint], options: ClientOptions) -> ControlClient {
    ControlClient::new(endpoints.iter().copied().cloned().collect(), Security::Plain, options).unwrap()
}

fn scripted<M: Clone + Send + 'static>(streams: &Streams<M>) -> BoxStream<'static, Result<M, Status>> {
    let (messages, end) = streams.lock().unwrap().pop_front().unwrap_or((Vec::new(), End::Silent));
    let messages = stream::iter(messages.into_iter().map(Ok));
    match end {
        End::Silent => messages.chain(stream::pending()).boxed(),
        End::Closed => messages.boxed(),
        End::Fail(status) => messages.chain(stream::iter([Err(status)])).boxed(),
    }
}

/// Completes a service with calls that these tests never make.
macro_rules! service {
    ($service:ident { $($unused:ident($request:ty) -> $response:ty;)* } $($used:item)*) => {
        #[tonic::async_trait]
        impl $service for Serving {
            $(async fn $unused(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented(stringify!($unused)))
            })*
            $($used)*
        }
    };
}

service! { AdminService {
        get_tenant(GetTenantRequest) -> GetTenantResponse;
        list_tenants(ListTenantsRequest) -> ListTenantsResponse;
        update_tenant(UpdateTenantRequest) -> UpdateTenantResponse;
        delete_tenant(DeleteTenantRequest) -> DeleteTenantResponse;
        undelete_tenant(UndeleteTenantRequest) -> UndeleteTenantResponse;
        get_tenant_usage(GetTenantUsageRequest) -> GetTenantUsageResponse;
        list_tenant_usage(ListTenantUsageRequest) -> ListTenantUsageResponse;
        explain_tenant_quota(ExplainTenantQuotaRequest) -> ExplainTenantQuotaResponse;
        create_tenant_token(CreateTenantTokenRequest) -> CreateTenantTokenResponse;
        revoke_tenant_tokens(RevokeTenantTokensRequest) -> RevokeTenantTokensResponse;
        list_token_keys(ListTokenKeysRequest) -> ListTokenKeysResponse;
        rotate_token_key(RotateTokenKeyRequest) -> RotateTokenKeyResponse;
        retire_token_key(RetireTokenKeyRequest) -> RetireTokenKeyResponse;
        list_tiers(ListTiersRequest) -> ListTiersResponse;
        update_tier(UpdateTierRequest) -> UpdateTierResponse;
    }
    async fn create_tenant(
        &self,
        request: Request<CreateTenantRequest>,
    ) -> Result<Response<CreateTenantResponse>, Status> {
        let has_deadline = request.metadata().contains_key("grpc-timeout");
        self.0.deadlines.lock().unwrap().push(has_deadline);
        self.0.created.lock().unwrap().push(request.into_inner());
        self.0.reply().await?;
        Ok(Response::new(CreateTenantResponse::default()))
    }
}

service! { PlacementService {
        register_node(RegisterNodeRequest) -> RegisterNodeResponse;
        heartbeat(HeartbeatRequest) -> HeartbeatResponse;
        resolve_tenant(ResolveTenantRequest) -> ResolveTenantResponse;
        explain_placement(ExplainPlacementRequest) -> ExplainPlacementResponse;
        list_nodes(ListNodesRequest) -> ListNodesResponse;
        get_node(GetNodeRequest) -> GetNodeResponse;
        cordon_node(CordonNodeRequest) -> CordonNodeResponse;
        uncordon_node(UncordonNodeRequest) -> UncordonNodeResponse;
    }
    type WatchStream = BoxStream<'static, Result<PlacementServiceWatchResponse, Status>>;

    async fn watch(&self, request: Request<PlacementServiceWatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.reply().await?;
        self.0.routing_asked.lock().unwrap().push(request.into_inner());
        Ok(Response::new(scripted(&self.0.routing)))
    }
}

service! { NotificationService {
        list_events(ListEventsRequest) -> ListEventsResponse;
        list_conditions(ListConditionsRequest) -> ListConditionsResponse;
        get_reactions(GetReactionsRequest) -> GetReactionsResponse;
        update_reactions(UpdateReactionsRequest) -> UpdateReactionsResponse;
    }
    type WatchStream = BoxStream<'static, Result<NotificationServiceWatchResponse, Status>>;
    type ReportStream = BoxStream<'static, Result<ReportResponse, Status>>;

    async fn watch(&self, request: Request<NotificationServiceWatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.reply().await?;
        self.0.events_asked.lock().unwrap().push(request.into_inner());
        Ok(Response::new(scripted(&self.0.events)))
    }

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        let number = {
            let mut streams = self.0.report_streams.lock().unwrap();
            *streams += 1;
            *streams
        };
        let member = Arc::clone(&self.0);
        let answers = request.into_inner().then(move |batch| {
            let member = Arc::clone(&member);
            async move {
                let batch = batch?;
                let first = batch.events.first().map_or(0, |event| event.sequence);
                member.reported.lock().unwrap().push((number, first));
                member.reply().await?;
                let acknowledged_sequence = batch.events.last().map_or(0, |event| event.sequence);
                Ok(ReportResponse { acknowledged_sequence })
            }
        });
        Ok(Response::new(answers.boxed()))
    }
}
