//! Makes the answers to pipelines and cursors: small ones whole, large ones while they are sent.

use std::future::Future as _;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use tenantry_types::TenantUid;

use super::chunks::{Broken, ChunkEnd, QUEUED_BYTES, Untaken, chunks, whole};
use super::cursor::{self, CursorRun};
use super::encoding::{Encoding, ErrorText};
use super::incoming::{Arrived, Caller, Resumed, database_problem, log_database_error};
use super::json::{Json, v1};
use super::pipeline::{self, NoRows, PipelineRun};
use super::problems;
use super::request::{Cursor, Leaves, Malformed, Pipeline, StreamRequest};
use super::run::{CancelOnDrop, Stop, drive};
use super::service::HranaService;
use super::slot::StreamSlot;
use super::stored_sql::StoredSql;
use super::streams::Transaction;
use crate::database::{ActiveSession, Arguments, DatabaseError, Session, Statements as _, WriteTurn};
use crate::http::body::{Body, boxed, full};
use crate::http::problem::Problem;

impl HranaService {
    pub(super) async fn pipeline<E: Encoding>(self, arrived: Arrived) -> Result<Response<Body>, Problem> {
        let (caller, (pipeline, looks)) = self
            .read(arrived, |body| E::read_pipeline(body).map(Pipeline::looked_at))
            .await?;
        let mut resumed = self.stream(caller, pipeline.baton.as_deref(), looks.leaves).await?;
        if looks.begins_with_rollback {
            resumed = Box::pin(self.as_believed(caller, resumed)).await?;
        }
        let Resumed {
            slot,
            session,
            sqls,
            transaction,
        } = resumed;
        let run = self.run_of::<E>(caller, pipeline.requests, sqls);
        // The client may leave at any await below: what runs on the thread is then stopped.
        let cancellation = CancelOnDrop::default();
        let driven = drive(session, run, caller.limits, &cancellation.0).await;
        let (session, run, stop) = driven.map_err(|error| database_problem(caller.tenant, &error))?;
        match stop {
            Stop::Done => {}
            Stop::Large => return Ok(self.send_pipeline(caller, slot, session, run)),
            Stop::NotBegun(error) => {
                let sqls = run.finish().sqls;
                return Err(self.not_begun(caller, slot, session, sqls, transaction, &error));
            }
        }
        let mut finished = run.finish();
        if let Some(failure) = finished.refusal {
            tracing::info!(tenant = %caller.tenant, %failure, "a pipeline was refused");
            let transaction = transaction.and_then(finished.transaction);
            let baton = self.refuse(slot, session, finished.sqls, transaction, pipeline.baton);
            let problem = problems::of_statement(&failure, baton.filter(|_| !finished.closed));
            return Ok(self.refused(caller, problem, finished.out));
        }
        let baton = self.leave(slot, session, &mut finished);
        E::end_pipeline(&mut finished.out, baton.as_deref());
        Ok(response(E::PIPELINE_TYPE, self.collected(caller, finished.out)))
    }

