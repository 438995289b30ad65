//! Runs many seeds on all cores, adds up what happened, and finds the first seed that breaks a promise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::tally::{Seeded, Tally};

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
pub struct Campaign<R, V> {
    /// The counters of all seeds that passed, added up.
    pub total: R,
    /// How many passed.
    pub passed: u64,
    /// The first seed that did not. All before it passed.
    pub violation: Option<V>,
    /// How long it took.
    pub took: Duration,
}

impl<R: Tally, V> Campaign<R, V> {
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

/// Has `run` run the `seeds`, each thread after `prepare`.
pub fn run_seeds<R: Tally, V: Seeded>(
    seeds: Seeds,
    run: impl Fn(u64) -> Result<R, V> + Sync,
    prepare: impl Fn() + Sync,
) -> Campaign<R, V> {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let results = Mutex::new(Results {
        total: R::default(),
        passed: 0,
        violation: None,
    });
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
            let outcome = run(seed);
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

struct Results<R, V> {
    total: R,
    passed: u64,
    violation: Option<V>,
}

impl<R: Tally, V: Seeded> Results<R, V> {
    fn is_beyond_failure(&self, seed: u64) -> bool {
        self.violation.as_ref().is_some_and(|violation| violation.seed() < seed)
    }

    fn add(&mut self, outcome: Result<R, V>) {
        match outcome {
            Ok(report) => {
                self.total.add(&report);
                self.passed += 1;
            }
            Err(violation) if self.is_beyond_failure(violation.seed()) => {}
            Err(violation) => self.violation = Some(violation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::{Plan, Report, run};

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
        let campaign = run_seeds(seeds(5, 7), |seed| run(seed, &plan), || {});
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
        let violation = run_seeds(seeds(3, 20), |seed| run(seed, &plan), || {})
            .violation
            .unwrap();
        assert_eq!(violation.seed, 3);
    }

    #[test]
    fn no_seed_is_begun_when_the_time_is_over() {
        let seeds = Seeds {
            time: Some(Duration::ZERO),
            ..seeds(1, 1_000)
        };
        assert_eq!(run_seeds(seeds, |seed| run(seed, &Plan::default()), || {}).passed, 0);
    }
}
