//! The one place where outcomes and errors become gRPC statuses (AIP-193).
//!
//! Every status carries an `ErrorInfo` with a stable reason, so that clients never parse messages.

use std::collections::HashMap;
use std::time::Duration;

use mutual_tls::Role;
use tenantry_proto::convert::InvalidField;
use tenantry_state::Rejection;
use tenantry_types::{MemberId, Revision};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::raft::{ControlError, ProposeError, ReadError};

/// The domain of our reasons.
const DOMAIN: &str = "tenantry.dev";

/// A status with a reason, metadata and nothing else.
pub(crate) fn with_reason(
    code: Code,
    message: impl Into<String>,
    reason: &str,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// A status that also asks the caller to wait.
pub(super) fn with_retry(code: Code, message: impl Into<String>, reason: &str, delay: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(delay));
    Status::with_error_details(code, message, details)
}

/// The request's field `field` is wrong.
pub(crate) fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Status {
    let (field, description) = (field.into(), description.into());
    let message = format!("{field}: {description}");
    let metadata = HashMap::from([("field".to_owned(), field.clone())]);
    let mut details = ErrorDetails::with_error_info("INVALID_FIELD", DOMAIN, metadata);
    details.add_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Nobody leads. Certain: the call was not carried out.
pub(crate) fn no_leader() -> Status {
    with_retry(
        Code::Unavailable,
        "the cluster has no leader at the moment",
        "NO_LEADER",
        Duration::from_millis(500),
    )
}

/// Another member leads. Certain: the call was not carried out.
pub(crate) fn not_leader(leader: MemberId, address: Option<&str>) -> Status {
    let mut metadata = vec![("leader_id", leader.to_string())];
    metadata.extend(address.map(|address| ("leader_address", address.to_owned())));
    with_reason(
        Code::Unavailable,
        format!("member {leader} leads"),
        "NOT_LEADER",
        metadata,
    )
}

/// There is no connection to the leader. Certain: the call was not carried out.
pub(crate) fn leader_unreachable(leader: MemberId, reason: &str) -> Status {
    let message = format!("the leader, member {leader}, cannot be reached: {reason}");
    let metadata = [("leader_id", leader.to_string())];
    with_reason(Code::Unavailable, message, "LEADER_UNREACHABLE", metadata)
}

/// The connection to the leader broke while it had the call. It may have carried it out.
pub(crate) fn leader_lost(leader: MemberId, reason: &str) -> Status {
    let message = format!(
        "the leader, member {leader}, was lost before it answered: {reason}; the change may or may not have happened; {ASK_AGAIN}"
    );
    let metadata = [("leader_id", leader.to_string())];
    with_reason(Code::Unavailable, message, "OUTCOME_UNKNOWN", metadata)
}

/// What to do about an unknown outcome.
const ASK_AGAIN: &str = "ask again with the same request id";

/// The time ran out while a command was under way.
pub(crate) fn out_of_time() -> Status {
    let message = format!("the time ran out: the change may or may not have happened; {ASK_AGAIN}");
    with_reason(Code::DeadlineExceeded, message, "OUTCOME_UNKNOWN", [])
}

/// This member has not come as far as the caller wants in the time that there was.
pub(crate) fn revision_not_reached(wanted: Revision, reached: Revision) -> Status {
    let message = format!("this member is at revision {reached}, not at {wanted} yet");
    let metadata = [("revision", reached.to_string())];
    with_reason(Code::Unavailable, message, "REVISION_NOT_REACHED", metadata)
}

/// A message with a field that cannot be accepted.
pub(crate) fn invalid(error: InvalidField) -> Status {
    invalid_field(error.field, error.reason)
}

/// The caller's certificate is not one of `roles`.
pub(crate) fn denied(roles: &[Role]) -> Status {
    let names: Vec<_> = roles.iter().map(Role::to_string).collect();
    let names = names.join(" or ");
    let message = format!("this call needs a certificate with the DNS name {names}");
    with_reason(Code::PermissionDenied, message, "ROLE_REQUIRED", [("roles", names)])
}

/// There is no such resource.
pub(crate) fn not_found(kind: &'static str, name: &str) -> Status {
    let mut details = ErrorDetails::with_error_info("NOT_FOUND", DOMAIN, HashMap::new());
    details.set_resource_info(kind, name, "", "");
    Status::with_error_details(Code::NotFound, format!("{name} does not exist"), details)
}

/// Something that cannot happen happened. The log keeps what; the caller learns only that.
pub(crate) fn internal(what: impl AsRef<str>) -> Status {
    tracing::error!(what = what.as_ref(), "a call failed in a way that should be impossible");
    with_reason(
        Code::Internal,
        "the control plane has a fault; its log says more",
        "INTERNAL",
        [],
    )
}

/// The state machine refused a command.
pub(crate) fn rejected(rejection: &Rejection) -> Status {
    let (code, reason) = match rejection {
        Rejection::TenantNotFound { .. } => (Code::NotFound, "TENANT_NOT_FOUND"),
        Rejection::NameTaken { .. } => (Code::AlreadyExists, "NAME_TAKEN"),
        Rejection::UndeleteNameTaken { .. } => (Code::AlreadyExists, "NAME_TAKEN"),
        Rejection::DomainTaken { .. } => (Code::AlreadyExists, "DOMAIN_TAKEN"),
        Rejection::EtagMismatch { .. } => (Code::Aborted, "ETAG_MISMATCH"),
        Rejection::EpochMismatch { .. } => (Code::Aborted, "EPOCH_MISMATCH"),
        Rejection::WebhookNotFound { .. } => (Code::NotFound, "WEBHOOK_NOT_FOUND"),
        Rejection::WebhookNameTaken { .. } => (Code::AlreadyExists, "NAME_TAKEN"),
        Rejection::WebhookChanged { .. } => (Code::Aborted, "ETAG_MISMATCH"),
        Rejection::TooManyWebhooks { .. } => (Code::ResourceExhausted, "TOO_MANY_WEBHOOKS"),
        Rejection::TenantDeleted { .. } => (Code::FailedPrecondition, "TENANT_DELETED"),
        Rejection::TenantNotDeleted { .. } => (Code::FailedPrecondition, "TENANT_NOT_DELETED"),
        Rejection::PurgeTimePassed { .. } => (Code::FailedPrecondition, "PURGE_TIME_PASSED"),
        Rejection::NodeUnknown { .. } => (Code::NotFound, "NODE_NOT_FOUND"),
        Rejection::StaleIncarnation { .. } => (Code::FailedPrecondition, "STALE_INCARNATION"),
        Rejection::IncarnationUnknown { .. } => (Code::FailedPrecondition, "REGISTER_FIRST"),
        Rejection::RequestIdReused { .. } => (Code::InvalidArgument, "REQUEST_ID_REUSED"),
        Rejection::NotInitialized => (Code::Unavailable, "NOT_INITIALIZED"),
        Rejection::UidTaken { .. } => (Code::Aborted, "UID_TAKEN"),
        Rejection::AlreadyInitialized { .. } => (Code::FailedPrecondition, "ALREADY_INITIALIZED"),
        Rejection::KeyIdTaken { .. } => (Code::Aborted, "KEY_ID_TAKEN"),
        Rejection::KeyNotFound { .. } => (Code::NotFound, "KEY_NOT_FOUND"),
        Rejection::KeySigns { .. } => (Code::FailedPrecondition, "KEY_SIGNS"),
        Rejection::TooManyKeys { .. } => (Code::FailedPrecondition, "TOO_MANY_KEYS"),
        Rejection::RevisionNotNew { .. } => return internal(rejection.to_string()),
    };
    with_reason(code, rejection.to_string(), reason, [])
}

/// A command has no outcome.
pub(crate) fn propose_failed(error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeader { leader: Some(leader) } => not_leader(*leader, None),
        ProposeError::NotLeader { leader: None } => no_leader(),
        ProposeError::Busy => {
            let message = "too many changes are under way";
            with_retry(Code::ResourceExhausted, message, "BUSY", Duration::from_millis(200))
        }
        ProposeError::TooLarge { .. } => with_reason(Code::InvalidArgument, error.to_string(), "TOO_LARGE", []),
        ProposeError::OutcomeUnknown => {
            let message = format!("leadership changed meanwhile: the change may or may not have happened; {ASK_AGAIN}");
            with_reason(Code::Unavailable, message, "OUTCOME_UNKNOWN", [])
        }
        ProposeError::Unavailable { .. } => storage_failed(&error.to_string()),
        ProposeError::Stopped => stopping(),
    }
}

