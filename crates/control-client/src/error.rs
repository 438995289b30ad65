//! What a failed call tells its caller, and the one judgement of what a status means for a retry.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::Endpoint;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No member could be brought to answer before the deadline. Trying again later may help. A mutation was not carried
    /// out.
    #[error("the control plane is unavailable: {attempts} attempts, the last at {endpoint}")]
    Unavailable {
        /// How many attempts were made.
        attempts: u32,
        /// Where the last one went.
        endpoint: Endpoint,
        /// How it ended.
        #[source]
        last: Box<Status>,
    },
    /// A mutation was sent and no member said before the deadline what came of it: it may or may not have happened, and may
    /// still happen. Repeated with the same request id, it is answered for what it did.
    #[error("the outcome is unknown: {attempts} attempts, the last at {endpoint}")]
    OutcomeUnknown {
        /// The id that all attempts carried.
        request_id: String,
        /// How many attempts were made.
        attempts: u32,
        /// Where the last one went.
        endpoint: Endpoint,
        /// How it ended.
        #[source]
        last: Box<Status>,
    },
    /// A member answered no. The same call again is refused again, unless something changes.
    #[error(transparent)]
    Refused(Box<Refusal>),
}

impl CallError {
    /// How long the member that answered last asks to be left alone; `None` when it did not say.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Unavailable { last, .. } | Self::OutcomeUnknown { last, .. } => {
                last.get_error_details().retry_info().and_then(|info| info.retry_delay)
            }
        }
    }
}

/// An answer that says no, with its details.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct Refusal {
    /// The kind.
    pub code: Code,
    /// For people.
    pub message: String,
    /// For programs, in upper snake case. Empty when the member gave none.
    pub reason: String,
    /// What belongs to the reason.
    pub metadata: BTreeMap<String, String>,
    /// Which fields of the request are wrong.
    pub violations: Vec<FieldViolation>,
    /// When the same call may be let through.
    pub retry_after: Option<Duration>,
}

/// A wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path, such as `spec.quota.requests_per_day`.
    pub field: String,
    /// The rule that it breaks.
    pub description: String,
}

impl fmt::Display for Refusal {
    /// The violated fields where there are any, else the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.violations.is_empty() {
            return match self.message.as_str() {
                "" => f.write_str(self.code.description()),
                message => f.write_str(message),
            };
        }
        for (index, violation) in self.violations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = details.error_info().map_or_else(Default::default, |info| {
            (info.reason.clone(), info.metadata.clone().into_iter().collect())
        });
        let violations = details.bad_request().map_or_else(Vec::new, |bad_request| {
            let field = |violation: &tonic_types::FieldViolation| FieldViolation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            };
            bad_request.field_violations.iter().map(field).collect()
        });
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason,
            metadata,
            violations,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

/// What a failed attempt means for the call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// This member cannot answer now; another may.
    TryElsewhere {
        /// Who leads, if the member said so.
        leader: Option<Endpoint>,
    },
    /// The member asks to come back after this long.
    TryLater(Duration),
    /// Final.
    Refused(Box<Refusal>),
}

impl Verdict {
    pub(crate) fn of(status: &Status) -> Self {
        // A status off the wire never has a source: with one, our own transport made it out of a connection that broke.
        let connection_broke = status.source().is_some();
        // A member's time for the call ran out first, before ours.
        let out_of_time = match status.code() {
            Code::Cancelled => true,
            Code::DeadlineExceeded => status
                .get_details_error_info()
                .is_some_and(|info| info.reason == "OUTCOME_UNKNOWN"),
            _ => false,
        };
        if status.code() == Code::Unavailable || connection_broke || out_of_time {
            let leader = status
                .get_details_error_info()
                .filter(|info| info.reason == "NOT_LEADER")
                .and_then(|info| info.metadata.get("leader_address")?.parse().ok());
            return Self::TryElsewhere { leader };
        }
        let refusal = Refusal::from(status);
        match refusal.retry_after {
            Some(delay) if refusal.code == Code::ResourceExhausted => Self::TryLater(delay),
            _ => Self::Refused(Box::new(refusal)),
        }
    }
}

