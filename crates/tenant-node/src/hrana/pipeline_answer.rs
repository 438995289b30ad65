//! The answer to a pipeline while it is written.
//!
//! It is collected at first, since a failure can still decide its status. When it grows large between two results, it is sent in pieces from
//! there on. One that a failure has decided stays collected to its end, so everything in it that a client can make long is held to the limit.

use std::marker::PhantomData;

use bytes::Bytes;

use super::chunks::{Broken, CHUNK_BYTES, ChunkSender};
use super::encoding::{BatchParts, Encoding, ErrorText, ResultKind};
use super::run::Progress;
use crate::database::{Description, ResultTooLarge, StatementError};

/// An answer that has come to this size, with results still to come, is sent in pieces.
const COLLECTED_BYTES: usize = 256 << 10;

/// Room for the answer to a query of a row or two.
const SMALL_ANSWER_BYTES: usize = 512;

/// Room for what a problem has besides the results: a long answer need not be moved for it.
const PROBLEM_BYTES: usize = 1_024;

/// Results, and where they go.
pub(super) struct Answer<E> {
    pub(super) out: Vec<u8>,
    /// The first failure that decides the status of the whole answer.
    pub(super) refusal: Option<StatementError>,
    /// Bytes that have left already.
    sent: usize,
    limit: usize,
    outlet: Outlet,
    encoding: PhantomData<fn() -> E>,
}

/// Where the answer goes.
enum Outlet {
    Collected,
    Sent(ChunkSender),
    Broken(Broken),
}

impl<E: Encoding> Answer<E> {
    /// Takes at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        let mut out = Vec::with_capacity(SMALL_ANSWER_BYTES);
        E::begin_pipeline(&mut out);
        Self {
            out,
            refusal: None,
            sent: 0,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            outlet: Outlet::Collected,
            encoding: PhantomData,
        }
    }

    /// The largest length that `out` may reach.
    pub(super) const fn room(&self) -> usize {
        self.limit.saturating_sub(self.sent)
    }

    /// Whether a refused answer has come to its limit: what would follow is left out, and not carried out.
    pub(super) const fn is_full(&self) -> bool {
        self.refusal.is_some() && self.out.len() >= self.room()
    }

    pub(super) const fn is_collected(&self) -> bool {
        matches!(self.outlet, Outlet::Collected)
    }

    /// Why it could not be sent.
    pub(super) const fn broken(&self) -> Option<Broken> {
        match self.outlet {
            Outlet::Broken(broken) => Some(broken),
            Outlet::Collected | Outlet::Sent(_) => None,
        }
    }

    pub(super) fn description(&mut self, description: &Description) {
        let before = self.out.len();
        let start = E::begin_result(&mut self.out, ResultKind::Describe);
        let limit = self.room();
        match E::description(&mut self.out, description, limit) {
            Ok(()) => E::end_result(&mut self.out, start, ResultKind::Describe),
            Err(ResultTooLarge) => {
                self.out.truncate(before);
                self.write_error(&self.too_large());
            }
        }
    }

    /// A failed result. Words that are too long are told as a result that is.
    pub(super) fn failure(&mut self, failure: &StatementError) {
        self.note(failure);
        let before = self.out.len();
        self.write_error(failure);
        if self.out.len() > self.room() {
            self.out.truncate(before);
            self.write_error(&self.too_large());
        }
    }

    /// A failed result with words of this node, which are short.
    pub(super) fn error(&mut self, message: &str, code: &str) {
        E::error_result(&mut self.out, ErrorText { message, code });
    }

    /// The same as [`Self::failure`], of a step of a batch.
    pub(super) fn failed_step(&mut self, parts: &mut BatchParts, step: usize, failure: &StatementError) {
        self.note(failure);
        let (results, errors) = (parts.results.len(), parts.errors.len());
        E::failed_step(parts, step, ErrorText::of(failure, &failure.to_string()));
        if self.out.len() + parts.results.len() + parts.errors.len() > self.room() {
            parts.results.truncate(results);
            parts.errors.truncate(errors);
            let too_large = self.too_large();
            E::failed_step(parts, step, ErrorText::of(&too_large, &too_large.to_string()));
        }
    }

    fn write_error(&mut self, failure: &StatementError) {
        E::error_result(&mut self.out, ErrorText::of(failure, &failure.to_string()));
    }

    const fn too_large(&self) -> StatementError {
        StatementError::ResultTooLarge {
            limit_bytes: self.limit as u64,
        }
    }

    /// After the first piece the status is decided: a failure is then in its result alone.
    fn note(&mut self, failure: &StatementError) {
        if failure.decides_answer() && self.refusal.is_none() && self.is_collected() {
            self.refusal = Some(failure.clone());
        }
    }

    /// After the last result.
    pub(super) fn begin_problem_if_refused(&mut self) {
        if self.refusal.is_some() {
            E::begin_problem_of_pipeline(&mut self.out);
            self.out.reserve(PROBLEM_BYTES);
        }
    }

    /// Sends what there is and, from now on, what comes.
    pub(super) fn send_to(&mut self, mut sender: ChunkSender) {
        self.sent += self.out.len();
        sender.send_first(Bytes::from(std::mem::take(&mut self.out)));
        self.outlet = Outlet::Sent(sender);
    }

    /// Between two results: sends what there is, or asks to be sent.
    pub(super) fn hand_over(&mut self, more_to_come: bool) -> Result<Progress, Broken> {
        match &mut self.outlet {
            Outlet::Collected if more_to_come && self.out.len() >= COLLECTED_BYTES && self.refusal.is_none() => {
                Ok(Progress::Large)
            }
            Outlet::Sent(sender) if more_to_come && self.out.len() >= CHUNK_BYTES => {
                self.sent += self.out.len();
                let piece = Bytes::from(std::mem::take(&mut self.out));
                if let Err(broken) = sender.send(piece) {
                    self.outlet = Outlet::Broken(broken);
                    return Err(broken);
                }
                Ok(Progress::Done)
            }
            Outlet::Broken(broken) => Err(*broken),
            Outlet::Collected | Outlet::Sent(_) => Ok(Progress::Done),
        }
    }
}
