//! What clients asked and were told, key by key, and what a single correct server could have told them.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write as _};

use tenantry_state::{Outcome, Rejection, State};
use tenantry_types::{NodeId, Tenant, TenantName};

use super::super::Breach;
use crate::linearizability::{Call, Model, Verdict, check};

/// Configurations that the search may try for one key; thousands are usual at most.
const MAX_CONFIGURATIONS: usize = 2_000_000;
const CREATOR: &str = "creator";
const WRITER: &str = "writer";

/// What an operation is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Key {
    /// The tenant that has this name at the moment.
    Tenant(TenantName),
    Node(NodeId),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(name) => write!(f, "tenant {name}"),
            Self::Node(id) => write!(f, "node {id}"),
        }
    }
}

/// Which requests made a tenant what it is. Every request writes its number into the tenant's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct Version {
    pub(in super::super) creator: u64,
    pub(in super::super) writer: u64,
}

impl Version {
    /// `None` for a tenant that no client of ours made.
    pub(in super::super) fn of(tenant: &Tenant) -> Option<Self> {
        let number = |label| tenant.spec.labels.pairs().get(label)?.parse().ok();
        Some(Self {
            creator: number(CREATOR)?,
            writer: number(WRITER)?,
        })
    }

    pub(super) fn labels(self) -> BTreeMap<String, String> {
        [(CREATOR, self.creator), (WRITER, self.writer)]
            .map(|(label, number)| (label.to_owned(), number.to_string()))
            .into()
    }
}

/// One client's operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Operation {
    Create { request: u64 },
    Update { version: Version, expected: Option<u64> },
    Delete { creator: u64, expected: Option<u64> },
    Register { incarnation: u64 },
    Read,
}

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Told {
    Done,
    /// Another tenant has the name.
    Taken,
    /// It is not as the caller expected.
    Changed,
    /// The tenant is deleted.
    Gone,
    /// The node has started again since.
    Stale,
    Tenant(Option<Version>),
    Incarnation(u64),
    /// What no correct server tells these clients.
    Nonsense(Rejection),
}

impl Told {
    fn by(outcome: &Outcome) -> Self {
        match outcome {
            Ok(_) => Self::Done,
            Err(Rejection::NameTaken { .. }) => Self::Taken,
            Err(Rejection::EtagMismatch { .. }) => Self::Changed,
            Err(Rejection::TenantDeleted { .. }) => Self::Gone,
            Err(Rejection::StaleIncarnation { .. }) => Self::Stale,
            Err(other) => Self::Nonsense(other.clone()),
        }
    }
}

/// The tenant of one name.
struct NamedTenant;

impl Model for NamedTenant {
    type State = Option<Version>;
    type Operation = Operation;
    type Answer = Told;

    fn initial() -> Self::State {
        None
    }

    fn step(state: &Self::State, operation: &Operation, told: Option<&Told>) -> Option<Self::State> {
        let changed = |known: &Version, expected: &Option<u64>| expected.is_some_and(|writer| writer != known.writer);
        let (after, right) = match (operation, state) {
            (Operation::Create { .. }, Some(known)) => (Some(*known), Told::Taken),
            (Operation::Create { request }, None) => {
                let (creator, writer) = (*request, *request);
                (Some(Version { creator, writer }), Told::Done)
            }
            (Operation::Update { version, expected }, Some(known)) if known.creator == version.creator => {
                match changed(known, expected) {
                    true => (Some(*known), Told::Changed),
                    false => (Some(*version), Told::Done),
                }
            }
            (Operation::Delete { creator, expected }, Some(known)) if known.creator == *creator => {
                match changed(known, expected) {
                    true => (Some(*known), Told::Changed),
                    false => (None, Told::Done),
                }
            }
            (Operation::Update { .. } | Operation::Delete { .. }, state) => (*state, Told::Gone),
            (Operation::Read | Operation::Register { .. }, state) => (*state, Told::Tenant(*state)),
        };
        told.is_none_or(|told| *told == right).then_some(after)
    }

