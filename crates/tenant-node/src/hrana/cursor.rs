//! Runs a cursor's batch on one session and sends its entries while it runs.

use std::marker::PhantomData;

use bytes::Bytes;
use rusqlite::Row;

use super::batch::StepOutcome;
use super::chunks::{Broken, CHUNK_BYTES, ChunkSender};
use super::encoding::{Encoding, ErrorText, RowView, within};
use super::request::{Rows, Step};
use super::run::{Progress, Run};
use super::stored_sql::StoredSql;
use super::streams::Transaction;
use crate::database::{Attempt, Column, ResultTooLarge, RowSink, StatementError, Statements};

/// A batch and how far it has come.
pub(super) struct CursorRun<E> {
    steps: Vec<Step>,
    outcomes: Vec<StepOutcome>,
    sqls: StoredSql,
    transaction: Transaction,
    entries: Entries<E>,
}

/// The entries as they are written, and where they go.
struct Entries<E> {
    out: Vec<u8>,
    sender: ChunkSender,
    /// Bytes that have left already.
    sent: usize,
    limit: usize,
    /// Where nobody may wait for the client, what comes stays here until the end.
    may_send: bool,
    /// The first failure that decides the status of the whole answer.
    refusal: Option<StatementError>,
    broken: Option<Broken>,
    encoding: PhantomData<fn() -> E>,
}

/// What a finished cursor leaves.
pub(super) struct Finished {
    /// The entries that were not sent yet; with the head, if none was. Where they are refused, the beginning of the problem's document.
    pub(super) out: Vec<u8>,
    pub(super) sqls: StoredSql,
    pub(super) transaction: Transaction,
    /// The failure that decides the status of the whole answer, if that is still open.
    pub(super) refusal: Option<StatementError>,
    /// Why the entries could not be sent.
    pub(super) broken: Option<Broken>,
    /// Whether anything was sent.
    pub(super) has_begun: bool,
}

impl<E: Encoding> CursorRun<E> {
    /// The answer begins with `head` and takes at most `limit` bytes.
    pub(super) fn new(steps: Vec<Step>, sqls: StoredSql, head: Vec<u8>, sender: ChunkSender, limit: u64) -> Self {
        Self {
            steps,
            outcomes: Vec::new(),
            sqls,
            transaction: Transaction::AsKnown,
            entries: Entries {
                out: head,
                sender,
                sent: 0,
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
                may_send: true,
                refusal: None,
                broken: None,
                encoding: PhantomData,
            },
        }
    }

    pub(super) fn finish(self) -> Finished {
        Finished {
            has_begun: self.entries.has_begun(),
            refusal: self.entries.refusal().cloned(),
            out: self.entries.out,
            sqls: self.sqls,
            transaction: self.transaction,
            broken: self.entries.broken,
        }
    }
}

impl<E: Encoding> Run for CursorRun<E> {
    fn advance(&mut self, session: &mut dyn Statements) -> Progress {
        let progress = self.run_steps(session);
        if progress == Progress::Done {
            // Here, on the database thread: to take very many of them apart takes long.
            self.steps = Vec::new();
            self.entries.begin_problem_if_refused();
        }
        progress
    }

    fn has_begun(&self) -> bool {
        !self.outcomes.is_empty()
    }
}

impl<E: Encoding> CursorRun<E> {
    /// Runs from where it is to the end, or until there is a reason to leave the thread.
    fn run_steps(&mut self, session: &mut dyn Statements) -> Progress {
        self.entries.may_send = session.may_block();
        for (number, step) in self.steps.iter().enumerate().skip(self.outcomes.len()) {
            if !session.may_go_on() {
                return Progress::NeedsWriter;
            }
            let runs = step
                .condition
                .as_ref()
                .is_none_or(|condition| condition.holds(&self.outcomes, session.is_autocommit()));
            if !runs {
                self.outcomes.push(StepOutcome::Skipped);
                continue;
            }
            let was_in_transaction = !session.is_autocommit();
            let mut writer = StepWriter {
                entries: &mut self.entries,
                number,
                rows: step.stmt.rows,
                width: 0,
            };
            let attempt = match self.sqls.text(&step.stmt.sql) {
                Ok(sql) => session.execute(sql, &step.stmt.arguments, &mut writer),
                Err(failure) => Attempt::Finished(Err(failure)),
            };
            let outcome = match attempt {
                Attempt::NeedsWriter => return Progress::NeedsWriter,
                Attempt::Finished(outcome) => outcome,
            };
            if self.entries.broken.is_some() {
                return Progress::Done;
            }
            match outcome {
                Ok(summary) => {
                    E::step_end_entry(&mut self.entries.out, &summary);
                    self.outcomes.push(StepOutcome::Succeeded);
                }
                Err(failure) => {
                    if was_in_transaction && failure.decides_answer() && session.is_autocommit() {
                        self.transaction = Transaction::GoneUnseen;
                    }
                    self.entries.fail(number, failure);
                    self.outcomes.push(StepOutcome::Failed);
                    if self.entries.broken.is_some() {
                        return Progress::Done;
                    }
                }
            }
        }
        Progress::Done
    }
}

/// Writes one step's result as entries.
struct StepWriter<'a, E> {
    entries: &'a mut Entries<E>,
    number: usize,
    rows: Rows,
    width: usize,
}

impl<E: Encoding> RowSink for StepWriter<'_, E> {
    fn columns(&mut self, columns: &[Column<'_>]) -> Result<(), ResultTooLarge> {
        self.width = columns.len();
        let number = self.number;
        self.entries
            .entry(|out, limit| E::step_begin_entry(out, number, columns, limit))
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), ResultTooLarge> {
        if self.rows == Rows::Unwanted {
            return Ok(());
        }
        let width = self.width;
        self.entries
            .entry(|out, limit| E::row_entry(out, &RowView { row, width, limit }))
    }
}

impl<E: Encoding> Entries<E> {
    const fn has_begun(&self) -> bool {
        self.sent > 0
    }

    /// Once something was sent, the status is decided.
    fn refusal(&self) -> Option<&StatementError> {
        self.refusal.as_ref().filter(|_| !self.has_begun())
    }

    /// After the last entry.
    fn begin_problem_if_refused(&mut self) {
        if self.refusal().is_some() {
            E::begin_problem_of_cursor(&mut self.out);
        }
    }

    /// Writes an entry, whole or not at all, and sends what has come together.
    fn entry(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), ResultTooLarge>,
    ) -> Result<(), ResultTooLarge> {
        let before = self.out.len();
        if let Err(too_large) = write(&mut self.out, self.limit.saturating_sub(self.sent)) {
            self.out.truncate(before);
            return Err(too_large);
        }
        if self.out.len() < CHUNK_BYTES || !self.may_send {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8));
        self.sent += piece.len();
        self.sender.send(Bytes::from(piece)).map_err(|broken| {
            self.broken = Some(broken);
            ResultTooLarge
        })
    }

    /// Words that are too long are told as a result that is.
    fn fail(&mut self, step: usize, failure: StatementError) {
        let told = self.entry(|out, limit| {
            E::step_error_entry(out, step, ErrorText::of(&failure, &failure.to_string()));
            within(out, limit)
        });
        if told.is_err() && self.broken.is_none() {
            let too_large = StatementError::ResultTooLarge {
                limit_bytes: self.limit as u64,
            };
            E::step_error_entry(&mut self.out, step, ErrorText::of(&too_large, &too_large.to_string()));
        }
        if failure.decides_answer() && self.refusal.is_none() {
            self.refusal = Some(failure);
        }
    }
}
