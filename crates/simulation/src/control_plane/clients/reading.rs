//! Clients that read: from what a member shows at once, or after it has learnt what was acknowledged before.

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{PendingReads, ReadId, StateMachine};
use rand::Rng as _;
use tenantry_state::Outcome;
use tenantry_types::{MemberId, Revision};

use super::history::Key;
use super::wish::draw_key;
use crate::control_plane::Breach;
use crate::control_plane::cluster::{Cluster, impossible};
use crate::control_plane::member::Member;

/// Ticks after which a member asks again for a read index that it got no answer to.
const PATIENCE_TICKS: u64 = 5;

/// A client that waits for a member to answer its read.
#[derive(Debug, Clone)]
pub(in super::super) struct Reader {
    pub(super) key: Key,
    /// When it asked, by the history's order.
    pub(super) called: u64,
}

/// The reads that one member has taken on.
pub(in super::super) type Reads = PendingReads<Reader>;

impl<M, F> Cluster<'_, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    /// A client reads through any member, whether it leads or not.
    pub(in super::super) fn read_somewhere(&mut self) -> Result<(), Breach> {
        let ids = self.ids();
        let Some(id) = ids.get(self.rng.random_range(0..ids.len())).copied() else {
            return Ok(());
        };
        if self.rng.random_bool(0.3) {
            self.read_stale(id)
        } else {
            self.read_through(id)
        }
    }

    /// A client asks a member for what is true now.
    pub(in super::super) fn read_through(&mut self, id: MemberId) -> Result<(), Breach> {
        let key = draw_key(&mut self.rng).map_err(|error| impossible("think of a name", &error))?;
        let called = self.clients.history.moment();
        if let Some(running) = self.members.get_mut(&id).and_then(Member::working) {
            self.trace
                .note(format_args!("{} a client reads {key} through member {id}", self.now));
            running.reads.push(Reader { key, called });
        }
        Ok(())
    }

    /// A client takes what a member shows, however old; it must be what was true at the revision that comes with it.
    fn read_stale(&mut self, id: MemberId) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return Ok(());
        };
        let published = running.readers.current();
        let behind = published.revision < self.checker.highest();
        self.report.stale_reads += u64::from(behind);
        self.checker.check_shown(id, &published)
    }

    /// Asks the leader in the name of those who wait, again if it did not answer.
    pub(in super::super) fn ask_for_reads(&mut self, id: MemberId) {
        let now = self.now;
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return;
        };
        if let Some(sequence) = running.reads.next_question(now, PATIENCE_TICKS) {
            let origin = running.origin;
            self.report.read_questions += 1;
            self.trace.note(format_args!(
                "{now} member {id} asks for a read index, question {sequence}"
            ));
            running.replica.read_index(ReadId { origin, sequence });
        }
    }

    /// A question for a read index has its answer.
    pub(in super::super) fn learn_read_index(&mut self, id: MemberId, read: ReadId, index: Revision) {
        if let Some(running) = self.members.get_mut(&id).and_then(Member::running)
            && read.origin == running.origin
        {
            self.trace.note(format_args!(
                "{} member {id} may answer question {} at {index}",
                self.now, read.sequence
            ));
            running.reads.answer(read.sequence, index.get());
        }
    }

    /// Answers those whose read index is applied.
    pub(in super::super) fn answer_reads(&mut self, id: MemberId) {
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return;
        };
        let ready = running.reads.take_ready(running.applier.progress().applied.get());
        if ready.is_empty() {
            return;
        }
        let published = running.readers.current();
        for reader in ready {
            self.trace.note(format_args!(
                "{} member {id} answers a read of {} at {}",
                self.now, reader.key, published.revision
            ));
            self.report.reads += 1;
            self.clients.has_read(reader, &published.state);
        }
    }
}
