//! The routing watch over real connections: who comes new, who comes back, and one change to all.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use control_plane::codec;
use control_plane::machine::{PublishedState, ReplicatedState};
use control_plane::raft::StateMachine as _;
use control_plane::services::{RoutingWatch, RoutingWatchService};
use control_plane::watch::WatchTiming;
use http::uri::PathAndQuery;
use prost::Message as _;
use tenantry_proto::v1::placement_service_watch_response::Part;
use tenantry_proto::v1::{PlacementServiceWatchRequest, PlacementServiceWatchResponse};
use tenantry_state::Envelope;
use tenantry_types::Revision;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Status, Streaming};

use super::{Stopwatch, TENANTS, create, envelope, history, resident};

const WATCHERS: usize = 300;
const ROUNDS: u64 = 200;

pub(crate) async fn run() {
    let (mut machine, published) = ReplicatedState::new();
    let mut revision = 0;
    for envelope in history() {
        revision += 1;
        apply(&mut machine, revision, &envelope);
    }
    machine.applied(Revision(revision));
    let stop = CancellationToken::new();
    let address = serve(published.clone(), stop.clone()).await;
    println!("watch: {TENANTS} tenants, {WATCHERS} watchers over loopback");

    let before = resident();
    let clock = Stopwatch::start();
    let fresh = PlacementServiceWatchRequest::default();
    let streams = connect_all(&address, &fresh).await;
    let took = clock.took();
    let grown = resident().saturating_sub(before) >> 20;
    println!("  all come without a table, the last one has it after {took}, {grown} MiB more resident");
    drop(streams);

    let current = published.current();
    let known = PlacementServiceWatchRequest {
        after_revision: current.revision.get(),
        cluster_uid: current.state.cluster().unwrap().uid.to_string(),
        digest: current.routing_digest,
        ..PlacementServiceWatchRequest::default()
    };
    let clock = Stopwatch::start();
    let streams = connect_all(&address, &known).await;
    let took = clock.took();
    println!("  all come back with the table that they had, the last one follows after {took}");
    changes(&mut machine, revision, streams).await;
    stop.cancel();
}

fn apply(machine: &mut ReplicatedState, revision: u64, envelope: &Envelope) {
    let bytes = codec::encode_command(envelope).unwrap();
    machine.apply(Revision(revision), &bytes).unwrap().unwrap();
}

/// One change at a time, until the last watcher has it.
async fn changes(machine: &mut ReplicatedState, mut revision: u64, streams: Vec<Streaming<Bytes>>) {
    let (seen, mut arrivals) = mpsc::channel(WATCHERS * 2);
    for mut stream in streams {
        let seen = seen.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                let part = PlacementServiceWatchResponse::decode(message).unwrap().part;
                if let Some(Part::Delta(delta)) = part {
                    seen.send((delta.revision, Instant::now())).await.unwrap();
                }
            }
        });
    }
    let mut last_ones = Vec::new();
    let clock = Stopwatch::start();
    for round in 0..ROUNDS {
        revision += 1;
        let start = Instant::now();
        apply(machine, revision, &envelope(revision, None, create(TENANTS + round)));
        machine.applied(Revision(revision));
        let mut last = start;
        for _ in 0..WATCHERS {
            let (arrived, at) = arrivals.recv().await.unwrap();
            assert_eq!(arrived, revision);
            last = last.max(at);
        }
        last_ones.push(last - start);
    }
    let each = clock.took().cpu / u32::try_from(ROUNDS).unwrap();
    last_ones.sort_unstable();
    let at = |percent: usize| last_ones[(last_ones.len() * percent / 100).min(last_ones.len() - 1)];
    println!(
        "  one change, the last watcher has it: p50 {:.2?}, p99 {:.2?} over {ROUNDS} changes; {each:.2?} CPU a change",
        at(50),
        at(99),
    );
}

async fn serve(published: PublishedState, stop: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let timing = WatchTiming {
        // Says that a stream has caught up.
        bookmark: Duration::from_millis(100),
        ..WatchTiming::default()
    };
    let watch = RoutingWatch::new(published, timing, stop);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = RoutingWatchService::new(watch, NothingElse);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

/// Opens all watches at once and waits until each has caught up.
async fn connect_all(address: &str, request: &PlacementServiceWatchRequest) -> Vec<Streaming<Bytes>> {
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        let (address, request) = (address.to_owned(), request.clone());
        opening.spawn(async move {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let mut stream = open(endpoint.connect().await.unwrap(), request).await;
            while !is_bookmark(&stream.message().await.unwrap().unwrap()) {}
            stream
        });
    }
    opening.join_all().await
}

async fn open(channel: Channel, request: PlacementServiceWatchRequest) -> Streaming<Bytes> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/tenantry.v1.PlacementService/Watch");
    let request = tonic::Request::new(request);
    client
        .server_streaming(request, path, Undecoded)
        .await
        .unwrap()
        .into_inner()
}

/// By the field's tag: decoding the snapshots of all watchers would take longer than what is measured.
fn is_bookmark(message: &Bytes) -> bool {
    message.first() == Some(&((3 << 3) | 2))
}

/// Leaves answers as they are.
struct Undecoded;

impl Codec for Undecoded {
    type Encode = PlacementServiceWatchRequest;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Undecoded {
    type Item = PlacementServiceWatchRequest;
    type Error = Status;

    fn encode(&mut self, request: PlacementServiceWatchRequest, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        request.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Undecoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Stands where the rest of the service is.
#[derive(Clone)]
struct NothingElse;

impl NamedService for NothingElse {
    const NAME: &'static str = "tenantry.v1.PlacementService";
}

impl tower::Service<http::Request<Body>> for NothingElse {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        ready(Ok(Status::unimplemented("only the watch").into_http()))
    }
}
