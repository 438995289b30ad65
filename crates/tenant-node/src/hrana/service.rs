//! The tower service: its settings, what it holds, and which path leads to what.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Method, Request, Response};
use http_body::Body as _;
use tenantry_types::TenantUid;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::arriving::Allowance;
use super::baton::BatonKey;
use super::chunks::Patience;
use super::json::{Json, v1};
use super::large_bodies::{BodyRoom, LargeBodies};
use super::problems;
use super::protobuf::Protobuf;
use super::remembered::Room;
use super::stored_bytes::StoredBytes;
use super::streams::{Bounds, Streams};
use crate::database::Databases;
use crate::http::body::Body;
use crate::http::problem::{IntoAnswer as _, Problem};
use crate::layers::TenantContext;

/// Settings of [`HranaService`].
#[derive(Debug, Clone)]
pub struct HranaConfig {
    /// Signs batons. With the key of the last run, those without state stay good.
    pub baton_key: BatonKey,
    /// A stream with state and without a request for this long ends; its transaction is rolled back.
    pub stream_idle: Duration,
    /// Most streams with state of one tenant that wait for a request.
    pub streams_per_tenant: usize,
    /// Most streams with state of the node that wait for a request.
    pub streams_total: usize,
    /// Most bytes of SQL texts that the streams of one tenant store, those under way included.
    pub stored_sql_per_tenant: usize,
    /// Most bytes of SQL texts that the streams of the node store.
    pub stored_sql_total: usize,
    /// So long is a stream without state remembered whose baton had to be given out before it was known to have none.
    pub remembering: Duration,
    /// Most streams of one tenant that are remembered so. Older ones give way.
    pub remembered_per_tenant: usize,
    /// Most streams of the node that are remembered so.
    pub remembered_total: usize,
    /// How often [`HranaService::maintain`] looks for what to end.
    pub maintenance_interval: Duration,
    /// A client that takes nothing of its answer for this long loses it, and its stream ends.
    pub answer_stall: Duration,
    /// So long, in all, is a client waited for while one answer is sent.
    pub answer_wait: Duration,
    /// A client that sends nothing of its request's body for this long is not waited for any more.
    pub body_stall: Duration,
    /// While a body is waited for, so many bytes of it have to come a second, but for `body_stall` in all.
    pub body_bytes_per_second: u64,
}

impl Default for HranaConfig {
    fn default() -> Self {
        Self {
            baton_key: BatonKey::new(rand::random()),
            stream_idle: Duration::from_secs(10),
            streams_per_tenant: 128,
            streams_total: 4_096,
            stored_sql_per_tenant: 16 << 20,
            stored_sql_total: 256 << 20,
            remembering: Duration::from_secs(3_600),
            remembered_per_tenant: 4_096,
            remembered_total: 65_536,
            maintenance_interval: Duration::from_millis(500),
            answer_stall: Duration::from_secs(10),
            answer_wait: Duration::from_secs(600),
            body_stall: Duration::from_secs(30),
            body_bytes_per_second: 8 << 10,
        }
    }
}

/// Answers Hrana over HTTP for the tenant in the request's [`TenantContext`]. Cheap to clone, always ready.
#[derive(Clone)]
pub struct HranaService {
    pub(super) shared: Arc<Shared>,
}

/// What all requests share. In one place: each request takes a share, and counts once.
pub(super) struct Shared {
    pub(super) databases: Databases,
    pub(super) streams: Arc<Streams>,
    maintenance_interval: Duration,
    pub(super) patience: Patience,
    pub(super) allowance: Allowance,
    pub(super) queued: Arc<AtomicUsize>,
    large_bodies: LargeBodies,
    pub(super) stored: Arc<StoredBytes>,
}

impl HranaService {
    /// A service over these databases.
    #[must_use]
    pub fn new(databases: Databases, config: &HranaConfig) -> Self {
        let bounds = Bounds {
            idle_expiry: config.stream_idle,
            per_tenant: config.streams_per_tenant,
            total: config.streams_total,
            remembering: config.remembering,
            remembered: Room {
                per_tenant: config.remembered_per_tenant,
                total: config.remembered_total,
            },
        };
        let stored = Room {
            per_tenant: config.stored_sql_per_tenant,
            total: config.stored_sql_total,
        };
        let streams = Streams::new(config.baton_key.clone(), bounds, rand::random());
        let shared = Shared {
            databases,
            streams: Arc::new(streams),
            maintenance_interval: config.maintenance_interval,
            patience: Patience {
                stall: config.answer_stall,
                total: config.answer_wait,
            },
            allowance: Allowance {
                stall: config.body_stall,
                bytes_per_second: config.body_bytes_per_second,
            },
            queued: Arc::default(),
            large_bodies: LargeBodies::default(),
            stored: Arc::new(StoredBytes::new(stored)),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Ends expired streams and closes idle databases until cancelled; then ends all waiting streams.
    pub async fn maintain(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.shared.maintenance_interval);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.end_expired();
        }
        self.close_streams();
    }