/// Reasons of members that have certainly not carried a call out.
const NOT_CARRIED_OUT: [&str; 8] = [
    "NOT_LEADER",
    "NO_LEADER",
    "LEADER_UNREACHABLE",
    "BUSY",
    "STORAGE_FAILED",
    "STOPPING",
    "NOT_INITIALIZED",
    "REVISION_NOT_REACHED",
];

/// Whether a call that failed like this, and was not refused, may have been carried out all the same. Anything is possible
/// but for what says that it is not.
pub(crate) fn may_have_happened(status: &Status) -> bool {
    let never_connected = std::iter::successors(status.source(), |error| (*error).source())
        .any(|error| error.is::<tonic::ConnectError>());
    let said_so = status
        .get_details_error_info()
        .is_some_and(|info| NOT_CARRIED_OUT.contains(&info.reason.as_str()));
    !never_connected && !said_so
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn only_what_is_certain_counts_as_not_carried_out() {
        let with = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "tenantry.dev", std::collections::HashMap::new());
            Status::with_error_details(Code::Unavailable, "no", details)
        };
        for reason in NOT_CARRIED_OUT {
            assert!(!may_have_happened(&with(reason)), "{reason}");
        }
        let refused = tonic::ConnectError(Box::new(std::io::Error::other("refused")));
        assert!(!may_have_happened(&Status::from_error(Box::new(refused))));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        for unknown in [
            with("OUTCOME_UNKNOWN"),
            with(""),
            Status::unavailable("starting"),
            broken,
        ] {
            assert!(may_have_happened(&unknown), "{unknown}");
        }
    }

    fn not_leader(address: &str) -> Status {
        let metadata = [("leader_address".to_owned(), address.to_owned())];
        let details = ErrorDetails::with_error_info("NOT_LEADER", "tenantry", metadata);
        Status::with_error_details(Code::Unavailable, "not the leader", details)
    }

    #[test]
    fn only_unavailable_and_broken_connections_are_tried_elsewhere() {
        let hint = |status: &Status| match Verdict::of(status) {
            Verdict::TryElsewhere { leader } => leader.map_or_else(|| "anyone".into(), |leader| leader.to_string()),
            Verdict::TryLater(delay) => format!("{delay:?}"),
            Verdict::Refused(refusal) => refusal.to_string(),
        };
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert_eq!(hint(&broken), "anyone");
        assert_eq!(hint(&Status::unavailable("starting")), "anyone");
        assert_eq!(hint(&not_leader("b:7401")), "b:7401");
        assert_eq!(hint(&not_leader("not an address")), "anyone");
        assert_eq!(hint(&Status::internal("bug")), "bug");
        assert_eq!(hint(&Status::unknown("")), Code::Unknown.description());
        assert_eq!(hint(&Status::resource_exhausted("full")), "full");
        let busy = Status::with_error_details(
            Code::ResourceExhausted,
            "busy",
            ErrorDetails::with_retry_info(Some(Duration::from_secs(2))),
        );
        assert_eq!(hint(&busy), "2s");
        let aborted = Status::with_error_details(
            Code::Aborted,
            "changed",
            ErrorDetails::with_retry_info(Some(Duration::from_secs(2))),
        );
        assert_eq!(hint(&aborted), "changed");
    }

    #[test]
    fn a_refusal_names_every_wrong_field() {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("tenant_id", "must have 1 to 63 characters")
            .add_bad_request_violation("spec.tier", "is unknown");
        details.set_error_info("INVALID_FIELDS", "tenantry", [("a".to_owned(), "b".to_owned())]);
        let refusal = Refusal::from(&Status::with_error_details(Code::InvalidArgument, "invalid", details));
        assert_eq!(
            refusal.to_string(),
            "tenant_id: must have 1 to 63 characters; spec.tier: is unknown"
        );
        assert_eq!(refusal.reason, "INVALID_FIELDS");
        assert_eq!(refusal.metadata["a"], "b");
    }
}
