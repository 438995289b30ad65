//! What is carried where, and that nothing is lost on the way.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mutual_tls::{Connection, Security};
use std::sync::atomic::Ordering::SeqCst;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::StopNotice;
use crate::http::body::{Body, full};
use crate::http::owned_tasks::OwnedTasks;
use crate::http::server::{ServerOptions, serve};
use crate::layers::Ingress;

/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(20);
const BUSY: TenantUid = TenantUid::from_u128(1);
const QUIET: TenantUid = TenantUid::from_u128(2);

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BOUND, waiting).await.expect(what);
}

impl Lanes {
    /// In which everybody stays where a test puts him, whatever the machine is like.
    fn of_test() -> (Self, BusyWorkers) {
        Self::start_with(Share::never_paid(16_000)).unwrap()
    }

    fn both(&self) -> &Arc<Both> {
        self.0.as_ref().unwrap()
    }

    /// As if connections of the tenant had kept all workers busy for a while.
    fn make_busy(&self, tenant: TenantUid) {
        let (account, share, now) = (self.both().account(tenant), self.both().share, Instant::now());
        while account.load.lane(now, share) == Lane::Quiet {
            account.load.add(Duration::from_millis(1), now, share);
        }
    }

    fn make_quiet(&self, tenant: TenantUid) {
        self.both().account(tenant).load.pay();
    }

    fn passenger_of(&self, tenant: TenantUid) -> Passenger {
        let passenger = self.passenger().unwrap();
        let mut request = http::Extensions::new();
        request.insert(passenger.clone());
        Passenger::note(&request, tenant);
        passenger
    }
}

