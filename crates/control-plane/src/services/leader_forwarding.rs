//! Any member takes any call: a tower layer that hands a call to the leader when this member does not lead.
//!
//! It works on whole gRPC calls, below the services, so that no service carries forwarding code and streams are passed on
//! as they are. A forwarded call is never forwarded again, and takes what is left of its deadline along. Where there is no
//! leader the call is held for about one election, so that clients need not ask again and again meanwhile. Must not look
//! into messages.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use mutual_tls::{Role, Security};
use parking_lot::Mutex;
use tenantry_types::MemberId;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Layer, Service, ServiceExt as _};

use super::deadline::Deadline;
use super::status;
use crate::raft::RaftStatus;

/// Added to a call on its way to the leader; its value is the member that passed it on.
const FORWARDED_BY: HeaderName = HeaderName::from_static("tenantry-forwarded-by");

/// How long a call waits for a leader to be known. About one election, so that a client need not retry through it; less than
/// our clients give one attempt, so that they learn for certain that nothing was done.
const LEADER_WAIT: Duration = Duration::from_secs(2);
/// A connection that takes longer than this to a member next door will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// A connection on which nothing was heard for this long is asked for a sign of life, which may take as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a member that no longer leads may still take to answer a call that it was handed.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// Who answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnsweredBy {
    /// Whichever member is asked.
    AnyMember,
    /// The leader alone.
    Leader,
}

/// Calls that each member answers itself. All others belong to the leader: mutations, and reads of what only the leader
/// has heard (nodes' signs of life, load and use).
fn answered_by(path: &str) -> AnsweredBy {
    const ANY_MEMBER: [&str; 20] = [
        "/tenantry.v1.AdminService/GetTenant",
        "/tenantry.v1.AdminService/ListTenants",
        "/tenantry.v1.AdminService/ListTiers",
        "/tenantry.v1.PlacementService/ResolveTenant",
        "/tenantry.v1.ClusterService/GetClusterStatus",
        "/tenantry.v1.ClusterService/SaveSnapshot",
        "/tenantry.v1.ClusterService/TakeSnapshot",
        "/tenantry.v1.PlacementService/Watch",
        "/tenantry.v1.NotificationService/Watch",
        "/tenantry.v1.NotificationService/ListEvents",
        "/tenantry.v1.NotificationService/ListConditions",
        "/tenantry.v1.NotificationService/GetReactions",
        "/tenantry.v1.WebhookService/GetWebhook",
        "/tenantry.v1.WebhookService/ListWebhooks",
        "/tenantry.v1.WebhookService/ListDeadLetters",
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
    security: Security,
    status: watch::Receiver<RaftStatus>,
    /// With the address that each leads to: a member may move.
    channels: Mutex<HashMap<MemberId, (String, Channel)>>,
}

impl LeaderForwardingLayer {
    /// Forwards to the leader that `status` names, at the address that it has there.
    #[must_use]
    pub fn new(this_member: MemberId, security: Security, status: watch::Receiver<RaftStatus>) -> Self {
        Self {
            shared: Arc::new(Shared {
                this_member,
                security,
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let deadline = Deadline::of_headers(request.headers());
        deadline.attach(request.extensions_mut());
        // The clone is not ready; the ready one goes into the future.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if answered_by(request.uri().path()) == AnsweredBy::AnyMember {
            return Box::pin(inner.call(request));
        }
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let wait_until = deadline.within(LEADER_WAIT);
            let Some(leader) = shared.leader_by(wait_until, None).await else {
                return Ok(status::no_leader().into_http());
            };
            if leader == shared.this_member {
                return inner.call(request).await;
            }
            if request.headers().contains_key(&FORWARDED_BY) {
                return Ok(status::not_leader(leader, shared.address(leader).as_deref()).into_http());
            }
            deadline.rewrite(request.headers_mut());
            Ok(match shared.forward(request, leader).await {
                Ok(response) => response,
                Err(Unforwarded::Lost { reason }) => status::leader_lost(leader, &reason).into_http(),
                // It is probably dead, and this member has not noticed yet. Held until there is another, so that the
                // caller's next attempt finds it.
                Err(Unforwarded::Unreachable { reason }) => match shared.leader_by(wait_until, Some(leader)).await {
                    Some(new) => status::not_leader(new, shared.address(new).as_deref()).into_http(),
                    None => status::leader_unreachable(leader, &reason).into_http(),
                },
            })
        })
    }
}

/// Why the leader gave no answer.
#[derive(Debug)]
enum Unforwarded {
    /// The call did not get there.
    Unreachable { reason: String },
    /// The call may have got there.
    Lost { reason: String },
}

impl Shared {
    /// A leader other than `not`, as soon as one is known; `None` when none is by `deadline`.
    async fn leader_by(&self, deadline: Instant, not: Option<MemberId>) -> Option<MemberId> {
        let mut status = self.status.clone();
        let known = status.wait_for(|status| status.leader.is_some() && status.leader != not);
        tokio::time::timeout_at(deadline, known).await.ok()?.ok()?.leader
    }

    async fn forward(&self, mut request: Request<Body>, leader: MemberId) -> Result<Response<Body>, Unforwarded> {
        let unreachable = |reason: String| Unforwarded::Unreachable { reason };
        let address = self.address(leader);
        let channel = address.as_deref().and_then(|address| self.channel(leader, address));
        let mut channel = channel.ok_or_else(|| unreachable("its address is not known".to_owned()))?;
        request
            .headers_mut()
            .insert(FORWARDED_BY, HeaderValue::from(self.this_member.get()));
        let ready = channel.ready().await.map_err(|error| unreachable(error.to_string()))?;
        let answered = tokio::select! {
            answered = ready.call(request) => answered,
            // Packets to it may vanish: nothing else would tell for as long as the caller has patience.
            () = self.replaced(leader) => {
                let reason = "another member leads now".to_owned();
                return Err(Unforwarded::Lost { reason });
            }
        };
        answered.map_err(|error| {
            tracing::debug!(%leader, %error, "a forwarded call failed");
            let reason = root_cause(&error);
            match never_connected(&error) {
                true => unreachable(reason),
                false => Unforwarded::Lost { reason },
            }
        })
    }

    /// Completes when another member has been leading for [`ANSWER_GRACE`]: a leader that hands over in order answers meanwhile.
    async fn replaced(&self, leader: MemberId) {
        let mut status = self.status.clone();
        let another = status.wait_for(|status| status.leader.is_some_and(|other| other != leader));
        if another.await.is_err() {
            // The log has ended, and the process ends with it.
            return std::future::pending().await;
        }
        tokio::time::sleep(ANSWER_GRACE).await;
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
        let endpoint = endpoint
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let channel = self.security.channel(&endpoint, Role::ControlPlane, CONNECT_TIMEOUT);
        channels.insert(member, (address.to_owned(), channel.clone()));
        Some(channel)
    }
}

/// Whether a call failed since there was no connection to send it over.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<tonic::ConnectError>())
}

