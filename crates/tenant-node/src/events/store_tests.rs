//! A node that is killed, restored and cut off, against a control plane that applies its rules to what it gets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tenantry_types::Condition;

use super::super::subject::{Subject, is_raised};
use super::super::test_events::{batch, crossed, turned};
use super::*;

type Of = (u128, Condition);

#[derive(Debug, Clone)]
enum Step {
    /// A condition sets in, or is over.
    Turn(u128, usize),
    /// Several turn in one batch.
    Storm(Vec<(u128, usize)>),
    /// Quotas are crossed.
    Noise(u128, u64),
    /// So many are handed over, so many of them are taken, and whether the node hears of it.
    Deliver(usize, usize, bool),
    /// The node is killed, and starts again.
    Crash,
    /// The node registers again.
    Register,
    /// The control plane begins another life.
    Restore,
    /// The file is lost while the node is down.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    let one = (1_u128..5, 0_usize..3);
    prop_oneof![
        6 => one.clone().prop_map(|(tenant, condition)| Step::Turn(tenant, condition)),
        2 => proptest::collection::vec(one, 1..12).prop_map(Step::Storm),
        2 => (1_u128..5, 1_u64..6).prop_map(|(tenant, count)| Step::Noise(tenant, count)),
        4 => (1_usize..6, 0_usize..6, any::<bool>()).prop_map(|(most, taken, heard)| Step::Deliver(most, taken, heard)),
        2 => Just(Step::Crash),
        1 => Just(Step::Register),
        1 => Just(Step::Restore),
        1 => Just(Step::Lose),
    ]
}

/// What `tenantry-state` does with reports.
#[derive(Default)]
struct ControlPlane {
    cursor: (u64, u64),
    active: BTreeMap<Of, u64>,
    log: Vec<(Of, bool)>,
}

impl ControlPlane {
    fn take(&mut self, incarnation: Incarnation, event: &v1::ReportedEvent) {
        let incarnation = incarnation.get();
        assert!(
            incarnation >= self.cursor.0,
            "an earlier start reports after a later one"
        );
        if incarnation > self.cursor.0 {
            self.cursor = (incarnation, 0);
        }
        if event.sequence <= self.cursor.1 {
            return;
        }
        self.cursor.1 = event.sequence;
        let Some(key) = schema::entry_of(event).map(|entry| entry.key) else {
            panic!("{event:?} cannot be read");
        };
        let (Some(tenant), Subject::Condition(condition)) = key else {
            return;
        };
        let of = (tenant.as_u128(), condition);
        let news = match is_raised(event) {
            true => self.active.insert(of, incarnation).is_none(),
            false => self.active.remove(&of).is_some(),
        };
        if news {
            self.log.push((of, is_raised(event)));
        }
    }

    fn register(&mut self, record_since: Incarnation) {
        let lost = |at: &u64| *at < record_since.get();
        let ended: Vec<_> = self
            .active
            .iter()
            .filter(|(_, at)| lost(at))
            .map(|(of, _)| *of)
            .collect();
        for of in ended {
            self.active.remove(&of);
            self.log.push((of, false));
        }
    }
}

struct Node {
    folder: tempfile::TempDir,
    store: Option<Store>,
    incarnation: u64,
    capacity: u64,
    truth: BTreeSet<Of>,
}

impl Node {
    fn new(capacity: u64) -> Self {
        let mut node = Self {
            folder: tempfile::tempdir().unwrap(),
            store: None,
            incarnation: 0,
            capacity,
            truth: BTreeSet::new(),
        };
        node.start();
        node
    }

    fn start(&mut self) {
        self.incarnation += 1;
        let path = self.folder.path().join("outbox.db");
        let store = Store::open(&path, Incarnation(self.incarnation), self.capacity).unwrap();
        // The process is killed here, never the machine.
        store.connection.pragma_update(None, "synchronous", "OFF").unwrap();
        let record = store.record().unwrap();
        let raised = record
            .tenants
            .iter()
            .flat_map(|(uid, kept)| kept.raised.iter().map(|condition| (uid.as_u128(), *condition)));
        assert_eq!(raised.collect::<BTreeSet<_>>(), self.truth, "the record is the truth");
        self.store = Some(store);
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn turn(&mut self, of: Of) -> NewEvent {
        let raised = self.truth.insert(of);
        if !raised {
            self.truth.remove(&of);
        }
        turned(of.0, of.1, raised)
    }

    /// Hands over the oldest `most`, of which `taken` are taken. Whether there were any.
    fn deliver(&mut self, control_plane: &mut ControlPlane, most: usize, taken: usize, heard: bool) -> bool {
        let Some(batch) = self.store().oldest(most).unwrap() else {
            return false;
        };
        let taken = &batch.events[..taken.min(batch.events.len())];
        for event in taken {
            control_plane.take(batch.incarnation, &event.event);
        }
        if let Some(last) = taken.last().filter(|_| heard) {
            self.store().acknowledge(batch.incarnation, last.sequence).unwrap();
        }
        true
    }

    fn register(&mut self, control_plane: &mut ControlPlane) {
        control_plane.register(self.store().record_since());
        self.store().tell_raised_again().unwrap();
    }
}

fn run(capacity: u64, steps: Vec<Step>) {
    let (mut node, mut control_plane) = (Node::new(capacity), ControlPlane::default());
    node.register(&mut control_plane);
    for step in steps {
        match step {
            Step::Turn(tenant, condition) => {
                let event = node.turn((tenant, Condition::ALL[condition]));
                node.store().append(&batch([event])).unwrap();
            }
            Step::Storm(turns) => {
                let events: Vec<_> = turns
                    .into_iter()
                    .map(|(tenant, condition)| node.turn((tenant, Condition::ALL[condition])))
                    .collect();
                node.store().append(&batch(events)).unwrap();
            }
            Step::Noise(tenant, count) => {
                let events = (0..count).map(|used| crossed(tenant + u128::from(used), used));
                node.store().append(&batch(events)).unwrap();
            }
            Step::Deliver(most, taken, heard) => {
                node.deliver(&mut control_plane, most, taken, heard);
            }
            Step::Crash => {
                node.store = None;
                node.start();
                node.register(&mut control_plane);
            }
            Step::Register => node.register(&mut control_plane),
            Step::Restore => {
                control_plane.active.clear();
                control_plane.log.clear();
                node.store().tell_raised_again().unwrap();
            }
            Step::Lose => {
                node.store = None;
                for file in ["outbox.db", "outbox.db-wal", "outbox.db-shm"] {
                    let _ = std::fs::remove_file(node.folder.path().join(file));
                }
                node.truth.clear();
                node.start();
                node.register(&mut control_plane);
            }
        }
        assert!(node.store().len() <= capacity.max(2), "{} wait", node.store().len());
    }
    while node.deliver(&mut control_plane, 5, 5, true) {}
    assert_eq!(node.store().unreported, BTreeSet::new());
    let known: BTreeSet<_> = control_plane.active.into_keys().collect();
    assert_eq!(known, node.truth);
    let mut raised = BTreeMap::new();
    for (of, set_in) in control_plane.log {
        assert_ne!(
            raised.insert(of, set_in).unwrap_or(false),
            set_in,
            "{of:?} does not alternate"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_the_control_plane_comes_to_know_what_is_raised(
        capacity in 2_u64..12,
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        run(capacity, steps);
    }
}
