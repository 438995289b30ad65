//! Turns what went wrong into what the client reads.

use http::StatusCode;
use http::header::{ACCEPT_ENCODING, ALLOW, HeaderValue};
use serde_json::{Value, json};

use super::arriving::Allowance;
use super::large_bodies::NoTurn;
use super::request::Malformed;
use super::streams::StreamError;
use crate::database::{DatabaseError, StatementError};
use crate::http::problem::Problem;

/// What a tenant at its storage limit can still do.
const ALLOWED_WHEN_FULL: [&str; 5] = ["SELECT", "DELETE", "DROP", "VACUUM", "PRAGMA incremental_vacuum"];

pub(super) fn of_body(malformed: &Malformed) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed-request",
        format!(
            "the request body is not a Hrana pipeline: `{}` {}",
            malformed.field, malformed.reason
        ),
    )
    .with("field", malformed.field.as_str())
}

pub(super) fn unread_body(reason: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "incomplete-body",
        format!("the request body could not be read to its end: {reason}"),
    )
}

pub(super) fn slow_body(allowance: Allowance) -> Problem {
    let Allowance {
        stall,
        bytes_per_second,
    } = allowance;
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "request-timeout",
        format!(
            "nothing of the request body came for {stall:?}, or less than {bytes_per_second} bytes a second for longer than that; nothing \
             was carried out"
        ),
    )
}

pub(super) fn encoded_body(encoding: &str) -> Problem {
    let encoding: String = encoding.chars().take(40).collect();
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-encoding",
        format!("the request body has the content encoding `{encoding}`; send it uncompressed"),
    )
    .with("field", "Content-Encoding")
    .with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
}

pub(super) fn large_body(limit_bytes: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "request-too-large",
        format!("the request body is larger than the limit of {limit_bytes} bytes (request_bytes)"),
    )
    .with("limit_bytes", limit_bytes)
}

pub(super) fn of_large_bodies(NoTurn { limit_bytes }: NoTurn) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-large-bodies",
        format!(
            "other large request bodies of the tenant are under way, of {limit_bytes} bytes at once; send them one after the other"
        ),
    )
    .with("limit_bytes", limit_bytes)
    .retry_after(1)
}

pub(super) fn unknown_path(path: &str) -> Problem {
    let path: String = path.chars().take(100).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-path",
        format!(
            "there is nothing at `{path}`; SQL goes to POST /v3/pipeline, /v3/cursor or /v2/pipeline, or to \
             /v3-protobuf/pipeline or /v3-protobuf/cursor"
        ),
    )
}

pub(super) fn wrong_method(allow: &'static str) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("this path takes {allow} only"),
    )
    .with_header(ALLOW, HeaderValue::from_static(allow))
}

pub(super) fn without_tenant() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the request reached the database service without a tenant",
    )
}

pub(super) fn of_stream(error: StreamError) -> Problem {
    match error {
        StreamError::InvalidBaton => Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid-baton",
            "`baton` was not given out by this node for this tenant; send null to begin a new stream",
        )
        .with("field", "baton"),
        StreamError::SpentBaton => Problem::new(
            StatusCode::BAD_REQUEST,
            "spent-baton",
            "`baton` is no longer good: its stream has expired, was closed, or went on with a newer baton; an open \
             transaction was rolled back; send null to begin a new stream",
        )
        .with("field", "baton"),
        StreamError::StillAnswering => Problem::new(
            StatusCode::CONFLICT,
            "stream-busy",
            "the stream is still answering its last request; read that answer to its end first",
        )
        .with("field", "baton")
        .retry_after(1),
        StreamError::TenantLimit { limit } => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-streams",
            format!("the tenant has {limit} open streams, its limit; close streams with a `close` request"),
        )
        .with("limit", limit)
        .retry_after(1),
        StreamError::NodeLimit => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "the node has no free place for another stream",
        )
        .retry_after(1),
        StreamError::Stopping => stopping(),
    }
}

pub(super) fn of_database(error: &DatabaseError) -> Problem {
    match error {
        DatabaseError::Overloaded { retry_after, .. } => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error.to_string())
                .retry_after(retry_after.as_secs().max(1))
        }
        DatabaseError::Stopping => stopping(),
        DatabaseError::Damaged(_) => damaged(),
        DatabaseError::Quarantined { .. } => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "database-quarantined",
            "the tenant's database lacks commits that were acknowledged, and is not opened until its operator has decided",
        ),
        DatabaseError::Open(_) | DatabaseError::Folder(_) | DatabaseError::Log(_) | DatabaseError::Mark(_) => disk(),
        DatabaseError::Crashed => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()),
    }
}

/// The problem for a pipeline or a cursor of which a statement failed in a way that decides the whole answer. `baton` and `base_url` are as
/// in an ordinary answer; what the request did is for the caller to add.
pub(super) fn of_statement(failure: &StatementError, baton: Option<String>) -> Problem {
    let problem = match failure {
        StatementError::StorageQuotaExceeded {
            used_bytes,
            limit_bytes,
        } => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "storage-quota-exceeded",
            failure.to_string(),
        )
        .with("used_bytes", *used_bytes)
        .with("limit_bytes", *limit_bytes)
        .with("allowed", json!(ALLOWED_WHEN_FULL)),
        StatementError::Damaged { .. } => damaged(),
        _ => disk(),
    };
    problem
        .with("baton", baton.map_or(Value::Null, Value::String))
        .with("base_url", Value::Null)
}

fn damaged() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "database-damaged",
        "the tenant's database file is damaged; its operator has to restore it",
    )
}

fn disk() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "storage-unavailable",
        "the node's storage failed or is full; nothing of the failed statement was kept",
    )
    .retry_after(10)
}

fn stopping() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the node is stopping").retry_after(1)
}
