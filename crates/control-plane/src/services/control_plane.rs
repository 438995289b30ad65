//! What all services share: the way to propose a command, to read what is certain, and to try something out.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prost::Message;
use tenantry_proto::convert::digest;
use tenantry_proto::v1;
use tenantry_state::planner::InFlight;
use tenantry_state::{Answer, Command, Envelope, Fingerprint, Outcome, Request, Rules, State, apply};
use tenantry_types::{Availability, InvalidId, MemberId, NodeId, RequestId, Revision, UnixMillis};
use tokio::time::Instant;
use tonic::Status;

use super::deadline::Deadline;
use super::status;
use crate::codec;
use crate::machine::{Published, PublishedState};
use crate::observations::{Observations, Patience};
use crate::raft::RaftHandle;

/// How long a read waits for the quorum's word, and for the revision that it asks for.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// How long a command that the control plane itself proposes may take.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Shared by all services of this member.
pub struct ControlPlane {
    /// This member.
    pub member: MemberId,
    /// The replicated log.
    pub log: RaftHandle<Outcome>,
    /// The applied state.
    pub published: PublishedState,
    /// When a node's silence means what.
    pub patience: Patience,
    /// How long a deleted tenant's data is kept.
    pub purge_after: Duration,
    observations: Mutex<Observations>,
    /// Placements that are proposed and not applied yet; they count as load.
    pub(super) in_flight: Mutex<Vec<InFlight>>,
    started: Instant,
}

impl ControlPlane {
    /// Nothing was heard of any node yet.
    #[must_use]
    pub fn new(
        member: MemberId,
        log: RaftHandle<Outcome>,
        published: PublishedState,
        patience: Patience,
        purge_after: Duration,
    ) -> Self {
        Self {
            member,
            log,
            published,
            patience,
            purge_after,
            observations: Mutex::default(),
            in_flight: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// The wall clock. Travels inside commands; apply never reads it.
    #[must_use]
    pub fn now() -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Time since this process started; judges the silence of nodes.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Works on what was heard from the nodes. Short: a lock is held meanwhile.
    pub fn observations<T>(&self, work: impl FnOnce(&mut Observations) -> T) -> T {
        work(&mut self.observations.lock())
    }

    /// What the silence of a node means now.
    #[must_use]
    pub fn availability(&self, node: &NodeId) -> Availability {
        let now = self.uptime();
        self.observations(|observations| observations.availability(node, now, &self.patience))
    }

    fn envelope(&self, request: Option<Request>, command: Command) -> Envelope {
        Envelope {
            rules: Rules::default(),
            now: Self::now(),
            proposed_by: self.member,
            request,
            command,
        }
    }

    /// Replicates a command and gives back what came of it.
    ///
    /// # Errors
    /// The status to answer with, whether the command was rejected, not carried out, or its fate is unknown.
    pub async fn propose(&self, request: Option<Request>, command: Command) -> Result<Answer, Status> {
        self.propose_by(Instant::now() + PROPOSE_DEADLINE, request, command)
            .await
    }

    /// As [`propose`](Self::propose), until `deadline`; after that the command's fate is unknown to the caller.
    pub(super) async fn propose_by(
        &self,
        deadline: Instant,
        request: Option<Request>,
        command: Command,
    ) -> Result<Answer, Status> {
        let envelope = self.envelope(request, command);
        let command = codec::encode_command(&envelope).map_err(|error| status::internal(error.to_string()))?;
        let (_, outcome) = tokio::time::timeout_at(deadline, self.log.propose(command))
            .await
            .map_err(|_| status::out_of_time())?
            .map_err(|error| status::propose_failed(&error))?;
        outcome.map_err(|rejection| status::rejected(&rejection))
    }

    /// What would come of a command, on a copy of the state that is thrown away.
    ///
    /// # Errors
    /// The rejection, as the status that the real thing would answer with.
    pub fn try_out(&self, command: Command) -> Result<Answer, Status> {
        let mut copy: State = self.published.current().state.clone();
        let revision = copy.revision().next();
        apply(&mut copy, revision, self.envelope(None, command))
            .outcome
            .map_err(|rejection| status::rejected(&rejection))
    }

    /// The state, at least as new as everything that was acknowledged before this call. Works on every member.
    ///
    /// # Errors
    /// When the quorum cannot be asked in time.
    pub(super) async fn read(&self, deadline: Deadline) -> Result<Arc<Published>, Status> {
        self.log
            .read_index(deadline.within(READ_DEADLINE))
            .await
            .map_err(|error| status::read_failed(&error))?;
        Ok(self.published.current())
    }

    /// The state, as fresh as `options` ask for and at revision `at_least` or later.
    ///
    /// # Errors
    /// When the quorum cannot be asked in time, or this member does not get to the revision in time.
    pub(super) async fn read_with(
        &self,
        options: Option<v1::ReadOptions>,
        at_least: Revision,
        deadline: Deadline,
    ) -> Result<Arc<Published>, Status> {
        let options = options.unwrap_or_default();
        if !options.stale_ok {
            self.read(deadline).await?;
        }
        let at_least = at_least.max(Revision(options.min_revision));
        let mut applied = self.published.revision();
        let reached = applied.wait_for(|applied| *applied >= at_least);
        let reached = tokio::time::timeout_at(deadline.within(READ_DEADLINE), reached).await;
        match reached {
            Ok(Ok(_)) => Ok(self.published.current()),
            Ok(Err(_)) => Err(status::stopping()),
            Err(_) => Err(status::revision_not_reached(
                at_least,
                self.published.current().revision,
            )),
        }
    }

    /// Recognises a caller's mutation when it comes again: its id, and a hash over what was asked. `message` must have its
    /// request id cleared, or be the same in a retry anyway.
    ///
    /// # Errors
    /// When the id is not a UUID.
    pub fn request(method: &str, request_id: &str, message: &impl Message) -> Result<Option<Request>, Status> {
        if request_id.is_empty() {
            return Ok(None);
        }
        let id: RequestId = request_id
            .parse()
            .map_err(|error: InvalidId| status::invalid_field("request_id", error.to_string()))?;
        Ok(Some(Request {
            id,
            fingerprint: Fingerprint(digest::request(method, message)),
        }))
    }

    /// The answer that a repeated request got the first time, in a state that is as new as this call. Asked before a request
    /// is resolved against that state, which may have moved on: a deleted tenant's name leads nowhere any more. A new
    /// leader that has not applied all of its log yet would not know the answer, and not find the name either.
    #[must_use]
    pub(super) fn answered(published: &Published, request: Option<&Request>) -> Option<Result<Answer, Status>> {
        let outcome = published.state.answered(request?)?;
        Some(outcome.map_err(|rejection| status::rejected(&rejection)))
    }
}
