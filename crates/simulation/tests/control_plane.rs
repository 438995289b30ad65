//! Seeds that must pass, and proof that the checker would notice if they should not.

use std::io::{self, Read, Write};

use control_plane::machine::{PublishedState, ReplicatedState};
use control_plane::raft::{FatalApply, RestoreError, StateMachine};
use simulation::control_plane::{Breach, Plan, Report, run, run_with};
use tenantry_state::{Outcome, Rejection, State};
use tenantry_types::{MemberId, Revision};

#[test]
fn thirty_seeds_pass_and_every_fault_really_hits() {
    let mut total = Report::default();
    for seed in 1..=30 {
        match run(seed, &Plan::default()) {
            Ok(report) => total.add(&report),
            Err(violation) => panic!("{violation}"),
        }
    }
    let never: Vec<_> = total.counters().into_iter().filter(|(_, count)| *count == 0).collect();
    assert!(never.is_empty(), "never happened: {never:?}\n{total}");
    println!("{total}");
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let trace = |seed| run(seed, &Plan::default()).unwrap().trace;
    assert_eq!(run(7, &Plan::default()).unwrap(), run(7, &Plan::default()).unwrap());
    assert_ne!(trace(7), trace(8));
}

#[test]
fn five_members_pass_as_well() {
    let plan = Plan {
        members: 5,
        ..Plan::default()
    };
    for seed in 1..=4 {
        run(seed, &plan).unwrap();
    }
}

/// What a state machine does wrong with every tenth command.
#[derive(Debug, Clone, Copy)]
enum Mistake {
    None,
    /// Answers as if it had applied the command, and keeps the state as it was.
    Forgets,
    /// Applies the command, and answers otherwise.
    Lies,
}

struct Mistaken {
    machine: ReplicatedState,
    mistake: Mistake,
}

fn fatal(error: impl std::error::Error) -> FatalApply {
    FatalApply {
        reason: error.to_string(),
    }
}

impl StateMachine for Mistaken {
    type Answer = Outcome;
    type Cut = State;

    fn apply(&mut self, revision: Revision, command: &[u8]) -> Result<Outcome, FatalApply> {
        let before = self.machine.cut();
        let outcome = self.machine.apply(revision, command)?;
        match self.mistake {
            Mistake::Forgets if revision.get().is_multiple_of(10) => {
                let mut written = Vec::new();
                Self::write_snapshot(&before, &mut written).map_err(fatal)?;
                self.machine.restore(&mut written.as_slice()).map_err(fatal)?;
                Ok(outcome)
            }
            Mistake::Lies if revision.get().is_multiple_of(10) => Ok(Err(Rejection::NotInitialized)),
            _ => Ok(outcome),
        }
    }

    fn applied(&mut self, revision: Revision) {
        self.machine.applied(revision);
    }

    fn cut(&self) -> State {
        self.machine.cut()
    }

    fn write_snapshot(cut: &State, out: &mut dyn Write) -> io::Result<()> {
        ReplicatedState::write_snapshot(cut, out)
    }

    fn restore(&mut self, input: &mut dyn Read) -> Result<(), RestoreError> {
        self.machine.restore(input)
    }

    fn digest(&self) -> u64 {
        self.machine.digest()
    }
}

fn breach_of(mistake_of: impl Fn(MemberId) -> Mistake) -> Option<Breach> {
    let machines = |member| {
        let (machine, readers): (_, PublishedState) = ReplicatedState::new();
        let mistake = mistake_of(member);
        (Mistaken { machine, mistake }, readers)
    };
    run_with(1, &Plan::default(), machines)
        .err()
        .map(|violation| *violation.breach)
}

fn only_member_two(mistake: Mistake) -> impl Fn(MemberId) -> Mistake {
    move |member| if member.get() == 2 { mistake } else { Mistake::None }
}

#[test]
fn a_wrapped_machine_without_a_mistake_passes() {
    assert!(breach_of(|_| Mistake::None).is_none());
}

#[test]
fn a_member_that_forgets_a_command_is_found_by_its_digest() {
    let breach = breach_of(only_member_two(Mistake::Forgets));
    assert!(matches!(breach, Some(Breach::DigestsDiffer { .. })), "{breach:?}");
}

#[test]
fn a_member_that_answers_otherwise_is_found() {
    let breach = breach_of(only_member_two(Mistake::Lies));
    assert!(matches!(breach, Some(Breach::HistoryChanged { .. })), "{breach:?}");
}

#[test]
fn a_command_that_all_members_forget_is_found_though_they_are_equal() {
    let breach = breach_of(|_| Mistake::Forgets);
    let noticed = matches!(breach, Some(Breach::AcknowledgedLost { .. } | Breach::BadState { .. }));
    assert!(noticed, "{breach:?}");
}