fn chain<'error>(error: &'error (dyn Error + 'static)) -> impl Iterator<Item = &'error (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
#[path = "leader_forwarding_tests.rs"]
mod calls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_and_reads_of_what_nodes_report_belong_to_the_leader() {
        for path in [
            "/tenantry.v1.AdminService/CreateTenant",
            "/tenantry.v1.AdminService/GetTenantUsage",
            "/tenantry.v1.AdminService/ListTenantUsage",
            "/tenantry.v1.AdminService/ExplainTenantQuota",
            "/tenantry.v1.PlacementService/ListNodes",
            "/tenantry.v1.PlacementService/Heartbeat",
            "/tenantry.v1.PlacementService/RegisterNode",
            "/tenantry.v1.NotificationService/Report",
            "/tenantry.v1.ClusterService/TransferLeadership",
        ] {
            assert_eq!(answered_by(path), AnsweredBy::Leader, "{path}");
        }
        for path in [
            "/tenantry.v1.AdminService/GetTenant",
            "/tenantry.v1.AdminService/ListTenants",
            "/tenantry.v1.PlacementService/ResolveTenant",
            "/tenantry.v1.PlacementService/Watch",
            "/tenantry.v1.NotificationService/Watch",
            "/tenantry.v1.ClusterService/GetClusterStatus",
            "/tenantry.v1.ClusterService/SaveSnapshot",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/tenantry.internal.v1.RaftTransportService/Deliver",
            "/nonsense",
        ] {
            assert_eq!(answered_by(path), AnsweredBy::AnyMember, "{path}");
        }
    }
}
