//! What the replicated log drives. The log knows commands as bytes; what they mean is the machine's alone.

use std::io::{self, Read, Write};

use tenantry_types::Revision;

/// A deterministic state machine: equal commands in equal order give equal states on every member.
pub trait StateMachine: Send + 'static {
    /// What the proposer of a command gets back.
    type Answer: Send + 'static;
    /// A cheap, consistent, immutable copy of the state.
    type Cut: Send + 'static;

    /// Applies the command at `revision`.
    ///
    /// # Errors
    /// For a command that cannot be read or is unknown: the member stops rather than skip what the others apply.
    /// A command that is read and rejected is an answer, not an error.
    fn apply(&mut self, revision: Revision, command: &[u8]) -> Result<Self::Answer, FatalApply>;

    /// Called once after each batch of commands, and after a restore: publish to readers and watchers here.
    fn applied(&mut self, revision: Revision);

    /// Takes a copy that later commands do not change.
    fn cut(&self) -> Self::Cut;

    /// Writes a cut; the same state must give the same bytes.
    ///
    /// # Errors
    /// Those of `out`.
    fn write_snapshot(cut: &Self::Cut, out: &mut dyn Write) -> io::Result<()>;

    /// Replaces the whole state by a written cut. `input` ends with an error if the snapshot does not check, so it
    /// must be read to its end first.
    ///
    /// # Errors
    /// When the input cannot be read; the old state must still be in place then.
    fn restore(&mut self, input: &mut dyn Read) -> Result<(), RestoreError>;

    /// A hash of the state, cheap to ask for. Members compare it at equal revisions.
    fn digest(&self) -> u64;
}

/// A command that this version cannot apply.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct FatalApply {
    /// Why, for the operator.
    pub reason: String,
}

/// A snapshot that the state machine refuses.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It could not be read.
    #[error("cannot read the snapshot")]
    Io(#[from] io::Error),
    /// It was read, but its content makes no sense to this version.
    #[error("the snapshot holds {what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },
}
