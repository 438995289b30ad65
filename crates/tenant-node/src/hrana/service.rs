//! The tower service: paths, methods, bodies, and the way of one pipeline through stream, session and answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tenantry_types::TenantUid;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::baton::BatonKey;
use super::pipeline::{Finished, PipelineRun, Progress};
use super::request::{self, Malformed, Pipeline, StreamRequest};
use super::streams::{Parked, StreamSlot, Streams};
use super::{cursor, json, problems};
use crate::database::{Cancellation, DatabaseError, Databases, Session, StatementLimits, WriteTurn};
use crate::http::body::{Body, full};
use crate::http::problem::Problem;
use crate::layers::TenantContext;

/// Larger bodies are parsed on a database thread, to keep the async workers free.
const PARSED_IN_PLACE_BYTES: usize = 64 << 10;

/// What stands before the results in an answer.
const RESULTS: &[u8] = b"{\"results\":[";

/// Reads a body as a pipeline.
type ReadPipeline = fn(&[u8]) -> Result<Pipeline, Malformed>;

/// What a request was answered.
struct Answered {
    /// [`RESULTS`] and the results, with commas between.
    body: Vec<u8>,
    /// The baton to go on with, unless the stream has ended.
    baton: Option<String>,
}

/// Settings of [`HranaService`].
#[derive(Debug, Clone)]
pub struct HranaConfig {
    /// A stream without a request for this long ends; its transaction is rolled back.
    pub stream_idle: Duration,
    /// Most open streams of one tenant. Those without state give way to new ones.
    pub streams_per_tenant: usize,
    /// Most open streams of the node.
    pub streams_total: usize,
    /// How often [`HranaService::maintain`] looks for what to end.
    pub maintenance_interval: Duration,
}

impl Default for HranaConfig {
    fn default() -> Self {
        Self {
            stream_idle: Duration::from_secs(10),
            streams_per_tenant: 128,
            streams_total: 4_096,
            maintenance_interval: Duration::from_millis(500),
        }
    }
}

/// Answers Hrana over HTTP for the tenant in the request's [`TenantContext`]. Cheap to clone, always ready.
#[derive(Clone)]
pub struct HranaService {
    databases: Databases,
    streams: Arc<Streams>,
    maintenance_interval: Duration,
}

impl HranaService {
    /// A service over these databases, with a fresh key for batons.
    #[must_use]
    pub fn new(databases: Databases, config: &HranaConfig) -> Self {
        let streams = Streams::new(
            BatonKey::new(rand::random()),
            config.stream_idle,
            config.streams_per_tenant,
            config.streams_total,
        );
        Self {
            databases,
            streams: Arc::new(streams),
            maintenance_interval: config.maintenance_interval,
        }
    }

