//! Seeds of the quota engine that must pass; the whole run is `cargo xtask simulate quota`.

use simulation::campaign::{Seeds, run_seeds};
use simulation::quota::{Plan, run};

fn short() -> Plan {
    Plan {
        requests: 40_000,
        ..Plan::default()
    }
}

#[test]
fn twelve_seeds_never_admit_beyond_a_limit_and_seldom_refuse_within_it() {
    let seeds = Seeds {
        first: 1_000,
        count: 12,
        time: None,
    };
    let campaign = run_seeds(seeds, |seed| run(seed, &short()), || {});
    if let Some(violation) = &campaign.violation {
        panic!("{violation}\n{}", violation.steps.join("\n"));
    }
    let total = &campaign.total;
    assert!(!total.refused_too_many(), "{total}");
    for (name, count) in [
        ("kills", total.kills),
        ("reboots", total.reboots),
        ("clock jumps", total.clock_jumps),
        ("limits lowered", total.lowered),
        ("closes", total.closes),
        ("refusals", total.refused()),
    ] {
        assert!(count > 0, "no {name}\n{total}");
    }
}

#[test]
fn the_same_seed_makes_the_same_decisions_and_another_seed_others() {
    let (first, second, other) = (
        run(7, &short()).unwrap(),
        run(7, &short()).unwrap(),
        run(8, &short()).unwrap(),
    );
    assert_eq!(first, second);
    assert_ne!(first.trace, other.trace);
}
