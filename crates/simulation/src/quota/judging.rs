//! Holds every decision against the reference.

use std::time::Duration;

use rand::Rng as _;
use tenantry_layers::quota::{
    Admission, Charge, Decision, Permit, Policy, QuotaError, Refusal, RequestLimits, Standing,
};

use super::model::{Checked, Model};
use super::reference::{Judgement, Withheld};
use super::step::Step;
use super::tenants::Retry;
use super::traffic::exponential;
use super::violation::Breach;

const MILLISECOND: Duration = Duration::from_millis(1);

impl Model<'_> {
    /// Judges a decision that was made at this moment.
    pub(super) fn judge(
        &mut self,
        tenant: usize,
        limits: &RequestLimits,
        charge: Charge,
        decision: Decision,
    ) -> Checked {
        let now = self.timeline.now();
        self.report.requests += 1;
        {
            let reference = &mut self.disk.contents().tenants[tenant].reference;
            reference.advance(now);
            reference.burst.advance(limits.burst, now);
        }
        let standing = match decision.admission {
            Admission::Admitted(None, standing) if charge == Charge::Free => {
                self.report.free += 1;
                self.note(Step::Free { tenant });
                standing
            }
            Admission::Admitted(Some(permit), standing) if charge == Charge::Counted => {
                self.note(Step::Admitted {
                    tenant,
                    used: standing.daily_used,
                    limit: limits.requests_per_day,
                });
                self.judge_admission(tenant, limits, permit)?;
                standing
            }
            Admission::Refused(refusal) if charge == Charge::Counted => {
                self.note(Step::Refused {
                    tenant,
                    used: refusal.standing.daily_used,
                    limit: limits.requests_per_day,
                });
                self.judge_refusal(tenant, limits, &refusal)?;
                refusal.standing
            }
            other => return breach(&format!("{charge:?} came to {other:?}")),
        };
        self.report.note(standing.daily_used);
        self.hold_to_reference(tenant, limits, &standing)
    }

    /// A request that was told of a shortage of ours.
    pub(super) fn judge_shortage(&mut self, tenant: usize, error: QuotaError) -> Checked {
        self.report.unavailable += 1;
        self.tenants[tenant].retry = None;
        self.note(Step::Unavailable { tenant });
        let contents = self.disk.contents();
        let failures = contents.counts.failed_reads + contents.counts.failed_writes;
        match error {
            QuotaError::LedgerUnavailable if failures > 0 => Ok(()),
            _ => Err(Box::new(Breach::UnavailableWithoutCause {
                tenant,
                error: error.to_string(),
            })),
        }
    }

    fn judge_admission(&mut self, tenant: usize, limits: &RequestLimits, permit: Permit) -> Checked {
        let now = self.timeline.now();
        self.report.admitted += 1;
        let mut contents = self.disk.contents();
        let books = &mut contents.tenants[tenant];
        let beyond_burst = books.reference.burst.is_certainly_full();
        books.reference.ideal_admits(now, limits.requests_per_day);
        books.reference.admit(now);
        books.reference.burst.admit();
        let admitted = books.reference.least(now);
        let by_exception = !books.reference.goes_by_true_time(now);
        let openings = books.reference.openings();
        let too_big = books.too_big.map(|reserved| (reserved, books.biggest_limit));
        drop(contents);
        self.report.checked_by_exception += u64::from(by_exception);
        if admitted > limits.requests_per_day {
            return Err(Box::new(Breach::LimitExceeded {
                tenant,
                admitted,
                limit: limits.requests_per_day,
            }));
        }
        if beyond_burst {
            return Err(Box::new(Breach::BurstExceeded { tenant }));
        }
        if let Some((reserved, limit)) = too_big {
            return Err(Box::new(Breach::ReservationTooBig {
                tenant,
                reserved,
                limit,
            }));
        }
        let mean = match self.rng.random_bool(0.98) {
            true => Duration::from_millis(20),
            false => Duration::from_secs(120),
        };
        let until = now + exponential(mean, &mut self.rng);
        let state = &mut self.tenants[tenant];
        state.serve(permit, until);
        let served = state.counted();
        if served > limits.concurrent_requests as usize {
            return Err(Box::new(Breach::ConcurrencyExceeded {
                tenant,
                served,
                limit: limits.concurrent_requests,
            }));
        }
        match state.retry.take() {
            Some(retry) if retry.openings == openings && now + MILLISECOND <= retry.due => {
                untrue(tenant, "passed before it was time")
            }
            Some(retry) if retry.openings == openings => {
                self.report.retries += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn judge_refusal(&mut self, tenant: usize, limits: &RequestLimits, refusal: &Refusal) -> Checked {
        let violated: Vec<Policy> = refusal.violated().collect();
        let mut daily = None;
        let mut right = false;
        for policy in &violated {
            match self.judge_policy(tenant, limits, *policy) {
                judgement @ (Judgement::Right | Judgement::Wrong(_)) if *policy == Policy::Daily => {
                    daily = Some(judgement);
                }
                Judgement::Right | Judgement::Wrong(_) => right = true,
                Judgement::Unexplained => {
                    return Err(Box::new(Breach::RefusedWithoutNeed {
                        tenant,
                        policy: policy.as_str(),
                        counted: self.disk.contents().tenants[tenant].reference.most(),
                        limit: limits.requests_per_day,
                    }));
                }
            }
        }
        match violated.first() {
            Some(Policy::Daily) => self.report.refused_daily += 1,
            Some(Policy::Burst) => self.report.refused_burst += 1,
            Some(Policy::Concurrent) => self.report.refused_concurrent += 1,
            None => return breach("a refusal names no limit"),
        }
        if let Some(judgement) = daily
            && !right
        {
            self.count_if_wrong(tenant, limits.requests_per_day, judgement);
        }
        self.judge_return(tenant, &violated)?;
        let foreseeable = !violated.contains(&Policy::Concurrent) && limits.requests_per_day > 0;
        let alone = !self.process.waits_for(tenant) && *limits == self.tenants[tenant].limits;
        if foreseeable && alone && self.rng.random_bool(self.plan.obey) {
            self.obey(tenant, &violated, refusal.retry_after);
        }
        Ok(())
    }

    /// A refusal for the daily limit alone is wrong if the ideal counter would have let the request pass.
    fn count_if_wrong(&mut self, tenant: usize, limit: u64, judgement: Judgement) {
        let now = self.timeline.now();
        let reference = &mut self.disk.contents().tenants[tenant].reference;
        if reference.ideal_admits(now, limit) {
            *match judgement {
                Judgement::Wrong(Withheld::ByCrash) => &mut self.report.wrong_by_crash,
                Judgement::Wrong(Withheld::ByBuckets) => &mut self.report.wrong_by_buckets,
                // What it withheld before, it admitted since; the ideal counter has room that was used by then.
                Judgement::Right | Judgement::Unexplained => &mut self.report.wrong_by_delay,
            } += 1;
        }
    }

    fn judge_policy(&self, tenant: usize, limits: &RequestLimits, policy: Policy) -> Judgement {
        let contents = self.disk.contents();
        let reference = &contents.tenants[tenant].reference;
        let explained = match policy {
            Policy::Daily => return reference.judge(limits.requests_per_day),
            Policy::Burst => reference.burst.may_be_full(),
            Policy::Concurrent => self.tenants[tenant].counted() >= limits.concurrent_requests as usize,
        };
        if explained {
            Judgement::Right
        } else {
            Judgement::Unexplained
        }
    }

    /// A client that did as it was told is refused again.
    fn judge_return(&mut self, tenant: usize, violated: &[Policy]) -> Checked {
        let now = self.timeline.now();
        let openings = self.disk.contents().tenants[tenant].reference.openings();
        let state = &mut self.tenants[tenant];
        let Some(retry) = state.retry.filter(|retry| retry.openings == openings) else {
            state.retry = None;
            return Ok(());
        };
        if now < retry.due {
            // It came early, and comes back in time.
            state.traffic.next = retry.due;
            self.report.early_retries += 1;
            return Ok(());
        }
        state.retry = None;
        match violated {
            [Policy::Concurrent] => Ok(()),
            _ => untrue(tenant, "was refused again"),
        }
    }

    /// The client comes back when it was told to, and nobody else does meanwhile; sometimes first a millisecond too early.
    fn obey(&mut self, tenant: usize, violated: &[Policy], retry_after: Duration) {
        let due = self.timeline.now() + retry_after;
        let early = violated == [Policy::Daily] && retry_after > MILLISECOND && self.rng.random_bool(0.5);
        let openings = self.disk.contents().tenants[tenant].reference.openings();
        let state = &mut self.tenants[tenant];
        state.retry = Some(Retry { due, openings });
        state.traffic.next = if early { due - MILLISECOND } else { due };
    }

    /// Figures that a tenant is told, against those that are so.
    pub(super) fn hold_to_reference(&mut self, tenant: usize, limits: &RequestLimits, standing: &Standing) -> Checked {
        let now = self.timeline.now();
        let used = standing.daily_used;
        let mut contents = self.disk.contents();
        let reference = &mut contents.tenants[tenant].reference;
        reference.advance(now);
        let (least, most) = (reference.least(now), reference.most());
        let grown_from = reference.note_use(used);
        drop(contents);
        if used < least {
            return Err(Box::new(Breach::CountedTooFew {
                tenant,
                used,
                admitted: least,
            }));
        }
        if let Some(before) = grown_from {
            return Err(Box::new(Breach::ChargedWithoutAdmission { tenant, used, before }));
        }
        if used > most {
            return Err(Box::new(Breach::CountedTooMany { tenant, used, most }));
        }
        let state = &self.tenants[tenant];
        let served = u32::try_from(state.counted()).unwrap_or(u32::MAX);
        let remaining = limits.requests_per_day.saturating_sub(used);
        let facts = [
            ("the daily limit", standing.daily_limit, limits.requests_per_day),
            ("what remains of it", standing.daily_remaining(), remaining),
            (
                "the limit at once",
                u64::from(standing.concurrent_limit),
                u64::from(limits.concurrent_requests),
            ),
            ("what is served", u64::from(standing.concurrent), u64::from(served)),
        ];
        match facts.into_iter().find(|(_, told, so)| told != so) {
            None => Ok(()),
            Some((what, told, so)) => Err(Box::new(Breach::StandingWrong {
                tenant,
                what: format!("{what} is {told}, and is {so}"),
            })),
        }
    }
}

fn untrue(tenant: usize, what: &'static str) -> Checked {
    Err(Box::new(Breach::RetryAfterUntrue { tenant, what }))
}

pub(super) fn breach(reason: &str) -> Checked {
    Err(Box::new(Breach::Model {
        reason: reason.to_owned(),
    }))
}