    /// Ends expired streams and closes idle databases until cancelled; then ends all waiting streams.
    pub async fn maintain(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.maintenance_interval);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.end_expired();
        }
        self.close_streams();
    }

    /// Ends the streams that have waited too long, and closes the databases that nobody uses.
    pub fn end_expired(&self) {
        let now = self.databases.now();
        let streams = self.streams.expire(now);
        let databases = self.databases.close_idle(now);
        if streams + databases > 0 {
            tracing::debug!(streams, databases, "ended expired streams and closed idle databases");
        }
    }

    /// Rolls back and ends all waiting streams and takes no new ones. Comes before [`Databases::close_all`].
    pub fn close_streams(&self) {
        self.streams.close_all();
    }

    /// How many streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let outcome = match (path, request.method()) {
            ("/v2" | "/v3", &Method::GET) => Ok(json_response(
                br#"{"protocol":"hrana-over-http","encoding":"json"}"#.to_vec(),
            )),
            ("/v2" | "/v3", _) => Err(problems::wrong_method("GET")),
            ("/v2/pipeline" | "/v3/pipeline", &Method::POST) => self.pipeline(request).await,
            ("/v3/cursor", &Method::POST) => self.cursor(request).await,
            ("/v2/pipeline" | "/v3/pipeline" | "/v3/cursor", _) => Err(problems::wrong_method("POST")),
            _ => Err(problems::unknown_path(path)),
        };
        outcome.unwrap_or_else(Problem::into_response)
    }

    async fn pipeline(&self, request: Request<Body>) -> Result<Response<Body>, Problem> {
        let Answered { mut body, baton } = self.run(request, request::read).await?;
        body.extend_from_slice(b"],\"baton\":");
        match baton {
            Some(baton) => json::string(&mut body, &baton),
            None => body.extend_from_slice(b"null"),
        }
        body.extend_from_slice(b",\"base_url\":null}");
        Ok(json_response(body))
    }

    async fn cursor(&self, request: Request<Body>) -> Result<Response<Body>, Problem> {
        let Answered { body, baton } = self.run(request, request::read_cursor).await?;
        let element = body.get(RESULTS.len()..).unwrap_or_default();
        let body = cursor::body(element, baton.as_deref()).map_err(|error| problems::unwritten(&error))?;
        Ok(json_response(body))
    }

    /// Reads a request's body and runs what it asks for.
    async fn run(&self, request: Request<Body>, read: ReadPipeline) -> Result<Answered, Problem> {
        let context = request
            .extensions()
            .get::<TenantContext>()
            .ok_or_else(problems::without_tenant)?;
        let (tenant, weight) = (context.uid, context.weight);
        let limits = StatementLimits {
            access: context.access,
            quota: context.quota,
        };
        let body = read_body(request.into_body(), limits.quota.request_bytes).await?;
        let pipeline = self.parse(tenant, weight, body, read).await?;
        let (slot, session, sqls) = self.stream(tenant, weight, &pipeline).await?;
        let run = PipelineRun::new(pipeline.requests, sqls, RESULTS, limits.quota.result_bytes);
        let (session, finished) = run_to_end(session, run, limits)
            .await
            .map_err(|error| database_problem(tenant, &error))?;
        let baton = match slot {
            Some(slot) if !finished.closed => {
                let parked = Parked {
                    last_insert_rowid: session.last_insert_rowid(),
                    session: session.holds_connection().then_some(session),
                    sqls: finished.sqls,
                };
                slot.park(parked, self.databases.now())
            }
            _ => None,
        };
        let mut body = finished.results;
        if let Some(failure) = finished.refusal {
            tracing::info!(%tenant, %failure, "a pipeline was refused");
            body.extend_from_slice(b"]}");
            let results =
                serde_json::from_slice::<Value>(&body).map_or(Value::Null, |mut value| value["results"].take());
            return Err(problems::of_pipeline(&failure, baton, results));
        }
        Ok(Answered { body, baton })
    }

    async fn parse(
        &self,
        tenant: TenantUid,
        weight: u32,
        body: Bytes,
        read: ReadPipeline,
    ) -> Result<Pipeline, Problem> {
        let parsed = if body.len() <= PARSED_IN_PLACE_BYTES {
            read(&body)
        } else {
            let parsing = self.databases.run_blocking(tenant, weight, move || read(&body));
            parsing.await.map_err(|error| database_problem(tenant, &error))?
        };
        parsed.map_err(|malformed| problems::of_body(&malformed))
    }

    /// The stream that the pipeline goes on with, or a new one. A pipeline that closes its stream needs no slot.
    async fn stream(
        &self,
        tenant: TenantUid,
        weight: u32,
        pipeline: &Pipeline,
    ) -> Result<(Option<StreamSlot>, Session, super::pipeline::StoredSql), Problem> {
        let (slot, parked) = match &pipeline.baton {
            Some(baton) => {
                let resumed = self.streams.resume(tenant, baton, self.databases.now());
                let (slot, parked) = resumed.map_err(problems::of_stream)?;
                (Some(slot), Some(parked))
            }
            None if pipeline.requests.contains(&StreamRequest::Close) => (None, None),
            None => (Some(self.streams.open(tenant).map_err(problems::of_stream)?), None),
        };
        let (session, last_insert_rowid, sqls) = match parked {
            Some(parked) => (parked.session, parked.last_insert_rowid, parked.sqls),
            None => Default::default(),
        };
        let session = match session {
            Some(session) => session,
            None => {
                let lease = self.databases.lease(tenant, weight).await;
                Session::resumed(
                    lease.map_err(|error| database_problem(tenant, &error))?,
                    last_insert_rowid,
                )
            }
        };
        Ok((slot, session, sqls))
    }
}

/// Runs the pipeline; where a statement has to wait for its turn to write, no thread is occupied meanwhile.
async fn run_to_end(
    mut session: Session,
    mut run: PipelineRun,
    limits: StatementLimits,
) -> Result<(Session, Finished), DatabaseError> {
    // The client may leave at any await below: what runs on the thread is then stopped.
    let cancellation = CancelOnDrop(Cancellation::default());
    let mut turn = WriteTurn::Ask;
    loop {
        let advance = move |active: &mut crate::database::ActiveSession<'_>| {
            let progress = run.advance(active);
            (progress, run)
        };
        let (next_session, (progress, next_run)) = session.run(limits, turn, cancellation.0.clone(), advance).await?;
        (session, run) = (next_session, next_run);
        match progress {
            Progress::Done => return Ok((session, run.finish())),
            Progress::NeedsWriter => {
                if !session.wait_for_writer(limits.quota.query_time()).await {
                    turn = WriteTurn::GiveUp;
                }
            }
        }
    }
}

struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

async fn read_body(mut body: Body, limit: u64) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > limit {
        return Err(problems::large_body(limit));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| problems::unread_body(&error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if u64::try_from(read.len() + data.len()).unwrap_or(u64::MAX) > limit {
                return Err(problems::large_body(limit));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}

fn database_problem(tenant: TenantUid, error: &DatabaseError) -> Problem {
    match error {
        DatabaseError::Overloaded { .. } | DatabaseError::Stopping => {
            tracing::debug!(%tenant, %error, "a request was refused");
        }
        DatabaseError::Damaged(_) | DatabaseError::Open(_) | DatabaseError::Folder(_) | DatabaseError::Crashed => {
            tracing::error!(%tenant, %error, "a tenant's database cannot be served");
        }
    }
    problems::of_database(error)
}

fn json_response(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Service<Request<Body>> for HranaService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}
