//! What must never happen to a tenant's quota.

use crate::tally::Seeded;

/// A promise that was broken, and how to see it again.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, after {requests} requests: {breach}")]
pub struct Violation {
    /// The seed that leads here.
    pub seed: u64,
    /// How many requests were made before.
    pub requests: u64,
    /// What was broken.
    #[source]
    pub breach: Box<Breach>,
    /// The last steps, oldest first.
    pub steps: Vec<String>,
}

impl Seeded for Violation {
    fn seed(&self) -> u64 {
        self.seed
    }
}

/// The promises.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// No 24 hours hold more admitted requests than the limit in force.
    #[error("tenant {tenant} has {admitted} requests admitted in 24 hours, under a limit of {limit}")]
    LimitExceeded {
        /// Who.
        tenant: usize,
        /// How many.
        admitted: u64,
        /// The limit at the last of them.
        limit: u64,
    },
    /// No more requests are served at one moment than the limit says.
    #[error("tenant {tenant} is served {served} requests at once, under a limit of {limit}")]
    ConcurrencyExceeded {
        /// Who.
        tenant: usize,
        /// How many.
        served: usize,
        /// The limit.
        limit: u32,
    },
    /// No more requests come at once than the bucket holds.
    #[error("tenant {tenant} is admitted beyond its burst limit")]
    BurstExceeded {
        /// Who.
        tenant: usize,
    },
    /// Who is refused has reached a limit, as documented.
    #[error(
        "tenant {tenant} is refused for its {policy} limit and nothing explains it: {counted} may be counted of {limit}"
    )]
    RefusedWithoutNeed {
        /// Who.
        tenant: usize,
        /// Which limit.
        policy: &'static str,
        /// What may be counted at most.
        counted: u64,
        /// The limit.
        limit: u64,
    },
    /// What was admitted is counted.
    #[error("tenant {tenant} has {used} requests counted, but {admitted} admitted in 24 hours")]
    CountedTooFew {
        /// Who.
        tenant: usize,
        /// What it is told.
        used: u64,
        /// What is true.
        admitted: u64,
    },
    /// Nothing is counted but what was admitted, or withheld by a crash.
    #[error("tenant {tenant} has {used} requests counted, but {most} can be")]
    CountedTooMany {
        /// Who.
        tenant: usize,
        /// What it is told.
        used: u64,
        /// What may be counted.
        most: u64,
    },
    /// What is refused, asked or free costs nothing.
    #[error("tenant {tenant} has {used} requests counted after {before}, without as many admitted")]
    ChargedWithoutAdmission {
        /// Who.
        tenant: usize,
        /// What it is told.
        used: u64,
        /// What it could be.
        before: u64,
    },
    /// Figures agree with each other and with the limits in force.
    #[error("tenant {tenant} is told a standing that is not so: {what}")]
    StandingWrong {
        /// Who.
        tenant: usize,
        /// What is wrong.
        what: String,
    },
    /// A crash burns no more than one reservation: the 1024th part of the limit, and one at least.
    #[error("tenant {tenant} has a reservation of {reserved} on disk, under limits of {limit} at most")]
    ReservationTooBig {
        /// Who.
        tenant: usize,
        /// Requests.
        reserved: u64,
        /// The biggest limit since the process started.
        limit: u64,
    },
    /// Who waits for as long as told, and asks once, passes; and not before.
    #[error("tenant {tenant} was told to come back later, and then {what}")]
    RetryAfterUntrue {
        /// Who.
        tenant: usize,
        /// What came of it.
        what: &'static str,
    },
    /// The same limits once more, or others and back, change nothing.
    #[error("tenant {tenant} has {after} requests counted after the same limits came again, {before} before")]
    DuplicateNoticed {
        /// Who.
        tenant: usize,
        /// Before.
        before: u64,
        /// After.
        after: u64,
    },
    /// Everybody who waits gets an outcome once the disk is done.
    #[error("the disk is done and {waiting} wait on")]
    Stuck {
        /// How many.
        waiting: usize,
    },
    /// A shortage of ours has a reason.
    #[error("tenant {tenant} is told of a shortage, though no disk failed: {error}")]
    UnavailableWithoutCause {
        /// Who.
        tenant: usize,
        /// What it is told.
        error: String,
    },
    /// Nothing panics.
    #[error("panicked: {reason}")]
    Panicked {
        /// The message.
        reason: String,
    },
    /// The model itself could not go on.
    #[error("the model cannot go on: {reason}")]
    Model {
        /// What stood in the way.
        reason: String,
    },
}

impl Breach {
    /// The promise's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LimitExceeded { .. } => "LimitExceeded",
            Self::ConcurrencyExceeded { .. } => "ConcurrencyExceeded",
            Self::BurstExceeded { .. } => "BurstExceeded",
            Self::RefusedWithoutNeed { .. } => "RefusedWithoutNeed",
            Self::CountedTooFew { .. } => "CountedTooFew",
            Self::CountedTooMany { .. } => "CountedTooMany",
            Self::ChargedWithoutAdmission { .. } => "ChargedWithoutAdmission",
            Self::StandingWrong { .. } => "StandingWrong",
            Self::ReservationTooBig { .. } => "ReservationTooBig",
            Self::RetryAfterUntrue { .. } => "RetryAfterUntrue",
            Self::DuplicateNoticed { .. } => "DuplicateNoticed",
            Self::Stuck { .. } => "Stuck",
            Self::UnavailableWithoutCause { .. } => "UnavailableWithoutCause",
            Self::Panicked { .. } => "Panicked",
            Self::Model { .. } => "Model",
        }
    }
}
