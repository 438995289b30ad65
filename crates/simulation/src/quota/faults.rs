//! What breaks, and when: kills between any two steps and in the middle of the disk's work, power cuts, clean stops, closes,
//! clocks that are set, limits that change, ledgers that rot.

use std::time::Duration;

use rand::Rng as _;

use super::disk::End;
use super::judging::breach;
use super::model::{Checked, Model, no_process};
use super::process::Process;
use super::step::Step;
use super::violation::Breach;

/// The wall clock is set by so much at most, either way.
const FARTHEST_JUMP_MILLIS: i64 = 36 * 60 * 60 * 1000;

impl Model<'_> {
    /// Perhaps something happens before a client of `tenant` comes.
    pub(super) fn break_something(&mut self, tenant: usize) -> Checked {
        let is_due = self.until_kill == Some(0);
        self.until_kill = self.until_kill.map(|requests| requests.saturating_sub(1));
        if is_due || self.happens(self.plan.kill) {
            self.kill()?;
        }
        if self.happens(self.plan.stop) {
            self.stop()?;
        }
        if self.happens(self.plan.jump) {
            let by = self.set_clock();
            self.report.clock_jumps += 1;
            self.note(Step::ClockSet { by_millis: by });
        }
        // One at a time: a close that comes too late for its state is done, and says nothing of the next one.
        if self.happens(self.plan.close) && !self.process.is_closing() {
            self.process.close(tenant);
            self.settle()?;
        }
        if self.happens(self.plan.forget) && !self.process.is_closing() {
            let quiet = Duration::from_millis(1 << self.rng.random_range(0..24));
            self.process.forget_idle(quiet);
            // A request may come before the closing has begun.
            if self.happens(0.5) {
                self.settle()?;
            }
        }
        if self.happens(self.plan.change) && !self.disk.needs_limits_to_stay(tenant) {
            self.change_limits(tenant);
        }
        if self.happens(self.plan.duplicate) {
            self.send_limits_again(tenant)?;
        }
        if self.process.waiting() > 0 && self.happens(self.plan.leave) {
            let place = self.rng.random_range(0..self.process.waiting());
            if self.process.leave(place) {
                self.report.abandoned += 1;
                self.note(Step::Left);
            }
        }
        Ok(())
    }

    /// The disk goes on until then; kills hit in the middle of it.
    pub(super) fn work_until(&mut self, moment: Duration) -> Checked {
        while let Some(due) = self.disk.next_due()
            && due <= moment
        {
            self.advance_to(due);
            if self.happens(self.plan.kill_at_the_disk) {
                return self.kill();
            }
            self.disk.finish_next();
            if self.happens(self.plan.kill_at_the_disk) {
                self.report.kills_after_a_write += 1;
                return self.kill();
            }
            self.note(Step::DiskDone);
            self.process.drive();
            self.settle()?;
        }
        Ok(())
    }

    /// A clean stop and a start. It may be cut short by a kill.
    pub(super) fn stop(&mut self) -> Checked {
        let (disk, timeline, rng) = (&self.disk, &self.timeline, &mut self.rng);
        let chance = self.plan.kill_at_the_disk;
        self.process.stop(|| {
            if let Some(due) = disk.next_due() {
                timeline.advance_to(due);
                disk.finish_next();
            }
            !rng.random_bool(chance)
        });
        self.report.stops += 1;
        self.note(Step::Stopped);
        self.begin_anew().map(|_| ())
    }

    /// The process is gone without a word.
    fn kill(&mut self) -> Checked {
        self.report.kills += 1;
        let at_the_disk = self.begin_anew()?;
        self.report.kills_at_the_disk += u64::from(at_the_disk);
        Ok(())
    }

    /// What is not on the disk is gone. Then a new process starts, perhaps on a machine that started anew. Whether the disk
    /// was at work.
    fn begin_anew(&mut self) -> Result<bool, Box<Breach>> {
        let end = match self.happens(self.plan.power) {
            true => End::Power,
            false => End::Process,
        };
        let at_the_disk = self.disk.cut_off(end);
        self.until_kill = None;
        self.note(Step::Killed { at_the_disk });
        for tenant in &mut self.tenants {
            tenant.served.clear();
            tenant.retry = None;
        }
        for books in &mut self.disk.contents().tenants {
            books.biggest_limit = books.limit;
        }
        for tenant in 0..self.tenants.len() {
            if self.happens(self.plan.damage) && self.disk.damage(tenant) {
                self.note(Step::Damaged { tenant });
            }
        }
        // Most starts follow at once; some machines are off for more than a day.
        if self.happens(0.3) {
            let pause = Duration::from_millis(1 << self.rng.random_range(0..28));
            self.advance_to(self.timeline.now() + pause);
        }
        if end == End::Power {
            self.reboot();
        }
        self.timeline.clock().restart();
        let now = self.timeline.now();
        self.tenants
            .iter_mut()
            .for_each(|tenant| tenant.traffic.hold_until(now));
        self.process = Process::start(&self.disk, &self.timeline).map_err(|error| no_process(&error))?;
        Ok(at_the_disk)
    }

    fn reboot(&mut self) {
        let wall_set_by = match self.happens(self.plan.jump_in_reboot) {
            true => self.set_clock(),
            false => 0,
        };
        self.timeline.clock().reboot();
        self.report.reboots += 1;
        self.report.reboots_with_a_jump += u64::from(self.clock_was_set);
        self.clock_was_set = false;
        self.note(Step::Rebooted { wall_set_by });
    }

    fn set_clock(&mut self) -> i64 {
        let by = self.rng.random_range(-FARTHEST_JUMP_MILLIS..=FARTHEST_JUMP_MILLIS);
        self.timeline.clock().jump_wall(by);
        self.clock_was_set = true;
        by
    }

    /// A close has ended. Whoever is still served keeps its place until the end, and is not counted any more.
    pub(super) fn closed(&mut self, tenant: usize, written: bool) {
        if written {
            self.report.closes += 1;
            for served in &mut self.tenants[tenant].served {
                served.before_close = true;
            }
        } else if self.happens(self.plan.kill_after_failed_close) {
            self.until_kill = Some(self.rng.random_range(1..8));
        }
        self.note(Step::Closed { tenant, written });
    }

    fn change_limits(&mut self, tenant: usize) {
        let state = &mut self.tenants[tenant];
        let before = state.limits.requests_per_day;
        state.draw_limits(&mut self.rng);
        state.retry = None;
        state.traffic.end_phase();
        let limit = state.limits.requests_per_day;
        self.put_limits_in_force(tenant);
        self.report.raised += u64::from(limit > before);
        self.report.lowered += u64::from(limit < before);
        let contents = self.disk.contents();
        let below_use = limit < before && contents.tenants[tenant].reference.least(self.timeline.now()) > limit;
        drop(contents);
        self.report.lowered_below_use += u64::from(below_use);
        self.note(Step::Limited { tenant, limit });
    }

    pub(super) fn put_limits_in_force(&self, tenant: usize) {
        let limit = self.tenants[tenant].limits.requests_per_day;
        let books = &mut self.disk.contents().tenants[tenant];
        books.limit = limit;
        books.biggest_limit = books.biggest_limit.max(limit);
    }

    /// The same limits come again, with others in between or not.
    fn send_limits_again(&mut self, tenant: usize) -> Checked {
        let limits = self.tenants[tenant].limits;
        let Some(before) = self.process.standing(tenant, &limits) else {
            return self.settle_readings();
        };
        let mut others = limits;
        others.requests_per_day /= 2;
        let again = limits;
        let after = self
            .process
            .standing(tenant, &others)
            .and_then(|_| self.process.standing(tenant, &again));
        self.report.duplicates += 1;
        match after {
            Some(after) if after != before => Err(Box::new(Breach::DuplicateNoticed {
                tenant,
                before: before.daily_used,
                after: after.daily_used,
            })),
            Some(after) => self.hold_to_reference(tenant, &limits, &after),
            None => breach("a standing that was there is gone"),
        }
    }

    /// A question that nobody waits for any more has begun a reading.
    fn settle_readings(&mut self) -> Checked {
        self.process.drive();
        self.settle()
    }

    fn happens(&mut self, chance: f64) -> bool {
        self.rng.random_bool(chance)
    }
}