    /// One statement or one batch, without a stream.
    pub(super) async fn v1(
        self,
        arrived: Arrived,
        parse: fn(&[u8]) -> Result<StreamRequest, Malformed>,
    ) -> Result<Response<Body>, Problem> {
        let (caller, stream_request) = self.read(arrived, parse).await?;
        let Resumed { session, sqls, .. } = self.stream(caller, None, Leaves::Nothing).await?;
        let run = self.run_of::<Json>(caller, vec![stream_request], sqls);
        let cancellation = CancelOnDrop::default();
        let driven = drive(session, run, caller.limits, &cancellation.0).await;
        // The session ends here, and what it has open is rolled back.
        let (_, run, stop) = driven.map_err(|error| database_problem(caller.tenant, &error))?;
        if let Stop::NotBegun(error) = stop {
            return Err(database_problem(caller.tenant, &error));
        }
        let finished = run.finish();
        if let Some(failure) = finished.refusal {
            tracing::info!(tenant = %caller.tenant, %failure, "a request was refused");
            let problem = problems::of_statement(&failure, None);
            return Ok(self.refused(caller, problem, finished.out));
        }
        Ok(match v1::answer(finished.out) {
            v1::Answer::Result(result) => response(Json::PIPELINE_TYPE, self.collected(caller, result)),
            v1::Answer::Error(error) => {
                let mut response = response(Json::PIPELINE_TYPE, self.collected(caller, error));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
        })
    }

    fn run_of<E: Encoding>(
        &self,
        caller: Caller,
        requests: Vec<StreamRequest>,
        sqls: StoredSql,
    ) -> Box<PipelineRun<E>> {
        let stored = self.shared.stored.of(caller.tenant);
        Box::new(PipelineRun::new(
            requests,
            sqls,
            stored,
            caller.limits.quota.result_bytes,
        ))
    }

    /// The stream as the client of a ROLLBACK believes it to be: in a transaction, also where SQLite has rolled it back unseen.
    async fn as_believed(&self, caller: Caller, resumed: Resumed) -> Result<Resumed, Problem> {
        if resumed.transaction == Transaction::AsKnown {
            return Ok(resumed);
        }
        let Resumed {
            slot,
            session,
            sqls,
            transaction,
        } = resumed;
        let cancellation = CancelOnDrop::default();
        let begin = |(): &mut (), active: &mut ActiveSession<'_>| {
            drop(active.execute("begin", &Arguments::default(), &mut NoRows));
        };
        let begun = session.run(caller.limits, WriteTurn::GiveUp, cancellation.0.clone(), (), begin);
        let (session, (), begun) = begun.await.map_err(|error| database_problem(caller.tenant, &error))?;
        if let Err(error) = begun {
            return Err(self.not_begun(caller, slot, session, sqls, transaction, &error));
        }
        Ok(Resumed {
            slot,
            session,
            sqls,
            transaction: Transaction::AsKnown,
        })
    }

    /// Nothing of the request was carried out: its stream waits as it was, under the baton that the request came with.
    fn not_begun(
        &self,
        caller: Caller,
        slot: StreamSlot,
        session: Session,
        sqls: StoredSql,
        transaction: Transaction,
        error: &DatabaseError,
    ) -> Problem {
        self.refuse(slot, session, sqls, transaction, None);
        database_problem(caller.tenant, error)
    }

    /// Leaves the stream for its next request, unless the client has closed it. The baton for it.
    fn leave(&self, slot: StreamSlot, session: Session, finished: &mut pipeline::Finished) -> Option<String> {
        if finished.closed {
            slot.close();
            return None;
        }
        self.park(slot, session, std::mem::take(&mut finished.sqls))
    }

    /// Goes on with a pipeline whose answer has become large, and sends it meanwhile.
    fn send_pipeline<E: Encoding>(
        self,
        caller: Caller,
        slot: StreamSlot,
        session: Session,
        mut run: Box<PipelineRun<E>>,
    ) -> Response<Body> {
        let cancellation = CancelOnDrop::default();
        let (sender, end, reader) = chunks(
            self.shared.patience,
            Arc::clone(&self.shared.queued),
            cancellation.0.clone(),
            session.settlement(),
        );
        run.send_to(sender);
        tokio::spawn(async move {
            let driven = drive(session, run, caller.limits, &cancellation.0).await;
            // What has become large has begun.
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
            let baton = self.leave(slot, session, &mut finished);
            E::end_pipeline(&mut finished.out, baton.as_deref());
            see_taken(caller.tenant, end.complete(finished.out));
        });
        response(E::PIPELINE_TYPE, boxed(reader))
    }

