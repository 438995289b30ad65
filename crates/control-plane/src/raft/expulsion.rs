//! How a member learns that the cluster has no place for it: Raft itself never says so to a member that is out.
//!
//! Whoever is asked by such a member refuses with a reason; whoever reads that reason stops taking part, and remembers.
//! One member's word is enough: both facts are in the replicated log and are never undone.

use std::path::PathBuf;

use tenantry_types::MemberId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::RaftStatus;
use crate::storage::{Expulsion, Standing};

const DOMAIN: &str = "tenantry.dev";
const REMOVED: &str = "MEMBER_REMOVED";
const DISK_LOST: &str = "MEMBER_DISK_LOST";

/// Tells a calling member that it is out.
pub(super) fn refusal(of: MemberId, expulsion: Expulsion) -> Status {
    let (reason, message) = match expulsion {
        Expulsion::Removed => (REMOVED, format!("member {of} was removed from this cluster")),
        Expulsion::DiskLost => (
            DISK_LOST,
            format!("member {of} is known here by another log: its disk was lost"),
        ),
    };
    let details = ErrorDetails::with_error_info(reason, DOMAIN, [("member_id".to_owned(), of.to_string())]);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// Whether a refusal tells the caller that it is out.
pub(super) fn in_refusal(status: &Status) -> Option<Expulsion> {
    let info = status.get_details_error_info()?;
    match info.reason.as_str() {
        _ if info.domain != DOMAIN => None,
        REMOVED => Some(Expulsion::Removed),
        DISK_LOST => Some(Expulsion::DiskLost),
        _ => None,
    }
}

/// What this member has learnt about itself. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Expelled(watch::Sender<Option<Expulsion>>);

impl Expelled {
    /// The first word counts.
    pub(super) fn declare(&self, expulsion: Expulsion) {
        self.0.send_if_modified(|known| {
            let news = known.is_none();
            known.get_or_insert(expulsion);
            news
        });
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<Expulsion>> {
        self.0.subscribe()
    }
}

/// Waits until this member is out, by another member's word or by its own log; then ends its connections and writes
/// the fact down.
pub(super) async fn enforce(
    own: MemberId,
    standing: Standing,
    folder: PathBuf,
    mut status: watch::Receiver<RaftStatus>,
    expelled: Expelled,
    connections: CancellationToken,
) {
    let mut told = expelled.watch();
    let out = tokio::select! {
        told = told.wait_for(Option::is_some) => told.ok().and_then(|told| *told),
        removed = status.wait_for(|status| status.members.members.removed.contains(&own)) => {
            removed.ok().map(|_| Expulsion::Removed)
        }
        () = connections.cancelled() => None,
    };
    let Some(expulsion) = out else { return };
    tracing::error!(reason = %expulsion, "this member takes no part any more");
    connections.cancel();
    let standing = Standing {
        expelled: Some(expulsion),
        ..standing
    };
    let written = tokio::task::spawn_blocking(move || standing.write(&folder)).await;
    if let Ok(Err(error)) = written {
        // It will be told again at the next start.
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot remember that this member is out"
        );
    }
    expelled.declare(expulsion);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_other_refusals_say_nothing() {
        let member = MemberId::new(4).unwrap();
        for expulsion in [Expulsion::Removed, Expulsion::DiskLost] {
            assert_eq!(in_refusal(&refusal(member, expulsion)), Some(expulsion));
        }
        assert_eq!(in_refusal(&Status::failed_precondition("MEMBER_REMOVED")), None);
    }
}