    /// Ends the streams that have waited too long, and closes the databases that nobody uses.
    pub fn end_expired(&self) {
        let now = self.shared.databases.now();
        let streams = self.shared.streams.expire(now);
        let databases = self.shared.databases.close_idle(now);
        if streams + databases > 0 {
            tracing::debug!(streams, databases, "ended expired streams and closed idle databases");
        }
    }

    /// Rolls back and ends all waiting streams and takes no new ones. Comes before [`Databases::close_all`].
    pub fn close_streams(&self) {
        self.shared.streams.close_all();
    }

    /// Of how many streams something is kept.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.shared.streams.len()
    }

    /// Bytes of large answers that wait for their clients.
    #[must_use]
    pub fn queued_answer_bytes(&self) -> usize {
        self.shared.queued.load(Relaxed)
    }

    /// A large body waits for its turn before it is read.
    async fn answer_in_turn(self, mut request: Request<Body>, tenant: TenantUid, room: BodyRoom) -> Answered {
        match self
            .shared
            .large_bodies
            .turn(tenant, room, self.shared.patience.stall)
            .await
        {
            Ok(turn) => {
                request.extensions_mut().insert(turn.lines());
                let answered = self.answer(request).await;
                answered.map(|response| response.map(|body| turn.until_the_end_of(body)))
            }
            Err(no_turn) => answered(Err(problems::of_large_bodies(no_turn))),
        }
    }

    /// Each endpoint has a future of its own, and none holds the request: in one for all, each request would move the room that the largest of them needs.
    fn answer(self, request: Request<Body>) -> BoxedAnswer {
        let endpoint = Endpoint::of(request.uri().path(), request.method());
        let arrived = endpoint.and_then(|endpoint| Ok((endpoint, self.arrive(request)?)));
        match arrived {
            Ok((Endpoint::JsonPipeline, arrived)) => Box::pin(self.pipeline::<Json>(arrived).map(answered)),
            Ok((Endpoint::JsonCursor, arrived)) => Box::pin(self.cursor::<Json>(arrived).map(answered)),
            Ok((Endpoint::ProtobufPipeline, arrived)) => Box::pin(self.pipeline::<Protobuf>(arrived).map(answered)),
            Ok((Endpoint::ProtobufCursor, arrived)) => Box::pin(self.cursor::<Protobuf>(arrived).map(answered)),
            Ok((Endpoint::V1Execute, arrived)) => Box::pin(self.v1(arrived, v1::read_execute).map(answered)),
            Ok((Endpoint::V1Batch, arrived)) => Box::pin(self.v1(arrived, v1::read_batch).map(answered)),
            Err(problem) => Box::pin(ready(answered(Err(problem)))),
        }
    }
}

type Answered = Result<Response<Body>, Infallible>;
type BoxedAnswer = Pin<Box<dyn Future<Output = Answered> + Send>>;

fn answered(outcome: Result<Response<Body>, Problem>) -> Answered {
    Ok(outcome.unwrap_or_else(Problem::into_answer))
}

/// Where requests are sent.
enum Endpoint {
    JsonPipeline,
    JsonCursor,
    ProtobufPipeline,
    ProtobufCursor,
    V1Execute,
    V1Batch,
}

impl Endpoint {
    fn of(path: &str, method: &Method) -> Result<Self, Problem> {
        let endpoint = match path {
            "/v2/pipeline" | "/v3/pipeline" => Self::JsonPipeline,
            "/v3/cursor" => Self::JsonCursor,
            "/v3-protobuf/pipeline" => Self::ProtobufPipeline,
            "/v3-protobuf/cursor" => Self::ProtobufCursor,
            "/v1/execute" => Self::V1Execute,
            "/v1/batch" => Self::V1Batch,
            // Probes were answered above all layers that ask for a tenant.
            "/v2" | "/v3" | "/v3-protobuf" => return Err(problems::wrong_method("GET, HEAD")),
            _ => return Err(problems::unknown_path(path)),
        };
        match *method {
            Method::POST => Ok(endpoint),
            _ => Err(problems::wrong_method("POST")),
        }
    }
}

impl Service<Request<Body>> for HranaService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxedAnswer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        let turn = request.extensions().get::<TenantContext>().and_then(|context| {
            let room = BodyRoom::needed(&request.body().size_hint(), context.quota.request_bytes)?;
            Some((context.uid, room))
        });
        match turn {
            Some((tenant, room)) => Box::pin(service.answer_in_turn(request, tenant, room)),
            None => service.answer(request),
        }
    }
}