/// Lanes as they were seen by something that runs for as long as it is not told to end.
#[derive(Debug, Clone, Default)]
struct Seen {
    quiet: Arc<AtomicUsize>,
    busy: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Seen {
    async fn ride(self) {
        while !self.over.load(SeqCst) {
            match Lane::here() {
                Lane::Quiet => &self.quiet,
                Lane::Busy => &self.busy,
            }
            .fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn more_of(&self, lane: Lane) {
        let count = match lane {
            Lane::Quiet => &self.quiet,
            Lane::Busy => &self.busy,
        };
        let before = count.load(SeqCst);
        until("it is carried there", || count.load(SeqCst) > before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_to_the_busy_lane_with_its_tenant_and_comes_back() {
    let (lanes, _workers) = Lanes::of_test();
    let (busy, quiet) = (Seen::default(), Seen::default());
    let tasks = OwnedTasks::default();
    let carried = tokio::spawn(carry(busy.clone().ride(), lanes.passenger_of(BUSY), tasks.clone()));
    let beside = tokio::spawn(carry(quiet.clone().ride(), lanes.passenger_of(QUIET), tasks.clone()));
    for _ in 0..3 {
        busy.more_of(Lane::Quiet).await;
        lanes.make_busy(BUSY);
        busy.more_of(Lane::Busy).await;
        lanes.make_quiet(BUSY);
    }
    busy.more_of(Lane::Quiet).await;
    lanes.make_busy(BUSY);
    busy.more_of(Lane::Busy).await;
    // It ends where it is, and the other one never left.
    busy.over.store(true, SeqCst);
    tokio::time::timeout(BOUND, carried).await.unwrap().unwrap();
    quiet.over.store(true, SeqCst);
    tokio::time::timeout(BOUND, beside).await.unwrap().unwrap();
    assert_eq!(quiet.busy.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_carried_elsewhere_ends_with_the_one_who_asked_for_it_and_its_end_is_awaited() {
    let (lanes, _workers) = Lanes::of_test();
    let (held, tasks, seen) = (Arc::new(()), OwnedTasks::default(), Seen::default());
    for all in [false, true] {
        let (holding, riding) = (Arc::clone(&held), seen.clone());
        let ride = async move {
            let _holding = holding;
            riding.ride().await;
        };
        lanes.make_busy(BUSY);
        let carried = carry(ride, lanes.passenger_of(BUSY), tasks.clone());
        let carried = tasks.spawn_on(carried, &Handle::current());
        seen.more_of(Lane::Busy).await;
        assert_eq!(Arc::strong_count(&held), 2);
        if all {
            tokio::time::timeout(BOUND, tasks.end_and_wait()).await.unwrap();
            assert_eq!(Arc::strong_count(&held), 1);
            assert_eq!(carried.await.unwrap(), None);
        } else {
            carried.abort();
            until("it is dropped", || Arc::strong_count(&held) == 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_elsewhere_ends_the_connection_alone() {
    let (lanes, _workers) = Lanes::of_test();
    lanes.make_busy(BUSY);
    let panics = Arc::new(AtomicBool::new(false));
    let noting = Arc::clone(&panics);
    let ride = async move {
        noting.store(Lane::here() == Lane::Busy, SeqCst);
        panic!("as it should be");
    };
    let carried = tokio::spawn(carry(ride, lanes.passenger_of(BUSY), OwnedTasks::default()));
    tokio::time::timeout(BOUND, carried).await.unwrap().unwrap();
    assert!(panics.load(SeqCst));
    let fine = Seen::default();
    let after = tokio::spawn(carry(
        fine.clone().ride(),
        lanes.passenger_of(BUSY),
        OwnedTasks::default(),
    ));
    fine.more_of(Lane::Busy).await;
    fine.over.store(true, SeqCst);
    after.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_goes_along_and_loses_no_byte() {
    const BYTES: usize = 32 << 20;
    let (lanes, _workers) = Lanes::of_test();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let mut socket = LaneSocket::new(Connection::Plain(accepted), Lane::Quiet);
    let seen = Seen::default();
    let (quiet, busy) = (Arc::clone(&seen.quiet), Arc::clone(&seen.busy));
    let moved = lanes.clone();
    // Every so many pieces it goes to the other lane, mostly while it waits for more of them.
    let echo = async move {
        let mut piece = vec![0; 16 << 10];
        for count in 1.. {
            let length = socket.read(&mut piece).await.unwrap();
            if length == 0 {
                break;
            }
            match Lane::here() {
                Lane::Quiet => &quiet,
                Lane::Busy => &busy,
            }
            .fetch_add(1, SeqCst);
            match count % 20 {
                10 => moved.make_busy(BUSY),
                0 => moved.make_quiet(BUSY),
                _ => {}
            }
            socket.write_all(&piece[..length]).await.unwrap();
        }
        socket.shutdown().await.unwrap();
    };
    let passenger = lanes.passenger_of(BUSY);
    let carried = tokio::spawn(carry(echo, passenger, OwnedTasks::default()));
    let (mut from, mut to) = client.into_split();
    let byte = |at: usize| u8::try_from(at % 251).unwrap();
    let sending = tokio::spawn(async move {
        let all: Vec<u8> = (0..BYTES).map(byte).collect();
        for (index, piece) in all.chunks(100_000).enumerate() {
            if index.is_multiple_of(8) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            to.write_all(piece).await.unwrap();
        }
    });
    let reading = async {
        let (mut piece, mut at) = (vec![0; 64 << 10], 0);
        while at < BYTES {
            let length = from.read(&mut piece).await.unwrap();
            assert!(length > 0, "cut off at {at}");
            assert!(
                (0..length).all(|index| piece[index] == byte(at + index)),
                "wrong bytes behind {at}"
            );
            at += length;
        }
    };
    tokio::time::timeout(BOUND, reading).await.unwrap();
    sending.await.unwrap();
    drop(from);
    tokio::time::timeout(BOUND, carried).await.unwrap().unwrap();
    assert!(seen.busy.load(SeqCst) > 20 && seen.quiet.load(SeqCst) > 20, "{seen:?}");
}

/// Answers with the lane in which the answer is made. The path names the tenant, as if a layer had found it out; `/0` is nobody.
#[expect(clippy::needless_pass_by_value, reason = "as services are given it")]
fn lane_of_the_answer(request: Request<Body>) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send {
    // As the layers do it: before there is anything to wait for.
    match request.uri().path() {
        "/1" => Passenger::note(request.extensions(), BUSY),
        "/2" => Passenger::note(request.extensions(), QUIET),
        _ => {}
    }
    // What follows is in the lane of the tenant, from the first step on.
    async { Ok(Response::new(full(format!("{:?}", Lane::here())))) }
}

/// A listener that answers with lanes.
struct Server {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(lanes: &Lanes, ingress: Ingress) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = ServerOptions {
            ingress,
            security: Security::Plain,
            lanes: lanes.clone(),
            max_connections: 1_000,
            drain: BOUND,
            notice: StopNotice::default(),
        };
        let stop = CancellationToken::new();
        let service = tower::service_fn(lane_of_the_answer);
        let serving = tokio::spawn(serve(listener, service, options, stop.clone()));
        Self { address, stop, serving }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(BOUND, self.serving).await.unwrap().unwrap();
    }
}

type Ask = Box<dyn FnMut(&'static str) -> Pin<Box<dyn Future<Output = String> + Send>> + Send>;

/// A client with one connection.
async fn client(address: std::net::SocketAddr, over_http2: bool) -> Ask {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let request = |path: &str| {
        let uri = format!("http://any{path}");
        Request::get(uri)
            .header("host", "any")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let read = async |response: Response<hyper::body::Incoming>| {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    if over_http2 {
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        Box::new(move |path| {
            let mut sender = sender.clone();
            Box::pin(async move { read(sender.send_request(request(path)).await.unwrap()).await })
        })
    } else {
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let sender = Arc::new(tokio::sync::Mutex::new(sender));
        Box::new(move |path| {
            let sender = Arc::clone(&sender);
            Box::pin(async move {
                let mut sender = sender.lock().await;
                sender.ready().await.unwrap();
                read(sender.send_request(request(path)).await.unwrap()).await
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requests_of_busy_tenants_are_served_in_the_busy_lane_and_those_of_others_are_not() {
    let (lanes, _workers) = Lanes::of_test();
    for (ingress, over_http2) in [(Ingress::Public, false), (Ingress::Public, true), (Ingress::Peer, true)] {
        let server = Server::start(&lanes, ingress).await;
        let address = server.address;
        let (mut one, mut shared) = (client(address, over_http2).await, client(address, over_http2).await);
        assert_eq!(one("/1").await, "Quiet", "{ingress:?}");
        lanes.make_busy(BUSY);
        for _ in 0..10 {
            assert_eq!(one("/1").await, "Busy", "{ingress:?}");
            // By one connection, in turn.
            assert_eq!(shared("/2").await, "Quiet", "{ingress:?}");
            assert_eq!(shared("/1").await, "Busy", "{ingress:?}");
            assert_eq!(
                shared("/0").await,
                "Quiet",
                "{ingress:?}: what nobody has a part in is nobody's"
            );
        }
        lanes.make_quiet(BUSY);
        for _ in 0..2 {
            assert_eq!(one("/1").await, "Quiet", "{ingress:?}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_name_no_tenant_are_newcomers_and_a_rush_of_them_begins_in_the_busy_lane() {
    // Nobody may use anything, so that it does not matter how fast they come.
    let (lanes, _workers) = Lanes::start_with(Share::never_paid(2)).unwrap();
    let server = Server::start(&lanes, Ingress::Public).await;
    let address = server.address;
    let mut known = client(address, false).await;
    assert_eq!(known("/2").await, "Quiet");
    assert_eq!(client(address, false).await("/0").await, "Quiet");
    let rush = tokio::spawn({
        let both = Arc::clone(lanes.both());
        async move {
            while both.newcomers.load.lane(Instant::now(), both.share) == Lane::Quiet {
                let mut client = client(address, false).await;
                for _ in 0..50 {
                    client("/0").await;
                }
            }
        }
    });
    tokio::time::timeout(BOUND, rush).await.unwrap().unwrap();
    assert_eq!(client(address, false).await("/0").await, "Busy");
    assert_eq!(known("/2").await, "Quiet");
    server.stop().await;
}
