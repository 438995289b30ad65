//! Seeds that must pass, and proof that the checker would notice if they should not.

use std::io::{self, Read, Write};

use control_plane::codec;
use control_plane::machine::{PublishedState, ReplicatedState};
use control_plane::raft::{FatalApply, RestoreError, StateMachine};
use simulation::campaign::{Seeds, run_seeds};
use simulation::control_plane::{Breach, Plan, run, run_with};
use tenantry_state::{Outcome, Rejection, State};
use tenantry_types::{MemberId, Revision};

#[test]
fn eighty_seeds_pass_and_every_fault_really_hits() {
    let seeds = Seeds {
        first: 1,
        count: 80,
        time: None,
    };
    let campaign = run_seeds(seeds, |seed| run(seed, &Plan::default()), || {});
    if let Some(violation) = &campaign.violation {
        panic!("{violation}\n{}", violation.trace.join("\n"));
    }
    let never = campaign.never();
    assert!(never.is_empty(), "never happened: {never:?}\n{}", campaign.total);
    println!("{}", campaign.total);
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte_and_another_seed_another() {
    let plan = Plan {
        trace_lines: usize::MAX,
        ..Plan::default()
    };
    let (first, second, other) = (run(7, &plan).unwrap(), run(7, &plan).unwrap(), run(8, &plan).unwrap());
    assert!(first.lines.len() > 1_000, "{}", first.lines.len());
    assert_eq!(first.lines.join("\n"), second.lines.join("\n"));
    assert_eq!(first, second);
    assert_ne!(first.trace, other.trace);
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
    /// Applies every command as if it had no request id, so that a repeated one takes effect again.
    Repeats,
    /// Stops at the command, as one that does not know it.
    Refuses,
    /// Panics over the command.
    Panics,
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
        let tenth = revision.get().is_multiple_of(10);
        if matches!(self.mistake, Mistake::Repeats) {
            let mut envelope = codec::decode_command(command).map_err(fatal)?;
            envelope.request = None;
            return self
                .machine
                .apply(revision, &codec::encode_command(&envelope).map_err(fatal)?);
        }
        if matches!(self.mistake, Mistake::Refuses) && tenth {
            let reason = "unknown".to_owned();
            return Err(FatalApply { reason });
        }
        assert!(
            !(matches!(self.mistake, Mistake::Panics) && tenth),
            "as the test wants it"
        );
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
    let noticed = matches!(
        breach,
        Some(Breach::HistoryChanged { .. } | Breach::AppliedTwice { .. } | Breach::AnswerChanged { .. })
    );
    assert!(noticed, "{breach:?}");
}

#[test]
fn a_command_that_all_members_forget_is_found_though_they_are_equal() {
    let breach = breach_of(|_| Mistake::Forgets);
    let noticed = matches!(breach, Some(Breach::AcknowledgedLost { .. } | Breach::BadState { .. }));
    assert!(noticed, "{breach:?}");
}

#[test]
fn a_repeated_request_that_takes_effect_again_is_found() {
    let breach = breach_of(|_| Mistake::Repeats);
    let noticed = matches!(
        breach,
        Some(Breach::AppliedTwice { .. } | Breach::AcknowledgedLost { .. } | Breach::BadState { .. })
    );
    assert!(noticed, "{breach:?}");
}

#[test]
fn a_member_that_stops_without_a_reason_is_found() {
    let breach = breach_of(only_member_two(Mistake::Refuses));
    assert!(matches!(breach, Some(Breach::MemberStopped { .. })), "{breach:?}");
}

#[test]
fn a_member_that_panics_is_found() {
    let breach = breach_of(only_member_two(Mistake::Panics));
    let Some(Breach::Panicked { reason }) = &breach else {
        panic!("{breach:?}");
    };
    assert!(reason.contains("as the test wants it"), "{reason}");
}

#[test]
fn a_cluster_that_does_not_recover_in_time_is_found() {
    let plan = Plan {
        healing_ticks: 3,
        crash: 30,
        ..Plan::default()
    };
    let breach = *run(1, &plan).unwrap_err().breach;
    assert!(matches!(breach, Breach::NoProgress { .. }), "{breach:?}");
}

#[test]
fn talk_without_end_is_found() {
    let plan = Plan {
        max_deliveries: 3,
        ..Plan::default()
    };
    let breach = *run(1, &plan).unwrap_err().breach;
    assert!(matches!(breach, Breach::EndlessTalk), "{breach:?}");
}
