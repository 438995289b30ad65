//! The first start of a cluster: all its first members tell each other which log they have, before any of them votes.
//!
//! So every member knows every other by its log from the first entry on, and a member whose disk was lost cannot be taken
//! for a new one: whoever has been here before knows it by the log that is gone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use mutual_tls::{GrpcIncoming, Security};
use tenantry_proto::internal::v1::raft_transport_service_server::{RaftTransportService, RaftTransportServiceServer};
use tenantry_proto::internal::v1::{
    DeliverRequest, DeliverResponse, IntroduceRequest, IntroduceResponse, OfferSnapshotRequest, OfferSnapshotResponse,
    SendSnapshotRequest, SendSnapshotResponse,
};
use tenantry_types::MemberId;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::{Status, Streaming};
use tower::{Layer, Service};

use super::introduction::{Introducer, IntroductionFailed, answer};
use super::node::{StartError, prepare};
use super::replica::Beginning;
use super::transport::Link;
use super::{Origin, RaftConfig};
use crate::access::AccessLayer;
use crate::storage::{LogId, Members};

const INTRODUCE: &str = "/tenantry.internal.v1.RaftTransportService/Introduce";
const RETRY: Duration = Duration::from_millis(200);
/// How often it is said for whom it waits.
const REMINDER: Duration = Duration::from_secs(10);

/// Completes the configuration of a member that has never run, so that [`RaftNode::start`](super::RaftNode::start) can
/// begin its log. Waits until every initial member has answered; serves only their questions on `listener` meanwhile.
/// Does nothing for a member that has run before, or that joins.
///
/// # Errors
/// When the folder cannot be used, or the others know this member by another log. `Stopped` after `stop`.
pub async fn found(
    config: &mut RaftConfig,
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let Origin::Founded(initial) = &config.origin else {
        return Ok(());
    };
    let opening = config.clone();
    let prepared = tokio::task::spawn_blocking(move || prepare(&opening)).await;
    let prepared = prepared.map_err(|panic| StartError::Thread {
        source: std::io::Error::other(panic),
    })??;
    if prepared.known {
        return Ok(());
    }
    let link = Link {
        fingerprint: config.fingerprint()?,
        own: config.member,
        log: prepared.standing.log,
    };
    let introducer = Introducer {
        link,
        connect: config.connect.clone(),
    };
    let mut others = initial.addresses().clone();
    others.remove(&config.member);
    let answered = CancellationToken::new();
    let serving = serve(link, listener, config.security.clone(), answered.clone());
    let asking = async {
        let _answered = answered.clone().drop_guard();
        match stop.run_until_cancelled(ask_all(&introducer, &others)).await {
            Some(logs) => logs,
            None => Err(StartError::Stopped),
        }
    };
    let (served, logs) = tokio::join!(serving, asking);
    served?;
    let mut logs = logs?;
    logs.insert(link.own, link.log);
    config.replica.beginning = Beginning::Genesis(logs);
    Ok(())
}

async fn ask_all(
    introducer: &Introducer,
    others: &BTreeMap<MemberId, String>,
) -> Result<BTreeMap<MemberId, LogId>, StartError> {
    let mut logs = BTreeMap::new();
    let mut reminder = Instant::now();
    loop {
        let mut missing = Vec::new();
        for (&member, address) in others {
            if logs.contains_key(&member) {
                continue;
            }
            match introducer.ask(member, address).await {
                Ok(log) => drop(logs.insert(member, log)),
                Err(IntroductionFailed::Expelled(expulsion)) => return Err(expulsion.into()),
                Err(error) => missing.push(format!("member {member}: {error}")),
            }
        }
        if missing.is_empty() {
            return Ok(logs);
        }
        if Instant::now() >= reminder {
            reminder = Instant::now() + REMINDER;
            tracing::info!(
                missing = missing.join("; "),
                "the first start of a cluster needs all its initial members; waiting"
            );
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Answers the other members, and everybody else that it is too early.
async fn serve(
    link: Link,
    listener: &TcpListener,
    security: Security,
    until: CancellationToken,
) -> Result<(), StartError> {
    let incoming = GrpcIncoming::new(listener, security);
    Server::builder()
        .layer(AccessLayer)
        .layer(IntroductionsOnly)
        .add_service(RaftTransportServiceServer::new(Founder { link }))
        .serve_with_incoming_shutdown(incoming, until.cancelled_owned())
        .await
        .map_err(|error| StartError::Thread {
            source: std::io::Error::other(error),
        })
}

fn too_early() -> Status {
    Status::unavailable("this member waits for the other initial members, for the cluster's first start")
}

struct Founder {
    link: Link,
}

#[tonic::async_trait]
impl RaftTransportService for Founder {
    async fn deliver(
        &self,
        _request: tonic::Request<Streaming<DeliverRequest>>,
    ) -> Result<tonic::Response<DeliverResponse>, Status> {
        Err(too_early())
    }

    async fn send_snapshot(
        &self,
        _request: tonic::Request<Streaming<SendSnapshotRequest>>,
    ) -> Result<tonic::Response<SendSnapshotResponse>, Status> {
        Err(too_early())
    }

    async fn offer_snapshot(
        &self,
        _request: tonic::Request<OfferSnapshotRequest>,
    ) -> Result<tonic::Response<OfferSnapshotResponse>, Status> {
        Err(too_early())
    }

    async fn introduce(
        &self,
        request: tonic::Request<IntroduceRequest>,
    ) -> Result<tonic::Response<IntroduceResponse>, Status> {
        answer(self.link, &Members::default(), request.get_ref()).map(tonic::Response::new)
    }
}

/// Clients must not take a missing service for a refusal.
#[derive(Debug, Clone, Copy)]
struct IntroductionsOnly;

impl<S> Layer<S> for IntroductionsOnly {
    type Service = OnlyIntroductions<S>;

    fn layer(&self, inner: S) -> OnlyIntroductions<S> {
        OnlyIntroductions { inner }
    }
}

#[derive(Debug, Clone)]
struct OnlyIntroductions<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for OnlyIntroductions<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() == INTRODUCE {
            Box::pin(self.inner.call(request))
        } else {
            Box::pin(async { Ok(too_early().into_http()) })
        }
    }
}
