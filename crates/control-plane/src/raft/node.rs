//! Puts a member together: folder, store, replica, thread and transport.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mutual_tls::{self as tls, Security};
use tenantry_types::MemberId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Endpoint;

use super::answers::Answers;
use super::change_queue::ChangeQueue;
use super::driver::{Driver, DriverConfig, Peers};
use super::error::ReplicaError;
use super::expulsion::{Expelled, enforce};
use super::handle::{ControlSender, Input, RaftHandle};
use super::introduction::Introducer;
use super::opening::{GENESIS, Opened, bootstrap, open as open_member};
use super::orders::{SnapshotWaiters, Transfers};
use super::outlet::Outlet;
use super::proposals::Proposals;
use super::storage_failure::StorageFailure;
use super::transport::{ConnectPeer, GrpcPeers, Link, MAX_FRAME_BYTES, PeerBook, PeerContext, RaftTransport, serve};
use super::workers::Workers;
use super::{Beginning, Health, Origin, RaftStatus, ReplicaConfig, Role, StateMachine};
use crate::storage::{
    Expulsion, Identity, IdentityError, LogId, LogStore, Provenance, Seed, SledLogStore, SnapshotError, SnapshotFolder,
    Standing, StoreError,
};

/// For the name, the connection and the proofs. Nobody waits for it but the messages to that member.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A write may take so many election timeouts before the disk counts as failed.
const STALL_ELECTIONS: u64 = 6;

/// How a member runs.
#[derive(Clone)]
pub struct RaftConfig {
    /// This member.
    pub member: MemberId,
    /// Its own folder: holds the log, the snapshots and the marker that says whose it is.
    pub data_dir: PathBuf,
    /// How this member came to the cluster. Checked at every start, used at the first.
    pub origin: Origin,
    /// Election, snapshots and limits. Its member and fingerprint are filled in from the above.
    pub replica: ReplicaConfig,
    /// How long a tick is.
    pub tick: Duration,
    /// How long to wait after a failure of the disk before it is tried again.
    pub storage_retry: Duration,
    /// Messages and calls that may wait for the raft thread; further ones are dropped or refused as busy.
    pub inbox: usize,
    /// No command is larger, in bytes; 4 MiB at most.
    pub max_command_bytes: usize,
    /// How to reach other members: without certificates unless [`RaftConfig::secured`].
    pub connect: ConnectPeer,
    /// How the first questions of other members are taken.
    pub security: Security,
}

impl RaftConfig {
    /// The defaults of the design.
    #[must_use]
    pub fn new(member: MemberId, data_dir: PathBuf, origin: impl Into<Origin>) -> Self {
        let origin = origin.into();
        let mut replica = ReplicaConfig::new(member, origin.fingerprint());
        if matches!(origin, Origin::Joined { .. }) {
            replica.beginning = Beginning::Joining;
        }
        Self {
            member,
            data_dir,
            origin,
            replica,
            tick: Duration::from_millis(50),
            storage_retry: Duration::from_secs(1),
            inbox: 8192,
            max_command_bytes: 1024 * 1024,
            connect: connect_by(Security::Plain),
            security: Security::Plain,
        }
    }

    /// The same, with members that prove themselves to each other.
    #[must_use]
    pub fn secured(mut self, security: Security) -> Self {
        self.connect = connect_by(security.clone());
        self.security = security;
        self
    }

    /// Which cluster it is: what its members know each other by. A cluster that was restored is another one.
    ///
    /// # Errors
    /// When the folder's marker of a restore cannot be read.
    pub fn fingerprint(&self) -> Result<u64, IdentityError> {
        match &self.origin {
            Origin::Founded(initial) => Ok(Provenance::read(&self.data_dir)?.fingerprint(initial.fingerprint())),
            Origin::Joined { fingerprint } => Ok(*fingerprint),
        }
    }