    pub(super) async fn cursor<E: Encoding>(self, arrived: Arrived) -> Result<Response<Body>, Problem> {
        let (caller, (cursor, looks)) = self
            .read(arrived, |body| E::read_cursor(body).map(Cursor::looked_at))
            .await?;
        let mut resumed = self.stream(caller, cursor.baton.as_deref(), looks.leaves).await?;
        if looks.begins_with_rollback {
            resumed = self.as_believed(caller, resumed).await?;
        }
        let Resumed {
            mut slot,
            session,
            sqls,
            transaction,
        } = resumed;
        let mut head = Vec::new();
        let stays_stateless = looks.only_reads && !session.holds_connection() && sqls.is_empty();
        let next_baton = if stays_stateless {
            slot.give_out_stateless(session.history())
        } else {
            slot.give_out_baton()
        };
        E::cursor_head(&mut head, Some(&next_baton));
        let cancellation = CancelOnDrop::default();
        let (sender, end, reader) = chunks(
            self.shared.patience,
            Arc::clone(&self.shared.queued),
            cancellation.0.clone(),
            session.settlement(),
        );
        let run = CursorRun::<E>::new(cursor.steps, sqls, head, sender, caller.limits.quota.result_bytes);
        let run = Box::new(run);
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
        let (session, run, stop) = driven.map_err(|error| database_problem(caller.tenant, &error))?;
        let finished = run.finish();
        if let Stop::NotBegun(error) = stop {
            return Err(self.not_begun(caller, slot, session, finished.sqls, transaction, &error));
        }
        if finished.has_begun {
            self.end_cursor::<E>(caller, slot, Ok((session, finished)), end);
            return Ok(response(E::CURSOR_TYPE, boxed(reader)));
        }
        if let Some(failure) = finished.refusal {
            tracing::info!(tenant = %caller.tenant, %failure, "a cursor was refused");
            let transaction = transaction.and_then(finished.transaction);
            let baton = self.refuse(slot, session, finished.sqls, transaction, cursor.baton);
            let problem = problems::of_statement(&failure, baton);
            return Ok(self.refused(caller, problem, finished.out));
        }
        self.park(slot, session, finished.sqls);
        Ok(response(E::CURSOR_TYPE, self.collected(caller, finished.out)))
    }

    /// The last of a cursor of which something was sent. Its client has the baton: the stream is free before it reads the end.
    fn end_cursor<E: Encoding>(
        &self,
        caller: Caller,
        slot: StreamSlot,
        driven: Result<(Session, cursor::Finished), DatabaseError>,
        end: ChunkEnd,
    ) {
        match driven {
            Ok((_, finished)) if finished.broken == Some(Broken::Stalled) => {
                break_off(caller.tenant, Broken::Stalled, end);
            }
            Ok((session, finished)) => {
                self.park(slot, session, finished.sqls);
                match finished.broken {
                    Some(broken) => break_off(caller.tenant, broken, end),
                    None => see_taken(caller.tenant, end.complete(finished.out)),
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
                see_taken(caller.tenant, end.complete(out));
            }
        }
    }

    /// The body of an answer that is here. A large one waits for its client no longer than one that is sent while it is made.
    fn collected(&self, caller: Caller, answer: Vec<u8>) -> Body {
        if answer.len() <= QUEUED_BYTES {
            return full(answer);
        }
        let (reader, untaken) = whole(answer, self.shared.patience, Arc::clone(&self.shared.queued));
        see_taken(caller.tenant, untaken);
        boxed(reader)
    }

    /// The answer to a request that was refused: `problem`, after what the request did.
    fn refused(&self, caller: Caller, problem: Problem, done: Vec<u8>) -> Response<Body> {
        let response = problem.into_response_after(done);
        response.map(|document| self.collected(caller, document))
    }
}

/// Waits, beside the connection, for the client of an answer of which much is left.
fn see_taken(tenant: TenantUid, untaken: Option<Untaken>) {
    if let Some(untaken) = untaken {
        tokio::spawn(async move {
            if let Err(broken) = untaken.taken().await {
                tell(tenant, broken);
            }
        });
    }
}

fn break_off(tenant: TenantUid, broken: Broken, end: ChunkEnd) {
    tell(tenant, broken);
    end.break_off(broken.to_string());
}

fn tell(tenant: TenantUid, broken: Broken) {
    match broken {
        Broken::ReaderLeft => tracing::debug!(%tenant, "a client left before the end of its answer"),
        Broken::NotDurable => tracing::error!(%tenant, "an answer was broken off, since the disk failed"),
        Broken::Stalled => {
            metrics::counter!("tenantry_node_answers_stalled_total").increment(1);
            tracing::info!(%tenant, "a client did not read its answer, which was broken off");
        }
    }
}

fn response(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
