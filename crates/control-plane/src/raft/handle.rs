//! How the rest of the process reaches the raft thread: proposals, reads, status, and a few orders.
//!
//! Nothing here blocks. What the inbox cannot take is refused as busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use tenantry_types::{MemberId, Revision};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::applier::Progress;
use super::change_queue::WantedChange;
use super::error::ReplicaError;
use super::expulsion::Expelled;
use super::introduction::{Introducer, IntroductionFailed};
use super::log_writer::{Reloaded, Written};
use super::output::SnapshotOutcome;
use super::{MemberProgress, RaftStatus};
use crate::storage::{Expulsion, IncomingSnapshot, LogId, SnapshotError, SnapshotHeader};

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not taken: another member leads, or none.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<MemberId>,
    },
    /// It was not taken: too much is under way. Try again later.
    #[error("too many commands are under way")]
    Busy,
    /// It was not taken: it is larger than a command may be.
    #[error("a command of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It may or may not take effect.
    #[error("the outcome of the command is unknown")]
    OutcomeUnknown,
    /// It was not taken: the member's disk does not work.
    #[error("the member's disk does not work: {reason}")]
    Unavailable {
        /// What the disk said.
        reason: String,
    },
    /// It was not taken: the member has stopped.
    #[error("the member has stopped")]
    Stopped,
}

/// Why a read may not go ahead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed the read in time.
    #[error("no leader confirmed the read in time")]
    DeadlineExceeded,
    /// Too many reads wait.
    #[error("too many reads wait")]
    Busy,
    /// The member's disk does not work.
    #[error("the member's disk does not work: {reason}")]
    Unavailable {
        /// What the disk said.
        reason: String,
    },
    /// The member has stopped.
    #[error("the member has stopped")]
    Stopped,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Only a leader can do it.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<MemberId>,
    },
    /// Only a voter can lead.
    #[error("member {member} has no vote")]
    NotVoter {
        /// Who was named.
        member: MemberId,
    },
    /// It did not happen in time.
    #[error("it did not happen in time")]
    TimedOut,
    /// The disk refused.
    #[error("the disk refused: {reason}")]
    Unavailable {
        /// What it said.
        reason: String,
    },
    /// The member has stopped.
    #[error("the member has stopped")]
    Stopped,
}

pub(super) type ProposeReply<A> = oneshot::Sender<Result<(Revision, A), ProposeError>>;
pub(super) type ReadReply = oneshot::Sender<Result<Revision, ReadError>>;

/// What arrives at the raft thread in bulk, through the bounded inbox.
pub(super) enum Input<A> {
    /// Look at the orders.
    Wake,
    Message(Bytes),
    Propose {
        command: Bytes,
        reply: ProposeReply<A>,
    },
    Read {
        reply: ReadReply,
    },
}

/// What must not be dropped; each kind is bounded by what causes it.
pub(super) enum Control {
    ReceivedSnapshot {
        message: Bytes,
        file: IncomingSnapshot,
        reply: oneshot::Sender<Result<(), &'static str>>,
    },
    SnapshotReport {
        to: MemberId,
        outcome: SnapshotOutcome,
    },
    Unreachable(MemberId),
    SnapshotWritten(Result<SnapshotHeader, SnapshotError>),
    /// What is durable now, and the bytes that the log takes on disk.
    Written(Written, u64),
    WriteFailed {
        generation: u64,
        error: ReplicaError,
    },
    Reloaded(Result<Reloaded, ReplicaError>),
    Applied(Progress),
    /// The writing or the applying thread cannot go on.
    WorkerFailed(ReplicaError),
    TakeSnapshot {
        reply: oneshot::Sender<Result<Revision, ControlError>>,
    },
    Transfer {
        to: MemberId,
        reply: oneshot::Sender<Result<(), ControlError>>,
    },
    ChangeMembers(WantedChange),
    Progress {
        reply: oneshot::Sender<BTreeMap<MemberId, MemberProgress>>,
    },
}

/// Sends orders. Does not keep the raft thread alive.
#[derive(Clone)]
pub(super) struct ControlSender {
    sender: Sender<Control>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl ControlSender {
    pub(super) fn new<A: Send + 'static>(sender: Sender<Control>, inbox: &Arc<SyncSender<Input<A>>>) -> Self {
        let inbox = Arc::downgrade(inbox);
        let wake = Arc::new(move || {
            if let Some(inbox) = inbox.upgrade() {
                // A full inbox means that the thread is awake.
                let _ = inbox.try_send(Input::Wake);
            }
        });
        Self { sender, wake }
    }