/// A read was not confirmed.
pub(crate) fn read_failed(error: &ReadError) -> Status {
    match error {
        ReadError::DeadlineExceeded => no_leader(),
        ReadError::Busy => with_retry(
            Code::ResourceExhausted,
            "too many reads wait",
            "BUSY",
            Duration::from_millis(200),
        ),
        ReadError::Unavailable { .. } => storage_failed(&error.to_string()),
        ReadError::Stopped => stopping(),
    }
}

/// A snapshot or a change of leader did not happen.
pub(crate) fn control_failed(error: &ControlError) -> Status {
    match error {
        ControlError::NotLeader { leader: Some(leader) } => not_leader(*leader, None),
        ControlError::NotLeader { leader: None } => no_leader(),
        ControlError::NotVoter { .. } => with_reason(Code::FailedPrecondition, error.to_string(), "NOT_A_VOTER", []),
        ControlError::TimedOut => with_reason(Code::DeadlineExceeded, error.to_string(), "TIMED_OUT", []),
        ControlError::Unavailable { .. } => storage_failed(&error.to_string()),
        ControlError::Stopped => stopping(),
    }
}

/// This member's disk is full or broken. It keeps trying.
pub(super) fn storage_failed(message: &str) -> Status {
    with_retry(Code::Unavailable, message, "STORAGE_FAILED", Duration::from_secs(1))
}

/// This member is about to end. Certain: the call was not carried out.
pub(crate) fn stopping() -> Status {
    with_reason(Code::Unavailable, "this member is stopping", "STOPPING", [])
}
