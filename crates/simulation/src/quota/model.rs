//! The loop: whose client comes next, what the disk has done until then, what breaks, and what is decided.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tenantry_layers::quota::{Admission, Charge};

use super::disk::Disk;
use super::plan::Plan;
use super::process::{Ended, Process};
use super::report::Report;
use super::step::Step;
use super::tenants::Tenant;
use super::timeline::Timeline;
use super::violation::{Breach, Violation};

/// More do not wait at a time; the others' clients have given up.
const MOST_WAITING: usize = 20;

/// Everything that a seed moves.
pub(super) struct Model<'a> {
    pub(super) plan: Plan,
    pub(super) rng: StdRng,
    pub(super) timeline: Arc<Timeline>,
    pub(super) disk: Disk,
    pub(super) process: Process,
    pub(super) tenants: Vec<Tenant>,
    pub(super) report: Report,
    /// Whether the wall clock was set since the machine started.
    pub(super) clock_was_set: bool,
    /// So many requests until a kill that is due.
    pub(super) until_kill: Option<u32>,
    steps: VecDeque<(Duration, Step)>,
    progress: &'a Cell<u64>,
}

pub(super) type Checked = Result<(), Box<Breach>>;

impl<'a> Model<'a> {
    pub(super) fn run(seed: u64, plan: &Plan, progress: &'a Cell<u64>) -> Result<Report, Violation> {
        let mut rng = StdRng::seed_from_u64(seed);
        let plan = plan.drawn(&mut rng);
        let timeline = Arc::new(Timeline::start());
        let disk = Disk::new(Arc::clone(&timeline), &plan, StdRng::seed_from_u64(rng.random()));
        let process = Process::start(&disk, &timeline).map_err(|error| Violation {
            seed,
            requests: 0,
            breach: no_process(&error),
            steps: Vec::new(),
        })?;
        let tenants = (0..plan.tenants).map(|_| Tenant::new(&plan, &mut rng)).collect();
        let mut model = Self {
            plan,
            rng,
            timeline,
            disk,
            process,
            tenants,
            report: Report::default(),
            clock_was_set: false,
            until_kill: None,
            steps: VecDeque::new(),
            progress,
        };
        (0..model.tenants.len()).for_each(|tenant| model.put_limits_in_force(tenant));
        match model.go_through() {
            Ok(()) => Ok(model.finished()),
            Err(breach) => Err(Violation {
                seed,
                requests: model.report.requests,
                breach,
                steps: model
                    .steps
                    .iter()
                    .map(|(at, step)| format!("{at:>16.6?} {step}"))
                    .collect(),
            }),
        }
    }

    fn go_through(&mut self) -> Checked {
        while self.report.requests < self.plan.requests {
            let next = (0..self.tenants.len()).min_by_key(|tenant| self.tenants[*tenant].traffic.next);
            let Some(tenant) = next else { return Ok(()) };
            let moment = self.tenants[tenant].traffic.next;
            self.work_until(moment)?;
            self.advance_to(moment);
            self.break_something(tenant)?;
            self.request(tenant)?;
            self.progress.set(self.report.requests);
        }
        self.stop()
    }

    /// A client of that tenant comes.
    fn request(&mut self, tenant: usize) -> Checked {
        let now = self.timeline.now();
        let state = &mut self.tenants[tenant];
        let limits = state.limits;
        state.traffic.draw_next(now, limits.requests_per_day, &mut self.rng);
        let charge = match self.rng.random_bool(self.plan.free) {
            true => Charge::Free,
            false => Charge::Counted,
        };
        let decision = self.process.ask(tenant, &limits, charge);
        if matches!(decision.admission, Admission::NeedsLedger | Admission::Gone) {
            if self.process.waiting() < MOST_WAITING {
                self.report.waited += 1;
                self.note(Step::Waits { tenant });
                self.process.wait_for(tenant, limits, charge);
            }
        } else {
            let reserves_ahead = decision.reserve_ahead;
            self.judge(tenant, &limits, charge, decision)?;
            if reserves_ahead {
                self.process.drive();
            }
        }
        self.settle()
    }

    /// Has everybody who waits go on for as far as the disk lets them.
    pub(super) fn settle(&mut self) -> Checked {
        let mut idle_rounds = 0;
        while self.process.waiting() > 0 && idle_rounds < 5 {
            idle_rounds += 1;
            let mut place = 0;
            while let Some(ended) = self.process.ended(&mut place) {
                idle_rounds = 0;
                self.take(ended)?;
                self.process.drive();
            }
            if idle_rounds > 1 && self.disk.next_due().is_some() {
                return Ok(());
            }
        }
        match self.process.waiting() {
            0 => Ok(()),
            waiting => Err(Box::new(Breach::Stuck { waiting })),
        }
    }

    fn take(&mut self, ended: Ended) -> Checked {
        match ended {
            Ended::Request {
                tenant,
                limits,
                charge,
                outcome,
            } => match *outcome {
                Ok(decision) => self.judge(tenant, &limits, charge, decision),
                Err(error) => self.judge_shortage(tenant, error),
            },
            Ended::Close { tenant, outcome } => {
                self.closed(tenant, outcome.is_ok());
                Ok(())
            }
            Ended::Forget(tenants) => {
                self.report.forgotten += tenants as u64;
                self.note(Step::Forgotten { tenants });
                Ok(())
            }
        }
    }

    /// Time passes; requests that end by then give their places back.
    pub(super) fn advance_to(&mut self, moment: Duration) {
        self.timeline.advance_to(moment);
        let now = self.timeline.now();
        self.tenants.iter_mut().for_each(|tenant| tenant.end_served(now));
    }

    /// Remembers a step, for people.
    pub(super) fn note(&mut self, step: Step) {
        if self.steps.len() >= self.plan.steps {
            self.steps.pop_front();
        }
        self.steps.push_back((self.timeline.now(), step));
    }

    fn finished(mut self) -> Report {
        let counts = std::mem::take(&mut self.disk.contents().counts);
        self.report.reopenings = counts.reads;
        self.report.damaged = counts.damaged;
        self.report.reservations_burnt = counts.burnt;
        self.report.failed_writes = counts.failed_writes;
        self.report.failed_reads = counts.failed_reads;
        self.report.writes_lost = counts.lost;
        self.report.writes_landed = counts.landed;
        self.report.writes_undone = counts.undone;
        self.report.hours = self.timeline.now().as_secs() / 3_600;
        self.report
    }
}

pub(super) fn no_process(error: &std::io::Error) -> Box<Breach> {
    Box::new(Breach::Model {
        reason: format!("no process starts: {error}"),
    })
}