    fn changes_nothing(_: &Operation, told: &Told) -> bool {
        *told != Told::Done
    }
}

/// The last start of one node.
struct StartedNode;

impl Model for StartedNode {
    type State = u64;
    type Operation = Operation;
    type Answer = Told;

    fn initial() -> u64 {
        0
    }

    fn step(state: &u64, operation: &Operation, told: Option<&Told>) -> Option<u64> {
        let (after, right) = match operation {
            Operation::Register { incarnation } if incarnation < state => (*state, Told::Stale),
            Operation::Register { incarnation } => (*incarnation, Told::Done),
            _ => (*state, Told::Incarnation(*state)),
        };
        told.is_none_or(|told| *told == right).then_some(after)
    }

    fn changes_nothing(_: &Operation, told: &Told) -> bool {
        *told != Told::Done
    }
}

type Calls = Vec<Call<Operation, Told>>;

/// Everything that clients asked, in one order.
#[derive(Debug, Default)]
pub(in super::super) struct History {
    now: u64,
    calls: BTreeMap<Key, Calls>,
    requests: BTreeMap<u64, (Key, usize)>,
}

impl History {
    /// The present, later than every moment before.
    pub(in super::super) fn moment(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// A request is sent for the first time.
    pub(in super::super) fn called(&mut self, request: u64, key: Key, operation: Operation) {
        if self.requests.contains_key(&request) {
            return;
        }
        let called = self.moment();
        let calls = self.calls.entry(key.clone()).or_default();
        self.requests.insert(request, (key, calls.len()));
        calls.push(Call {
            operation,
            called,
            answered: None,
        });
    }

    /// A request is answered. Only the first answer counts.
    pub(in super::super) fn answered(&mut self, request: u64, outcome: &Outcome) {
        let now = self.moment();
        let Some((key, index)) = self.requests.get(&request) else {
            return;
        };
        let call = self.calls.get_mut(key).and_then(|calls| calls.get_mut(*index));
        if let Some(call) = call {
            call.answered.get_or_insert((now, Told::by(outcome)));
        }
    }

    /// A linearizable read that began at `called` is answered from `state`.
    pub(in super::super) fn read(&mut self, key: Key, called: u64, state: &State) {
        let now = self.moment();
        let told = match &key {
            Key::Tenant(name) => Told::Tenant(state.tenant_by_name(name).and_then(|tenant| Version::of(tenant))),
            Key::Node(id) => Told::Incarnation(state.node(id).map_or(0, |node| node.incarnation.0)),
        };
        self.calls.entry(key).or_default().push(Call {
            operation: Operation::Read,
            called,
            answered: Some((now, told)),
        });
    }

    /// How many operations there were.
    pub(in super::super) fn len(&self) -> u64 {
        self.calls.values().map(|calls| calls.len() as u64).sum()
    }

    /// Looks for an order that explains all answers.
    pub(in super::super) fn check(&self) -> Result<(), Breach> {
        for (key, calls) in &self.calls {
            let verdict = match key {
                Key::Tenant(_) => check::<NamedTenant>(calls, MAX_CONFIGURATIONS),
                Key::Node(_) => check::<StartedNode>(calls, MAX_CONFIGURATIONS),
            };
            match verdict {
                Verdict::Linearizable => {}
                Verdict::Violated { longest } => {
                    let (key, history) = (key.to_string(), describe(calls, &longest));
                    return Err(Breach::NotLinearizable { key, history });
                }
                Verdict::Undecided => {
                    return Err(Breach::Simulation {
                        doing: "judge a history",
                        reason: format!("that of {key} is too long:\n{}", describe(calls, &[])),
                    });
                }
            }
        }
        Ok(())
    }
}

/// A line for each operation; those that could be explained are numbered in their order.
fn describe(calls: &Calls, order: &[usize]) -> String {
    let mut text = String::new();
    for (index, call) in calls.iter().enumerate() {
        let place = order.iter().position(|each| *each == index);
        let place = place.map_or_else(|| "-".to_owned(), |place| (place + 1).to_string());
        let (until, told): (String, &dyn Debug) = match &call.answered {
            Some((at, told)) => (at.to_string(), told),
            None => ("?".to_owned(), &"unknown"),
        };
        // A string takes whatever is written to it.
        let _ = writeln!(
            text,
            "{place:>5}  {:>6} to {until:>6}  {:?} -> {told:?}",
            call.called, call.operation
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(operation: Operation, called: u64, answered: u64, told: Told) -> Call<Operation, Told> {
        Call {
            operation,
            called,
            answered: Some((answered, told)),
        }
    }

    fn version(creator: u64, writer: u64) -> Version {
        Version { creator, writer }
    }

    fn judge(key: Key, calls: Calls) -> Result<(), Breach> {
        let history = History {
            calls: [(key, calls)].into(),
            ..History::default()
        };
        history.check()
    }

    fn tenant(calls: Calls) -> Result<(), Breach> {
        judge(Key::Tenant(TenantName::new("t1").unwrap()), calls)
    }

    #[test]
    fn a_tenant_is_created_updated_deleted_and_created_again() {
        let update = |writer, expected| Operation::Update {
            version: version(1, writer),
            expected,
        };
        let delete = |expected| Operation::Delete { creator: 1, expected };
        tenant(vec![
            done(Operation::Read, 1, 2, Told::Tenant(None)),
            done(Operation::Create { request: 1 }, 3, 4, Told::Done),
            done(Operation::Create { request: 2 }, 5, 6, Told::Taken),
            done(update(3, Some(1)), 7, 8, Told::Done),
            done(update(4, Some(1)), 9, 10, Told::Changed),
            done(Operation::Read, 11, 12, Told::Tenant(Some(version(1, 3)))),
            done(delete(Some(1)), 13, 14, Told::Changed),
            done(delete(None), 15, 16, Told::Done),
            done(update(5, None), 17, 18, Told::Gone),
            done(Operation::Create { request: 6 }, 19, 20, Told::Done),
            done(delete(None), 21, 22, Told::Gone),
            done(Operation::Read, 23, 24, Told::Tenant(Some(version(6, 6)))),
        ])
        .unwrap();
    }

    #[test]
    fn a_stale_read_is_found_and_shown() {
        let stale = tenant(vec![
            done(Operation::Create { request: 1 }, 1, 2, Told::Done),
            done(Operation::Read, 3, 4, Told::Tenant(None)),
        ]);
        let Err(Breach::NotLinearizable { key, history }) = stale else {
            panic!("{stale:?}");
        };
        assert_eq!(key, "tenant t1");
        assert!(history.contains("Read -> Tenant(None)"), "{history}");
    }

    #[test]
    fn two_creations_of_one_name_are_found() {
        let twice = tenant(vec![
            done(Operation::Create { request: 1 }, 1, 3, Told::Done),
            done(Operation::Create { request: 2 }, 2, 4, Told::Done),
        ]);
        assert!(matches!(twice, Err(Breach::NotLinearizable { .. })), "{twice:?}");
    }

    #[test]
    fn a_node_that_goes_back_to_an_earlier_start_is_found() {
        let register = |incarnation| Operation::Register { incarnation };
        let node = |calls| judge(Key::Node(NodeId::new("n1").unwrap()), calls);
        let good = vec![
            done(register(2), 1, 2, Told::Done),
            done(register(1), 3, 4, Told::Stale),
            done(Operation::Read, 5, 6, Told::Incarnation(2)),
        ];
        node(good.clone()).unwrap();
        let mut bad = good;
        bad.push(done(register(1), 7, 8, Told::Done));
        assert!(node(bad).is_err());
    }
}
