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

/// What a broken state machine does wrong with the command at one revision.
#[derive(Debug, Clone, Copy)]
enum Mistake {
    None,
    /// Answers without doing anything.
    Skips,
    /// Does it, but says that it did not.
    Lies,
}

struct Mistaken {
    machine: ReplicatedState,
    mistake: Mistake,
}

const WHERE: Revision = Revision(12);

impl StateMachine for Mistaken {
    type Answer = Outcome;
    type Cut = State;

    fn apply(&mut self, revision: Revision, command: &[u8]) -> Result<Outcome, FatalApply> {
        match self.mistake {
            Mistake::Skips if revision == WHERE => {
                Err(Rejection::NotInitialized).map_err(|_| FatalApply { reason: String::new() })
            }
            Mistake::Lies if revision == WHERE => {
                self.machine.apply(revision, command)?;
                Ok(Err(Rejection::NotInitialized))
            }
            _ => self.machine.apply(revision, command),
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
