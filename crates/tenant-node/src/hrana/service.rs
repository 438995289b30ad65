//! The tower service: paths, methods, and the way of one request through stream, session and answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use tenantry_types::TenantUid;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::baton::BatonKey;
use super::chunks::{Broken, ChunkEnd, Patience, chunks};
use super::cursor::CursorRun;
use super::encoding::{Encoding, ErrorText};
use super::json::Json;
use super::pipeline::PipelineRun;
use super::request::{Malformed, StreamRequest};
use super::run::{CancelOnDrop, Stop, drive};
use super::stored_sql::StoredSql;
use super::streams::{Parked, StreamSlot, Streams};
use super::{problems, request_body};
use crate::database::{DatabaseError, Databases, Session, StatementLimits};
use crate::http::body::{Body, boxed, full};
use crate::http::problem::Problem;
use crate::layers::TenantContext;

/// Larger bodies are parsed on a database thread, to keep the async workers free.
const PARSED_IN_PLACE_BYTES: usize = 64 << 10;

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
    /// A client that takes nothing of its answer for this long loses it, and its stream ends.
    pub answer_stall: Duration,
    /// So long, in all, is a client waited for while one answer is sent.
    pub answer_wait: Duration,
}

impl Default for HranaConfig {
    fn default() -> Self {
        Self {
            stream_idle: Duration::from_secs(10),
            streams_per_tenant: 128,
            streams_total: 4_096,
            maintenance_interval: Duration::from_millis(500),
            answer_stall: Duration::from_secs(10),
            answer_wait: Duration::from_secs(600),
        }
    }
}

/// Answers Hrana over HTTP for the tenant in the request's [`TenantContext`]. Cheap to clone, always ready.
#[derive(Clone)]
pub struct HranaService {
    databases: Databases,
    streams: Arc<Streams>,
    maintenance_interval: Duration,
    patience: Patience,
    queued: Arc<AtomicUsize>,
}

/// Whose request it is, and what holds for it.
#[derive(Clone, Copy)]
struct Caller {
    tenant: TenantUid,
    /// Its share of the node.
    weight: u32,
    limits: StatementLimits,
}

/// A stream as a request finds it.
struct Resumed {
    /// Absent where the request ends the stream that it begins.
    slot: Option<StreamSlot>,
    session: Session,
    sqls: StoredSql,
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
            patience: Patience {
                stall: config.answer_stall,
                total: config.answer_wait,
            },
            queued: Arc::default(),
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

    /// Bytes of large answers that wait for their clients.
    #[must_use]
    pub fn queued_answer_bytes(&self) -> usize {
        self.queued.load(Relaxed)
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let outcome = match (path, request.method()) {
            ("/v2/pipeline" | "/v3/pipeline", &Method::POST) => self.pipeline::<Json>(request).await,
            ("/v3/cursor", &Method::POST) => self.cursor::<Json>(request).await,
            ("/v2" | "/v3", &Method::GET) => Ok(probe("json")),
            ("/v2" | "/v3", _) => Err(problems::wrong_method("GET")),
            ("/v2/pipeline" | "/v3/pipeline" | "/v3/cursor", _) => Err(problems::wrong_method("POST")),
            _ => Err(problems::unknown_path(path)),
        };
        outcome.unwrap_or_else(Problem::into_response)
    }

    async fn pipeline<E: Encoding>(self, request: Request<Body>) -> Result<Response<Body>, Problem> {
        let (caller, pipeline) = self.read(request, E::read_pipeline).await?;
        let closes = pipeline.requests.contains(&StreamRequest::Close);
        let resumed = self.stream(caller, pipeline.baton.as_deref(), closes).await?;
        let Resumed { slot, session, sqls } = resumed;
        let run = PipelineRun::<E>::new(pipeline.requests, sqls, caller.limits.quota.result_bytes);
        // The client may leave at any await below: what runs on the thread is then stopped.
        let cancellation = CancelOnDrop::default();
        let driven = drive(session, run, caller.limits, &cancellation.0).await;
        let (session, run, stop) = driven.map_err(|error| database_problem(caller.tenant, &error))?;
        if stop == Stop::Large {
            return Ok(self.send_pipeline(caller, slot, session, run));
        }
        let finished = run.finish();
        let baton = slot
            .filter(|_| !finished.closed)
            .and_then(|slot| self.park(slot, session, finished.sqls));
        let mut out = finished.out;
        if let Some(failure) = finished.refusal {
            tracing::info!(tenant = %caller.tenant, %failure, "a pipeline was refused");
            E::end_pipeline(&mut out, None);
            return Err(problems::of_statement(&failure, baton, E::pipeline_in_problem(&out)));
        }
        E::end_pipeline(&mut out, baton.as_deref());
        Ok(response(E::PIPELINE_TYPE, full(out)))
    }