    /// Where the snapshot files are.
    #[must_use]
    pub fn snapshots_path(&self) -> PathBuf {
        self.data_dir.join("snapshots")
    }
}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be used.
    #[error("cannot use the data folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder is not this member's, or not whole.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log cannot be opened.
    #[error("cannot open the Raft log in {path}")]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The snapshots cannot be opened.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// Log and snapshots do not give a working member.
    #[error("cannot continue from the data folder {path}")]
    Replica {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReplicaError,
    },
    /// The cluster has no place for this member.
    #[error(transparent)]
    Expelled(#[from] Expulsion),
    /// It was asked to stop before it had started.
    #[error("stopped while waiting for the other initial members")]
    Stopped,
    /// The system refused a thread, or the opening panicked.
    #[error("cannot start the raft thread")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A running member.
pub struct RaftNode;

impl RaftNode {
    /// Opens the folder, restores `machine` and starts the member. Must be called within a tokio runtime.
    ///
    /// The returned service is to be mounted on the router that listens on this member's address.
    ///
    /// # Errors
    /// When the folder is not usable, not this member's, or damaged. Nothing on disk is changed by a refusal.
    pub async fn start<M: StateMachine>(
        config: RaftConfig,
        machine: M,
    ) -> Result<(RaftHandle<M::Answer>, RaftTransport), StartError> {
        let opening = config.clone();
        let opened = tokio::task::spawn_blocking(move || open(&opening, machine)).await;
        let (member, folder, standing) = opened.map_err(|panic| StartError::Thread {
            source: std::io::Error::other(panic),
        })??;
        let link = Link {
            fingerprint: config.fingerprint()?,
            own: config.member,
            log: standing.log,
        };
        let connections = CancellationToken::new();
        let tasks = TaskTracker::new();
        let members = member.replica.members().clone();
        let (expelled, book) = (Expelled::default(), PeerBook::default());
        let peers = |control: &ControlSender| {
            let context = PeerContext {
                link,
                book: book.clone(),
                connect: config.connect.clone(),
                control: control.clone(),
                expelled: expelled.clone(),
            };
            GrpcPeers::start(context, &members, folder.clone(), tasks.clone(), connections.clone())
        };
        let mut handle = launch(&config, member, peers, connections.clone(), tasks.clone())?;
        handle.introducer = Some(Introducer {
            link,
            connect: config.connect.clone(),
        });
        handle.expelled = expelled.clone();
        tasks.spawn(enforce(
            config.member,
            standing,
            config.data_dir.clone(),
            handle.status(),
            expelled.clone(),
            connections.clone(),
        ));
        let inbox = Arc::downgrade(&handle.inbox);
        let take = move |message: Bytes| match inbox.upgrade() {
            // A dropped message is as good as one lost on the way.
            Some(inbox) => !matches!(
                inbox.try_send(Input::Message(message)),
                Err(TrySendError::Disconnected(_))
            ),
            None => false,
        };
        let known = (handle.status(), expelled, book);
        let service = serve(link, known, Arc::new(take), handle.control.clone(), folder, connections);
        Ok((handle, service))
    }
}

/// Gives a member its threads.
pub(super) fn launch<L: LogStore, M: StateMachine, P: Peers>(
    config: &RaftConfig,
    member: Opened<L, M>,
    peers: impl FnOnce(&ControlSender) -> P,
    connections: CancellationToken,
    tasks: TaskTracker,
) -> Result<RaftHandle<M::Answer>, StartError> {
    let refused = |source| StartError::Thread { source };
    let Opened {
        replica,
        writer,
        applier,
    } = member;
    let (inbox, waiting) = mpsc::sync_channel(config.inbox);
    let inbox = Arc::new(inbox);
    let (orders, control) = mpsc::channel();
    let orders = ControlSender::new(orders, &inbox);
    let origin = getrandom::u64().map_err(|error| refused(std::io::Error::other(error)))?;
    let election_ticks = u64::try_from(config.replica.election_ticks).unwrap_or(u64::MAX);
    let (log_bytes, progress) = (writer.log_bytes(), applier.progress());
    let (first_index, last_index) = replica.log_range();
    let members = Arc::new(replica.members_at().clone());
    let (status, watcher) = watch::channel(RaftStatus {
        member: config.member,
        term: replica.term(),
        role: Role::Follower,
        leader: None,
        commit: replica.commit(),
        applied: progress.applied,
        first_index,
        last_index,
        snapshot_index: replica.snapshot().index,
        digest: progress.digest,
        log_bytes,
        members: Arc::clone(&members),
        health: Health::Running,
    });
    let stopping = Arc::new(AtomicBool::new(false));
    let proposals = Proposals::new(origin);
    let answers = Answers::start(&tasks);
    let workers =
        Workers::start(writer, applier, proposals.clone(), answers.clone(), orders.clone()).map_err(refused)?;
    let driver = Driver {
        config: DriverConfig {
            tick: config.tick,
            election_ticks,
            storage_retry: config.storage_retry,
        },
        changes: ChangeQueue::default(),
        replica,
        outlet: Outlet::new(peers(&orders), members, proposals, answers, workers),
        inbox: waiting,
        control,
        status,
        stopping: Arc::clone(&stopping),
        next_proposal: 1,
        progress,
        failure: StorageFailure::none(STALL_ELECTIONS * election_ticks),
        transfers: Transfers::default(),
        snapshot_waiters: SnapshotWaiters::default(),
        ticks: 0,
        untold: false,
        log_bytes,
        stop_deadline_tick: None,
    };
    let thread = std::thread::Builder::new()
        .name("raft".into())
        .spawn(move || driver.run())
        .map_err(refused)?;
    Ok(RaftHandle {
        inbox,
        control: orders,
        status: watcher,
        stopping,
        thread: Arc::new(Mutex::new(Some(thread))),
        connections,
        tasks,
        max_command_bytes: config.max_command_bytes.min(MAX_FRAME_BYTES / 2),
        introducer: None,
        expelled: Expelled::default(),
    })
}

/// What the folder says before anything else in it is opened.
pub(super) struct Prepared {
    /// Whether the member has run before.
    pub(super) known: bool,
    pub(super) standing: Standing,
}

/// Makes the folder, if there is none, and finds out whose it is. A new folder gets its log id here, before anybody hears
/// of it.
pub(super) fn prepare(config: &RaftConfig) -> Result<Prepared, StartError> {
    let path = &config.data_dir;
    std::fs::create_dir_all(path).map_err(|source| StartError::Folder {
        path: path.clone(),
        source,
    })?;
    let known = identity(config)?.check_folder(path)?;
    let standing = Standing::open(path, known, draw_log_id()?)?;
    match standing.expelled {
        Some(expulsion) => Err(expulsion.into()),
        None => Ok(Prepared { known, standing }),
    }
}

fn identity(config: &RaftConfig) -> Result<Identity, IdentityError> {
    Ok(Identity {
        member: config.member,
        fingerprint: config.fingerprint()?,
    })
}

fn draw_log_id() -> Result<LogId, StartError> {
    loop {
        let drawn = getrandom::u64().map_err(|error| StartError::Thread {
            source: std::io::Error::other(error),
        })?;
        if let Some(log) = LogId::new(drawn) {
            return Ok(log);
        }
    }
}

/// The folder's marker is written last: until then the member has promised nothing, and the first start may be repeated.
fn open<M: StateMachine>(
    config: &RaftConfig,
    mut machine: M,
) -> Result<(Opened<SledLogStore, M>, SnapshotFolder, Standing), StartError> {
    let path = &config.data_dir;
    let identity = identity(config)?;
    let Prepared { known, standing } = prepare(config)?;
    let folder = SnapshotFolder::open(&config.snapshots_path(), identity.fingerprint)?;
    let mut store = open_store(&path.join("log"), identity, known)?;
    let mut replica_config = config.replica.clone();
    replica_config.member = identity.member;
    replica_config.fingerprint = identity.fingerprint;
    let failed = |source| StartError::Replica {
        path: path.clone(),
        source,
    };
    if !known {
        if let Origin::Founded(initial) = &config.origin {
            let genesis = match Provenance::read(path)? {
                Provenance::Founded => GENESIS,
                Provenance::Restored { .. } => {
                    let seed = Seed::open(path, identity.fingerprint)?;
                    take_over(&seed, &mut machine).map_err(failed)?;
                    seed.position
                }
            };
            bootstrap(&replica_config, &mut store, &folder, &machine, initial, genesis).map_err(failed)?;
        }
        identity.mark_folder(path)?;
    }
    if let Err(error) = Seed::forget(path) {
        tracing::warn!(%error, "what the log began with stays on the disk although it is of no more use");
    }
    let member = open_member(replica_config, store, folder.clone(), machine).map_err(failed)?;
    Ok((member, folder, standing))
}

/// Brings the machine to the state that was restored.
fn take_over<M: StateMachine>(seed: &Seed, machine: &mut M) -> Result<(), ReplicaError> {
    let (header, mut reader) = seed.read()?;
    let position = header.position;
    machine
        .restore(&mut reader)
        .map_err(|source| ReplicaError::Restore { position, source })
}

fn open_store(path: &Path, identity: Identity, known: bool) -> Result<SledLogStore, StartError> {
    let opened = if known {
        SledLogStore::open_existing(path, identity)
    } else {
        SledLogStore::open(path, identity)
    };
    opened.map_err(|source| StartError::Store {
        path: path.to_owned(),
        source,
    })
}

fn connect_by(security: Security) -> ConnectPeer {
    Arc::new(move |_, address| {
        let security = security.clone();
        Box::pin(async move {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(5));
            security
                .connected_channel(&endpoint, tls::Role::ControlPlane, CONNECT_TIMEOUT)
                .await
        })
    })
}
