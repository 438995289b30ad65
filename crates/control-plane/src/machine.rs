//! The replicated state as the log drives it: decodes commands, applies them, and publishes what readers and watchers see.
//!
//! Runs on the log's own thread. Must not read a clock, draw random numbers or touch the network: members would diverge.

use std::io::{self, Read, Write};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tenantry_proto::v1::placement_service_watch_response::Part;
use tenantry_state::{Outcome, State, apply};
use tenantry_types::Revision;
use tokio::sync::watch;

use crate::codec::{self, EncodeError};
use crate::raft::{FatalApply, RestoreError, StateMachine};
use crate::watch::{RoutingChange, RoutingEntry, RoutingHistory, RoutingView, SharedSnapshot, encoded};

/// The state at one revision, with the digest of the routing table that belongs to it.
#[derive(Debug, Clone)]
pub struct Published {
    /// The state; its own revision is that of the last change.
    pub state: State,
    /// The last applied index, which may be ahead of the last change.
    pub revision: Revision,
    /// Digest over the routing table, as watchers compute it.
    pub routing_digest: u64,
}

/// Where readers find the applied state. Cheap to clone; never blocks the log.
#[derive(Debug, Clone)]
pub struct PublishedState {
    current: Arc<ArcSwap<Published>>,
    revision: watch::Receiver<Revision>,
    history: RoutingHistory,
    snapshot: SharedSnapshot,
}

impl PublishedState {
    /// The latest applied state; stays as it is while the caller holds it.
    #[must_use]
    pub fn current(&self) -> Arc<Published> {
        self.current.load_full()
    }

    /// Tells when more was applied.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<Revision> {
        self.revision.clone()
    }

    /// The recent changes of the routing table.
    #[must_use]
    pub const fn history(&self) -> &RoutingHistory {
        &self.history
    }

    /// The whole routing table as it is being sent to watchers.
    pub(crate) const fn snapshot(&self) -> &SharedSnapshot {
        &self.snapshot
    }
}

/// The state machine behind the log.
#[derive(Debug)]
pub struct ReplicatedState {
    state: State,
    routing: RoutingView,
    history: RoutingHistory,
    current: Arc<ArcSwap<Published>>,
    revision: watch::Sender<Revision>,
}

impl ReplicatedState {
    /// An empty state, and where its readers find it.
    #[must_use]
    pub fn new() -> (Self, PublishedState) {
        let state = State::new();
        let history = RoutingHistory::default();
        let published = Published {
            state: state.clone(),
            revision: Revision::ZERO,
            routing_digest: 0,
        };
        let current = Arc::new(ArcSwap::from_pointee(published));
        let (sender, revision) = watch::channel(Revision::ZERO);
        let readers = PublishedState {
            current: Arc::clone(&current),
            revision,
            history: history.clone(),
            snapshot: SharedSnapshot::default(),
        };
        (
            Self {
                state,
                routing: RoutingView::default(),
                history,
                current,
                revision: sender,
            },
            readers,
        )
    }
}

impl StateMachine for ReplicatedState {
    type Answer = Outcome;
    type Cut = State;

    fn apply(&mut self, revision: Revision, command: &[u8]) -> Result<Outcome, FatalApply> {
        let envelope = codec::decode_command(command).map_err(|error| FatalApply {
            reason: format!("the command at revision {revision}: {error}"),
        })?;
        let applied = apply(&mut self.state, revision, envelope);
        match self.routing.change(&self.state, revision, &applied.changes) {
            RoutingChange::None => {}
            RoutingChange::Delta(delta) => self.history.push(RoutingEntry {
                revision,
                digest: self.routing.digest(),
                message: encoded(Part::Delta(delta)),
            }),
            RoutingChange::TooMuch => self.history.forget(),
        }
        if applied.evicted_answers > 0 {
            metrics::counter!("tenantry_control_answers_evicted_total").increment(applied.evicted_answers);
        }
        Ok(applied.outcome)
    }

    fn applied(&mut self, revision: Revision) {
        self.history.reach(revision, self.routing.digest());
        self.current.store(Arc::new(Published {
            state: self.state.clone(),
            revision,
            routing_digest: self.routing.digest(),
        }));
        self.revision.send_replace(revision);
    }

    fn cut(&self) -> State {
        self.state.clone()
    }

    fn write_snapshot(cut: &State, out: &mut dyn Write) -> io::Result<()> {
        codec::write_state(cut, out).map_err(|error| match error {
            EncodeError::Io(error) => error,
            other => io::Error::other(other),
        })
    }

    fn restore(&mut self, input: &mut dyn Read) -> Result<(), RestoreError> {
        let state = codec::read_state(input).map_err(|error| RestoreError::Invalid {
            what: error.to_string(),
        })?;
        self.routing = RoutingView::of(&state);
        self.state = state;
        // What watchers missed meanwhile is not known: they start over.
        self.history.forget();
        Ok(())
    }

    fn digest(&self) -> u64 {
        self.state.digest()
    }
}