    /// Goes on with a pipeline whose answer has become large, and sends it meanwhile.
    fn send_pipeline<E: Encoding>(
        self,
        caller: Caller,
        slot: Option<StreamSlot>,
        session: Session,
        mut run: PipelineRun<E>,
    ) -> Response<Body> {
        let cancellation = CancelOnDrop::default();
        let (sender, end, reader) = chunks(self.patience, Arc::clone(&self.queued), cancellation.0.clone());
        run.send_to(sender);
        tokio::spawn(async move {
            let driven = drive(session, run, caller.limits, &cancellation.0).await;
            let (session, run, _) = match driven {
                Ok(driven) => driven,
                Err(error) => {
                    log_database_error(caller.tenant, &error);
                    return end.break_off(error.to_string());
                }
            };
            let mut finished = run.finish();
            let left = end.reader_left().then_some(Broken::ReaderLeft);
            if let Some(broken) = finished.broken.or(left) {
                // The baton comes last, so the client has none to go on with.
                return break_off(caller.tenant, broken, end);
            }
            let baton = slot
                .filter(|_| !finished.closed)
                .and_then(|slot| self.park(slot, session, finished.sqls));
            E::end_pipeline(&mut finished.out, baton.as_deref());
            end.complete(finished.out);
        });
        response(E::PIPELINE_TYPE, boxed(reader))
    }

    async fn cursor<E: Encoding>(self, request: Request<Body>) -> Result<Response<Body>, Problem> {
        let (caller, cursor) = self.read(request, E::read_cursor).await?;
        let resumed = self.stream(caller, cursor.baton.as_deref(), false).await?;
        let Resumed {
            mut slot,
            session,
            sqls,
        } = resumed;
        let mut head = Vec::new();
        E::cursor_head(&mut head, slot.as_mut().map(StreamSlot::give_out_baton).as_deref());
        let cancellation = CancelOnDrop::default();
        let (sender, end, reader) = chunks(self.patience, Arc::clone(&self.queued), cancellation.0.clone());
        let run = CursorRun::<E>::new(cursor.steps, sqls, head, sender, caller.limits.quota.result_bytes);
        let mut running = Box::pin(async move { drive(session, run, caller.limits, &cancellation.0).await });
        // A small answer is complete before its first piece is full, and needs no way of its own.
        let complete = std::future::poll_fn(|context| match running.as_mut().poll(context) {
            Poll::Ready(driven) => Poll::Ready(Some(driven)),
            Poll::Pending => reader.poll_begun(context).map(|()| None),
        });
        let Some(driven) = complete.await else {
            tokio::spawn(async move {
                let driven = running.await.map(|(session, run, _)| (session, run.finish()));
                self.end_cursor::<E>(caller, slot, driven, end);
            });
            return Ok(response(E::CURSOR_TYPE, boxed(reader)));
        };
        let (session, run, _) = driven.map_err(|error| database_problem(caller.tenant, &error))?;
        let finished = run.finish();
        if finished.has_begun {
            self.end_cursor::<E>(caller, slot, Ok((session, finished)), end);
            return Ok(response(E::CURSOR_TYPE, boxed(reader)));
        }
        let baton = slot.and_then(|slot| self.park(slot, session, finished.sqls));
        if let Some(failure) = finished.refusal {
            tracing::info!(tenant = %caller.tenant, %failure, "a cursor was refused");
            let entries = E::cursor_in_problem(&finished.out);
            return Err(problems::of_statement(&failure, baton, entries));
        }
        Ok(response(E::CURSOR_TYPE, full(finished.out)))
    }

