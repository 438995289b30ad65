//! Any member takes any call: a tower layer that hands a call to the leader when this member does not lead.
//!
//! It works on whole gRPC calls, below the services, so that no service carries forwarding code and streams are passed on
//! as they are. A forwarded call is never forwarded again. Must not look into messages.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use parking_lot::Mutex;
use tenantry_types::MemberId;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Layer, Service, ServiceExt as _};

use super::status;
use crate::raft::RaftStatus;

/// Added to a call on its way to the leader; its value is the member that passed it on.
const FORWARDED_BY: HeaderName = HeaderName::from_static("tenantry-forwarded-by");

/// How long a call waits for a leader to be known. About one election, so that a client need not retry through it.
const LEADER_WAIT: Duration = Duration::from_secs(3);
/// A connection that takes longer than this to a member next door will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Who answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnsweredBy {
    /// Whichever member is asked.
    AnyMember,
    /// The leader alone.
    Leader,
}

/// Calls that each member answers itself. All others belong to the leader.
fn answered_by(path: &str) -> AnsweredBy {
    const ANY_MEMBER: [&str; 9] = [
        "/tenantry.v1.ClusterService/GetClusterStatus",
        "/tenantry.v1.ClusterService/TakeSnapshot",
        "/tenantry.v1.PlacementService/Watch",
        "/tenantry.v1.NotificationService/Watch",
        "/tenantry.internal.v1.RaftTransportService/Deliver",
        "/tenantry.internal.v1.RaftTransportService/SendSnapshot",
        "/grpc.health.v1.Health/",
        "/grpc.reflection.v1.ServerReflection/",
        "/grpc.reflection.v1alpha.ServerReflection/",
    ];
    let matches = |known: &&str| {
        if known.ends_with('/') {
            path.starts_with(*known)
        } else {
            path == *known
        }
    };
    if ANY_MEMBER.iter().any(matches) || !path.starts_with("/tenantry.v1.") {
        AnsweredBy::AnyMember
    } else {
        AnsweredBy::Leader
    }
}

/// Adds [`ForwardToLeader`].
#[derive(Debug, Clone)]
pub struct LeaderForwardingLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    this_member: MemberId,
    status: watch::Receiver<RaftStatus>,
    /// With the address that each leads to: a member may move.
    channels: Mutex<HashMap<MemberId, (String, Channel)>>,
}

impl LeaderForwardingLayer {
    /// Forwards to the leader that `status` names, at the address that it has there.
    #[must_use]
    pub fn new(this_member: MemberId, status: watch::Receiver<RaftStatus>) -> Self {
        Self {
            shared: Arc::new(Shared {
                this_member,
                status,
                channels: Mutex::default(),
            }),
        }
    }
}

impl<S> Layer<S> for LeaderForwardingLayer {
    type Service = ForwardToLeader<S>;

    fn layer(&self, inner: S) -> ForwardToLeader<S> {
        ForwardToLeader {
            shared: Arc::clone(&self.shared),
            inner,
        }
    }
}

/// Answers what this member may answer; hands the rest to the leader.
#[derive(Debug, Clone)]
pub struct ForwardToLeader<S> {
    shared: Arc<Shared>,
    inner: S,
}

impl<S> Service<Request<Body>> for ForwardToLeader<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone is not ready; the ready one goes into the future.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if answered_by(request.uri().path()) == AnsweredBy::AnyMember {
            return Box::pin(inner.call(request));
        }
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let Some(leader) = shared.leader().await else {
                return Ok(status::no_leader().into_http());
            };
            if leader == shared.this_member {
                return inner.call(request).await;
            }
            if request.headers().contains_key(&FORWARDED_BY) {
                return Ok(status::not_leader(leader, shared.address(leader).as_deref()).into_http());
            }
            Ok(shared.forward(request, leader).await)
        })
    }
}

impl Shared {
    /// The leader, as soon as one is known; `None` when none is within [`LEADER_WAIT`].
    async fn leader(&self) -> Option<MemberId> {
        let mut status = self.status.clone();
        let known = status.wait_for(|status| status.leader.is_some());
        tokio::time::timeout(LEADER_WAIT, known).await.ok()?.ok()?.leader
    }

    async fn forward(&self, mut request: Request<Body>, leader: MemberId) -> Response<Body> {
        let address = self.address(leader);
        let refuse = |reason: &str| status::leader_unreachable(leader, address.as_deref(), reason).into_http();
        let channel = address.as_deref().and_then(|address| self.channel(leader, address));
        let Some(mut channel) = channel else {
            return refuse("its address is not known");
        };
        request
            .headers_mut()
            .insert(FORWARDED_BY, HeaderValue::from(self.this_member.get()));
        let ready = match channel.ready().await {
            Ok(ready) => ready,
            Err(error) => return refuse(&error.to_string()),
        };
        match ready.call(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%leader, %error, "a forwarded call failed");
                refuse(&error.to_string())
            }
        }
    }

    fn address(&self, member: MemberId) -> Option<String> {
        self.status.borrow().members.members.addresses.get(&member).cloned()
    }

    fn channel(&self, member: MemberId, address: &str) -> Option<Channel> {
        let mut channels = self.channels.lock();
        if let Some((known, channel)) = channels.get(&member)
            && known == address
        {
            return Some(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .connect_lazy();
        channels.insert(member, (address.to_owned(), channel.clone()));
        Some(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_and_linearizable_reads_belong_to_the_leader() {
        for path in [
            "/tenantry.v1.AdminService/CreateTenant",
            "/tenantry.v1.AdminService/GetTenant",
            "/tenantry.v1.PlacementService/Heartbeat",
            "/tenantry.v1.PlacementService/RegisterNode",
            "/tenantry.v1.NotificationService/Report",
            "/tenantry.v1.ClusterService/TransferLeadership",
        ] {
            assert_eq!(answered_by(path), AnsweredBy::Leader, "{path}");
        }
        for path in [
            "/tenantry.v1.PlacementService/Watch",
            "/tenantry.v1.NotificationService/Watch",
            "/tenantry.v1.ClusterService/GetClusterStatus",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/tenantry.internal.v1.RaftTransportService/Deliver",
            "/nonsense",
        ] {
            assert_eq!(answered_by(path), AnsweredBy::AnyMember, "{path}");
        }
    }
}