    /// Dropped with the order are the means to answer it, which tells whoever waits.
    pub(super) fn send(&self, control: Control) {
        let _ = self.sender.send(control);
        (self.wake)();
    }
}

/// The way to the raft thread. The thread ends when it is stopped, or when the last handle is dropped.
pub struct RaftHandle<A> {
    pub(super) inbox: Arc<SyncSender<Input<A>>>,
    pub(super) control: ControlSender,
    pub(super) status: watch::Receiver<RaftStatus>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    pub(super) connections: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) max_command_bytes: usize,
    pub(super) introducer: Option<Introducer>,
    pub(super) expelled: Expelled,
}

impl<A> Clone for RaftHandle<A> {
    fn clone(&self) -> Self {
        Self {
            inbox: Arc::clone(&self.inbox),
            control: self.control.clone(),
            status: self.status.clone(),
            stopping: Arc::clone(&self.stopping),
            thread: Arc::clone(&self.thread),
            connections: self.connections.clone(),
            tasks: self.tasks.clone(),
            max_command_bytes: self.max_command_bytes,
            introducer: self.introducer.clone(),
            expelled: self.expelled.clone(),
        }
    }
}

impl<A: Send + 'static> RaftHandle<A> {
    /// Replicates a command and returns the state machine's answer, once a majority has it on disk and this member
    /// has applied it. Dropping the future does not withdraw the command.
    ///
    /// # Errors
    /// `OutcomeUnknown` if the command may still take effect; any other error says that it does not.
    pub async fn propose(&self, command: Bytes) -> Result<(Revision, A), ProposeError> {
        let limit = self.max_command_bytes;
        if command.len() > limit {
            let bytes = command.len();
            return Err(ProposeError::TooLarge { bytes, limit });
        }
        let (reply, answer) = oneshot::channel();
        self.inbox
            .try_send(Input::Propose { command, reply })
            .map_err(|error| match error {
                TrySendError::Full(_) => ProposeError::Busy,
                TrySendError::Disconnected(_) => ProposeError::Stopped,
            })?;
        answer.await.unwrap_or(Err(ProposeError::OutcomeUnknown))
    }

    /// Returns once this member has applied everything that was acknowledged anywhere before the call, with the
    /// revision it has then. Works on any member.
    ///
    /// # Errors
    /// `DeadlineExceeded` when no leader confirmed it by `deadline`.
    pub async fn read_index(&self, deadline: Instant) -> Result<Revision, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .try_send(Input::Read { reply })
            .map_err(|error| match error {
                TrySendError::Full(_) => ReadError::Busy,
                TrySendError::Disconnected(_) => ReadError::Stopped,
            })?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::DeadlineExceeded),
        }
    }

    /// The member's view of itself, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RaftStatus> {
        self.status.clone()
    }

    /// Writes a snapshot of at least what is applied now, and returns its revision.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub async fn take_snapshot(&self) -> Result<Revision, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.control.send(Control::TakeSnapshot { reply });
        answer.await.unwrap_or(Err(ControlError::Stopped))
    }

    /// Hands leadership to `to` and returns when `to` leads.
    ///
    /// # Errors
    /// `NotLeader`, `NotVoter`, or `TimedOut` after two election timeouts.
    pub async fn transfer_leadership(&self, to: MemberId) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        self.control.send(Control::Transfer { to, reply });
        answer.await.unwrap_or(Err(ControlError::Stopped))
    }

    /// How far each member is, as the leader knows it; empty on others.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn progress(&self) -> Result<BTreeMap<MemberId, MemberProgress>, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.control.send(Control::Progress { reply });
        answer.await.map_err(|_| ControlError::Stopped)
    }

    /// Whether the cluster has no place for this member any more. It takes no part then; the process should end.
    #[must_use]
    pub fn expelled(&self) -> watch::Receiver<Option<Expulsion>> {
        self.expelled.watch()
    }

    /// Asks whoever takes gRPC at `address` which log it has as member `member` of this cluster.
    ///
    /// # Errors
    /// When nobody answers, or somebody else does.
    pub async fn introduce(&self, member: MemberId, address: &str) -> Result<LogId, IntroductionFailed> {
        match &self.introducer {
            Some(introducer) => introducer.ask(member, address).await,
            None => Err(IntroductionFailed::NoTransport),
        }
    }

    /// Stops the member: a leader first hands over, within two election timeouts; then the store is closed and the
    /// connections to other members end. All waiting calls are answered.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.inbox.try_send(Input::Wake);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Its panics were caught and are in the status.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        self.connections.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