    /// The last of a cursor of which something was sent. Its client has the baton: the stream is free before it reads the end.
    fn end_cursor<E: Encoding>(
        &self,
        caller: Caller,
        slot: Option<StreamSlot>,
        driven: Result<(Session, super::cursor::Finished), DatabaseError>,
        end: ChunkEnd,
    ) {
        match driven {
            Ok((_, finished)) if finished.broken == Some(Broken::Stalled) => {
                break_off(caller.tenant, Broken::Stalled, end);
            }
            Ok((session, finished)) => {
                if let Some(slot) = slot {
                    self.park(slot, session, finished.sqls);
                }
                match finished.broken {
                    Some(broken) => break_off(caller.tenant, broken, end),
                    None => end.complete(finished.out),
                }
            }
            Err(error) => {
                log_database_error(caller.tenant, &error);
                let mut out = Vec::new();
                let text = ErrorText {
                    message: &error.to_string(),
                    code: "INTERNAL",
                };
                E::error_entry(&mut out, text);
                end.complete(out);
            }
        }
    }

    /// Reads whose request it is and what it asks for.
    async fn read<T: Send + 'static>(
        &self,
        request: Request<Body>,
        parse: fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<(Caller, T), Problem> {
        let context = request
            .extensions()
            .get::<TenantContext>()
            .ok_or_else(problems::without_tenant)?;
        let caller = Caller {
            tenant: context.uid,
            weight: context.weight,
            limits: StatementLimits {
                access: context.access,
                quota: context.quota,
            },
        };
        let body = request_body::read(request.into_body(), caller.limits.quota.request_bytes).await?;
        let parsed = self.parse(caller, body, parse).await?;
        Ok((caller, parsed))
    }

    async fn parse<T: Send + 'static>(
        &self,
        caller: Caller,
        body: Bytes,
        parse: fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, Problem> {
        let parsed = if body.len() <= PARSED_IN_PLACE_BYTES {
            parse(&body)
        } else {
            let parsing = self
                .databases
                .run_blocking(caller.tenant, caller.weight, move || parse(&body));
            parsing.await.map_err(|error| database_problem(caller.tenant, &error))?
        };
        parsed.map_err(|malformed| problems::of_body(&malformed))
    }

    /// The stream that a request goes on with, or a new one. A new one that the request closes needs no slot.
    async fn stream(&self, caller: Caller, baton: Option<&str>, closes: bool) -> Result<Resumed, Problem> {
        let Caller { tenant, weight, .. } = caller;
        let (slot, parked) = match baton {
            Some(baton) => {
                let now = || self.databases.now();
                let resumed = self
                    .streams
                    .resume_when_free(tenant, baton, now, self.patience.stall)
                    .await;
                let (slot, parked) = resumed.map_err(problems::of_stream)?;
                (Some(slot), Some(parked))
            }
            None if closes => (None, None),
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
        Ok(Resumed { slot, session, sqls })
    }

    /// Leaves the stream for its next request.
    fn park(&self, slot: StreamSlot, session: Session, sqls: StoredSql) -> Option<String> {
        let parked = Parked {
            last_insert_rowid: session.last_insert_rowid(),
            session: session.holds_connection().then_some(session),
            sqls,
        };
        slot.park(parked, self.databases.now())
    }
}

fn break_off(tenant: TenantUid, broken: Broken, end: ChunkEnd) {
    match broken {
        Broken::ReaderLeft => tracing::debug!(%tenant, "a client left before the end of its answer"),
        Broken::Stalled => {
            metrics::counter!("tenantry_node_answers_stalled_total").increment(1);
            tracing::info!(%tenant, "a client did not read its answer; its stream was ended");
        }
    }
    end.break_off(broken.to_string());
}

fn log_database_error(tenant: TenantUid, error: &DatabaseError) {
    match error {
        DatabaseError::Overloaded { .. } | DatabaseError::Stopping => {
            tracing::debug!(%tenant, %error, "a request was refused");
        }
        DatabaseError::Damaged(_) | DatabaseError::Open(_) | DatabaseError::Folder(_) | DatabaseError::Crashed => {
            tracing::error!(%tenant, %error, "a tenant's database cannot be served");
        }
    }
}

fn database_problem(tenant: TenantUid, error: &DatabaseError) -> Problem {
    log_database_error(tenant, error);
    problems::of_database(error)
}

fn probe(encoding: &str) -> Response<Body> {
    let body = format!(r#"{{"protocol":"hrana-over-http","encoding":"{encoding}"}}"#);
    response("application/json", full(body))
}

fn response(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
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
