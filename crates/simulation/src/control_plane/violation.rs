//! What must never happen.

use tenantry_types::{MemberId, RequestId, Revision};

use crate::tally::Seeded;

/// A promise that was broken, and how to see it again.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, tick {tick}: {breach}")]
pub struct Violation {
    /// The seed that leads here.
    pub seed: u64,
    /// When it was noticed.
    pub tick: u64,
    /// What was broken.
    #[source]
    pub breach: Box<Breach>,
    /// What happened before, oldest first; as many lines as the plan keeps.
    pub trace: Vec<String>,
}

impl Seeded for Violation {
    fn seed(&self) -> u64 {
        self.seed
    }
}

/// The promises.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// A term has one leader at most.
    #[error("members {first} and {second} both lead in term {term}")]
    TwoLeaders {
        /// The term.
        term: u64,
        /// Who led first.
        first: MemberId,
        /// Who leads, too.
        second: MemberId,
    },
    /// What was committed at a revision stays there, and is answered the same by all.
    #[error("member {member} applies another command at revision {revision} than others, or answers otherwise")]
    HistoryChanged {
        /// Who.
        member: MemberId,
        /// Where.
        revision: Revision,
    },
    /// All members apply all that was committed, once and in order.
    #[error("member {member} goes from revision {from} to {to}, which skips or repeats committed commands")]
    HistorySkipped {
        /// Who.
        member: MemberId,
        /// Where it was.
        from: Revision,
        /// Where it is.
        to: Revision,
    },
    /// Members at one revision are equal.
    #[error("member {member} has the digest {found:016x} at revision {revision}, others had {expected:016x}")]
    DigestsDiffer {
        /// Who.
        member: MemberId,
        /// Where.
        revision: Revision,
        /// What others had.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A state holds together.
    #[error("the state of member {member} at revision {revision}: {what}")]
    BadState {
        /// Whose.
        member: MemberId,
        /// Where.
        revision: Revision,
        /// What is wrong.
        what: String,
    },
    /// What was acknowledged is in every later state.
    #[error("member {member} at revision {revision} does not know the request {request} as acknowledged at {since}")]
    AcknowledgedLost {
        /// Whose state.
        member: MemberId,
        /// Where.
        revision: Revision,
        /// What it misses.
        request: RequestId,
        /// Where it was acknowledged.
        since: Revision,
    },
    /// A request has one outcome, however often it is sent.
    #[error("the request {request} came out differently at revision {revision} than before")]
    AppliedTwice {
        /// Which.
        request: RequestId,
        /// Where it was applied again.
        revision: Revision,
    },
    /// A request is answered the same, whenever and by whomever.
    #[error("the request {request} was answered by {second} at revision {revision}, but by {first} before")]
    AnswerChanged {
        /// Which.
        request: RequestId,
        /// Where the second answer comes from.
        revision: Revision,
        /// The answer before.
        first: String,
        /// The answer now.
        second: String,
    },
    /// What clients were told could have happened one operation at a time.
    #[error("the history of {key} is not linearizable:\n{history}")]
    NotLinearizable {
        /// What the operations were about.
        key: String,
        /// The operations, by the time of their calls.
        history: String,
    },
    /// A member acts only on what a majority holds durably.
    #[error("member {member} applies revision {revision}, which only {holders:?} hold durably, of {voters} voters")]
    NotDurable {
        /// Who.
        member: MemberId,
        /// What.
        revision: Revision,
        /// Whose disks hold it.
        holders: Vec<MemberId>,
        /// How many voters there are at least.
        voters: u64,
    },
    /// A disk gives back what was acknowledged as written.
    #[error("the disk of member {member} {what}")]
    DiskDiffers {
        /// Whose.
        member: MemberId,
        /// What is wrong.
        what: String,
    },
    /// Messages for others, or from outside, are refused.
    #[error("member {member} took in a message that was meant for {meant_for}")]
    ForeignMessage {
        /// Who.
        member: MemberId,
        /// Whose it was.
        meant_for: MemberId,
    },
    /// A member whose disk was lost takes no part under its old id.
    #[error("member {member}, whose disk was lost, goes on under its old id")]
    WipedMemberServes {
        /// Who.
        member: MemberId,
    },
    /// Nothing panics.
    #[error("panicked: {reason}")]
    Panicked {
        /// The message.
        reason: String,
    },
    /// A member may only stop for reasons that the simulation gave it.
    #[error("member {member} stopped: {reason}")]
    MemberStopped {
        /// Who.
        member: MemberId,
        /// Why.
        reason: String,
    },
    /// Members do not talk without end about nothing.
    #[error("the members exchange messages without end within one tick")]
    EndlessTalk,
    /// Once nothing fails any more, the cluster recovers.
    #[error("{ticks} ticks after the last fault the cluster has not recovered: {state}")]
    NoProgress {
        /// How long it had.
        ticks: u64,
        /// What the members look like.
        state: String,
    },
    /// The simulation itself could not go on.
    #[error("the simulation cannot {doing}: {reason}")]
    Simulation {
        /// What it was doing.
        doing: &'static str,
        /// What stood in the way.
        reason: String,
    },
}

impl Breach {
    /// The promise's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TwoLeaders { .. } => "TwoLeaders",
            Self::HistoryChanged { .. } => "HistoryChanged",
            Self::HistorySkipped { .. } => "HistorySkipped",
            Self::DigestsDiffer { .. } => "DigestsDiffer",
            Self::BadState { .. } => "BadState",
            Self::AcknowledgedLost { .. } => "AcknowledgedLost",
            Self::AppliedTwice { .. } => "AppliedTwice",
            Self::AnswerChanged { .. } => "AnswerChanged",
            Self::NotLinearizable { .. } => "NotLinearizable",
            Self::NotDurable { .. } => "NotDurable",
            Self::DiskDiffers { .. } => "DiskDiffers",
            Self::ForeignMessage { .. } => "ForeignMessage",
            Self::WipedMemberServes { .. } => "WipedMemberServes",
            Self::Panicked { .. } => "Panicked",
            Self::MemberStopped { .. } => "MemberStopped",
            Self::EndlessTalk => "EndlessTalk",
            Self::NoProgress { .. } => "NoProgress",
            Self::Simulation { .. } => "Simulation",
        }
    }
}
