//! Runs many seeds on all cores, adds up what happened, and finds the first seed that breaks a promise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::control_plane::{Plan, Report, Violation, run};

/// Which seeds to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds {
    /// The first of them.
    pub first: u64,
    /// How many at most.
    pub count: u64,
    /// No seed is begun after so long.
    pub time: Option<Duration>,
}

/// What came of it.
#[derive(Debug)]
pub struct Campaign {
    /// The counters of all seeds that passed, added up.
    pub total: Report,
    /// How many passed.
    pub passed: u64,
    /// The first seed that did not. All before it passed.
    pub violation: Option<Violation>,
    /// How long it took.
    pub took: Duration,
}

impl Campaign {
    /// Seeds by the minute.
    #[must_use]
    pub fn seeds_per_minute(&self) -> f64 {
        let ran = self.passed + u64::from(self.violation.is_some());
        // Nobody runs so many seeds that this loses anything.
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let ran = ran as f64;
        ran * 60.0 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    /// Counters of what never happened.
    #[must_use]
    pub fn never(&self) -> Vec<&'static str> {
        let counters = self.total.counters().into_iter();
        counters
            .filter(|(_, count)| *count == 0)
            .map(|(name, _)| name)
            .collect()
    }
}

/// Runs `seeds`, each thread after `prepare`.
pub fn run_seeds(seeds: Seeds, plan: &Plan, prepare: impl Fn() + Sync) -> Campaign {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let results = Mutex::new(Results::default());
    let work = || {
        prepare();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let late = seeds.time.is_some_and(|time| started.elapsed() >= time);
            let seed = seeds.first.saturating_add(number);
            let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
            if number >= seeds.count || late || lock().is_beyond_failure(seed) {
                return;
            }
            let outcome = run(seed, plan);
            lock().add(outcome);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let Results {
        total,
        passed,
        violation,
    } = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Campaign {
        total,
        passed,
        violation,
        took: started.elapsed(),
    }
}

#[derive(Default)]
struct Results {
    total: Report,
    passed: u64,
    violation: Option<Violation>,
}

impl Results {
    fn is_beyond_failure(&self, seed: u64) -> bool {
        self.violation.as_ref().is_some_and(|violation| violation.seed < seed)
    }

    fn add(&mut self, outcome: Result<Report, Violation>) {
        match outcome {
            Ok(report) => {
                self.total.add(&report);
                self.passed += 1;
            }
            Err(violation) if self.is_beyond_failure(violation.seed) => {}
            Err(violation) => self.violation = Some(violation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(first: u64, count: u64) -> Seeds {
        Seeds {
            first,
            count,
            time: None,
        }
    }

    #[test]
    fn every_seed_is_run_once_whichever_thread_takes_it() {
        let plan = Plan {
            fault_ticks: 50,
            ..Plan::default()
        };
        let campaign = run_seeds(seeds(5, 7), &plan, || {});
        let mut alone = Report::default();
        (5..12).for_each(|seed| alone.add(&run(seed, &plan).unwrap()));
        assert_eq!((campaign.passed, campaign.total), (7, alone));
        assert!(campaign.violation.is_none());
    }

    #[test]
    fn the_first_seed_that_fails_is_the_one_reported() {
        let plan = Plan {
            healing_ticks: 0,
            ..Plan::default()
        };
        let violation = run_seeds(seeds(3, 20), &plan, || {}).violation.unwrap();
        assert_eq!(violation.seed, 3);
    }

    #[test]
    fn no_seed_is_begun_when_the_time_is_over() {
        let seeds = Seeds {
            time: Some(Duration::ZERO),
            ..seeds(1, 1_000)
        };
        assert_eq!(run_seeds(seeds, &Plan::default(), || {}).passed, 0);
    }
}
