//! Two members tell each other which log they have.

use std::time::Duration;

use tenantry_proto::internal::v1::raft_transport_service_client::RaftTransportServiceClient;
use tenantry_proto::internal::v1::{IntroduceRequest, IntroduceResponse};
use tenantry_types::MemberId;
use tonic::Status;

use super::expulsion::{in_refusal, refusal};
use super::transport::{ConnectPeer, Link};
use crate::storage::{Expulsion, LogId, Members};

/// For the connection and the answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why nobody was introduced.
#[derive(Debug, thiserror::Error)]
pub enum IntroductionFailed {
    /// Nobody takes gRPC there.
    #[error("nobody answers at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// Whoever is there is not that member of this cluster.
    #[error("{address}: {reason}")]
    Refused {
        /// Where.
        address: String,
        /// What was answered.
        reason: String,
    },
    /// The asking member itself is out.
    #[error(transparent)]
    Expelled(#[from] Expulsion),
    /// This member runs without connections.
    #[error("this member has no connections")]
    NoTransport,
}

/// Asks other members who they are.
#[derive(Clone)]
pub(super) struct Introducer {
    pub(super) link: Link,
    pub(super) connect: ConnectPeer,
}

impl Introducer {
    pub(super) async fn ask(&self, member: MemberId, address: &str) -> Result<LogId, IntroductionFailed> {
        let unreachable = |reason: String| IntroductionFailed::Unreachable {
            address: address.to_owned(),
            reason,
        };
        let ask = async {
            let channel = (self.connect)(member, address.to_owned())
                .await
                .map_err(|error| unreachable(root_cause(&error)))?;
            let request = IntroduceRequest {
                cluster_fingerprint: self.link.fingerprint,
                from: self.link.own.get(),
                from_log: self.link.log.get(),
                to: member.get(),
            };
            let answer = RaftTransportServiceClient::new(channel).introduce(request).await;
            let refused = |reason: &str| IntroductionFailed::Refused {
                address: address.to_owned(),
                reason: reason.to_owned(),
            };
            match answer {
                Ok(answer) => LogId::new(answer.into_inner().log).ok_or_else(|| refused("it has no log")),
                Err(status) => match in_refusal(&status) {
                    Some(expulsion) => Err(expulsion.into()),
                    None if status.code() == tonic::Code::Unavailable => Err(unreachable(status.message().to_owned())),
                    None => Err(refused(status.message())),
                },
            }
        };
        tokio::time::timeout(PATIENCE, ask)
            .await
            .unwrap_or_else(|_| Err(unreachable(format!("not within {} s", PATIENCE.as_secs()))))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Answers another member. `members` are empty before the cluster's first start, and on a member that waits to be added.
pub(super) fn answer(link: Link, members: &Members, request: &IntroduceRequest) -> Result<IntroduceResponse, Status> {
    link.check(request.cluster_fingerprint, request.to)?;
    check_sender(members, request.from, request.from_log)?;
    Ok(IntroduceResponse { log: link.log.get() })
}

/// Refuses who was removed, and who comes with another log than the one it is known by.
pub(super) fn check_sender(members: &Members, from: u64, from_log: u64) -> Result<(), Status> {
    let from = MemberId::new(from).map_err(|error| Status::invalid_argument(error.to_string()))?;
    if members.removed.contains(&from) {
        return Err(refusal(from, Expulsion::Removed));
    }
    match members.logs.get(&from) {
        Some(known) if known.get() != from_log => Err(refusal(from, Expulsion::DiskLost)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u64) -> MemberId {
        MemberId::new(id).unwrap()
    }

    fn log(id: u64) -> LogId {
        LogId::new(id).unwrap()
    }

    #[test]
    fn only_the_named_member_of_the_same_cluster_answers_and_only_whom_it_knows_by_that_log() {
        let link = Link {
            fingerprint: 7,
            own: id(1),
            log: log(11),
        };
        let members = Members {
            logs: [(id(2), log(12))].into(),
            removed: [id(3)].into(),
            ..Members::default()
        };
        let ask = |cluster_fingerprint, from, from_log, to| {
            let request = IntroduceRequest {
                cluster_fingerprint,
                from,
                from_log,
                to,
            };
            answer(link, &members, &request).map(|answer| answer.log)
        };
        assert_eq!(ask(7, 2, 12, 1).unwrap(), 11);
        assert_eq!(ask(7, 9, 19, 1).unwrap(), 11);
        assert_eq!(in_refusal(&ask(7, 2, 13, 1).unwrap_err()), Some(Expulsion::DiskLost));
        assert_eq!(in_refusal(&ask(7, 3, 13, 1).unwrap_err()), Some(Expulsion::Removed));
        for refused in [ask(8, 2, 12, 1), ask(7, 2, 12, 4), ask(7, 0, 12, 1)] {
            assert_eq!(in_refusal(&refused.unwrap_err()), None);
        }
    }
}
