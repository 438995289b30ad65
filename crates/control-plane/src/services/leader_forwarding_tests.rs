//! Calls at a member that does not lead, with leaders that come, go, and break off.

use std::convert::Infallible;
use std::future::{Ready, ready};

use http::HeaderMap;
use tenantry_types::Revision;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic_types::StatusExt as _;

use super::*;
use crate::raft::{Health, Role};
use crate::storage::{Members, MembersAt};

/// Only bounds a test that would hang.
const BOUND: &str = "30S";

fn id(member: u64) -> MemberId {
    MemberId::new(member).unwrap()
}

fn status_of(leader: Option<u64>, members: &Arc<MembersAt>) -> RaftStatus {
    RaftStatus {
        members: Arc::clone(members),
        member: id(1),
        term: 1,
        role: Role::Follower,
        leader: leader.map(id),
        commit: Revision::ZERO,
        applied: Revision::ZERO,
        first_index: 1,
        last_index: 0,
        snapshot_index: 0,
        digest: 0,
        log_bytes: 0,
        health: Health::Running,
    }
}

/// Member 1, which follows whom it is told to.
struct Follower {
    layer: LeaderForwardingLayer,
    status: watch::Sender<RaftStatus>,
    members: Arc<MembersAt>,
}

impl Follower {
    fn new(leader: Option<u64>, addresses: &[(u64, &str)]) -> Self {
        let addresses = addresses
            .iter()
            .map(|(member, address)| (id(*member), (*address).to_owned()));
        let members = Arc::new(MembersAt {
            index: 1,
            members: Members {
                addresses: addresses.collect(),
                ..Members::default()
            },
        });
        let (status, receiver) = watch::channel(status_of(leader, &members));
        Self {
            layer: LeaderForwardingLayer::new(id(1), Security::Plain, receiver),
            status,
            members,
        }
    }

    fn follows(&self, leader: u64) {
        self.status.send_replace(status_of(Some(leader), &self.members));
    }

    /// Makes a mutation with the given time; answers with its status, which names who answered when it was not refused.
    async fn call(&self, timeout: &str, forwarded_by: Option<u64>) -> Status {
        let mut request = Request::post("http://member/tenantry.v1.AdminService/CreateTenant")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout);
        if let Some(member) = forwarded_by {
            request = request.header(FORWARDED_BY, member);
        }
        let here = tower::service_fn(|_| ready(Ok::<_, Infallible>(Status::ok("answered here").into_http())));
        let service = self.layer.layer(here);
        let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    }
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// A leader that answers, and keeps the headers of what it was asked.
#[derive(Clone, Default)]
struct Leader(Arc<Mutex<Vec<HeaderMap>>>);

impl NamedService for Leader {
    const NAME: &'static str = "tenantry.v1.AdminService";
}

impl Service<Request<Body>> for Leader {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.lock().push(request.headers().clone());
        ready(Ok(Status::ok("answered by the leader").into_http()))
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// An address where nobody listens.
async fn dead() -> String {
    listen().await.1
}

#[tokio::test]
async fn a_call_to_a_leader_that_says_nothing_ends_when_another_leads() {
    // Takes connections in the kernel's queue.
    let (_silent, address) = listen().await;
    let follower = Follower::new(Some(2), &[(2, &address)]);
    let calling = follower.call(BOUND, None);
    let asking = async { tokio::join!(calling, async { follower.follows(3) }).0 };
    let answer = tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap();
    assert_eq!(reason(&answer), "OUTCOME_UNKNOWN", "{answer:?}");
}

#[tokio::test]
async fn a_call_is_handed_over_once_with_what_is_left_of_its_time() {
    let (listener, address) = listen().await;
    let leader = Leader::default();
    let server = tonic::transport::Server::builder().add_service(leader.clone());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let follower = Follower::new(Some(2), &[(2, &address)]);
    assert_eq!(follower.call(BOUND, None).await.message(), "answered by the leader");
    let asked = leader.0.lock().clone();
    assert_eq!(asked[0][FORWARDED_BY], "1");
    let left = asked[0]["grpc-timeout"].to_str().unwrap();
    let left: u64 = left.strip_suffix('m').unwrap().parse().unwrap();
    assert!(left < 30_000, "{left} ms");
    // What was handed over already is not handed on.
    let refused = follower.call(BOUND, Some(3)).await;
    assert_eq!(reason(&refused), "NOT_LEADER");
    let details = refused.get_details_error_info().unwrap();
    assert_eq!(details.metadata["leader_address"], address);
    assert_eq!(leader.0.lock().len(), 1);
}

#[tokio::test]
async fn without_a_leader_a_call_is_held_until_there_is_one_or_its_time_is_up() {
    let follower = Follower::new(None, &[]);
    let refused = follower.call("20m", None).await;
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (tonic::Code::Unavailable, "NO_LEADER")
    );
    assert!(refused.get_details_retry_info().is_some(), "says when to come back");
    let (answer, ()) = tokio::join!(follower.call(BOUND, None), async { follower.follows(1) });
    assert_eq!(answer.message(), "answered here");
}

#[tokio::test]
async fn a_leader_that_is_gone_is_known_not_to_have_done_it_and_the_next_one_is_named() {
    let (gone, next) = (dead().await, "10.0.0.3:7401");
    let follower = Follower::new(Some(2), &[(2, &gone), (3, next)]);
    let refused = follower.call("200m", None).await;
    assert_eq!(reason(&refused), "LEADER_UNREACHABLE", "{refused}");
    // Polled first, the call looks who leads before there is another.
    let (refused, ()) = tokio::join!(follower.call(BOUND, None), async { follower.follows(3) });
    assert_eq!(reason(&refused), "NOT_LEADER", "{refused}");
    assert_eq!(
        refused.get_details_error_info().unwrap().metadata["leader_address"],
        next
    );
}

#[tokio::test]
async fn a_leader_that_breaks_off_may_have_done_it() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 64]).await;
        }
    });
    let follower = Follower::new(Some(2), &[(2, &address)]);
    let unknown = follower.call(BOUND, None).await;
    assert_eq!(reason(&unknown), "OUTCOME_UNKNOWN", "{unknown}");
}
