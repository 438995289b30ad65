//! A tenant's requests in the running hour, and in those that are over.

use crate::conditions::HourRing;

/// Counts what a meter has grown by, from round to round.
#[derive(Debug, Default)]
pub(super) struct RequestsByHour {
    ring: Option<HourRing>,
    /// The running hour and its requests so far.
    running: Option<(u64, u64)>,
    /// Answers and processor time that were counted already.
    counted: (u64, u64),
}

impl RequestsByHour {
    pub(super) fn resumed(ring: Option<HourRing>) -> Self {
        Self {
            ring,
            ..Self::default()
        }
    }

    /// Counts what was added to totals of answers and microseconds of processor time since the last call, into the hour that is running. How
    /// much that is.
    pub(super) fn count(&mut self, answers: u64, cpu_micros: u64, hour: u64) -> (u64, u64) {
        let (answers_before, cpu_before) = std::mem::replace(&mut self.counted, (answers, cpu_micros));
        let added = answers.checked_sub(answers_before).unwrap_or(answers);
        let so_far = self
            .running
            .filter(|(running, _)| *running == hour)
            .map_or(0, |(_, count)| count);
        self.running = Some((hour, so_far.saturating_add(added)));
        (added, cpu_micros.checked_sub(cpu_before).unwrap_or(cpu_micros))
    }

    /// That hour is over, and was seen as a whole. The first hour of a tenant may have begun elsewhere, and stays unknown.
    pub(super) fn finish(&mut self, hour: u64, served: &HourRing) {
        let Some((_, count)) = self.running.take_if(|(running, _)| *running == hour) else {
            return;
        };
        match &mut self.ring {
            Some(ring) => {
                ring.catch_up(served);
                ring.record(hour, count);
            }
            None => self.ring = Some(HourRing::unknown_until(hour)),
        }
    }

    pub(super) const fn ring(&self) -> Option<&HourRing> {
        self.ring.as_ref()
    }

    /// What is usual for the tenant at that hour.
    pub(super) fn norm_per_minute(&mut self, hour: u64, settled: bool, served: Option<&HourRing>) -> Option<f64> {
        let ring = self.ring.as_mut()?;
        if let Some(served) = served.filter(|served| served.newest() != ring.newest()) {
            ring.catch_up(served);
        }
        ring.norm_per_minute(hour, settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_is_known_a_day_after_the_first_hour_and_counts_idle_hours() {
        let mut requests = RequestsByHour::default();
        let mut served = HourRing::unknown_until(99);
        let mut answers = 0;
        for hour in 100..=125 {
            // 120 in every third hour.
            if hour % 3 == 0 {
                answers += 120;
                requests.count(answers - 60, 0, hour);
                requests.count(answers, 0, hour);
            }
            served.record(hour, 0);
            requests.finish(hour, &served);
            let norm = requests.norm_per_minute(hour + 1, true, Some(&served));
            // The first busy hour, 102, is unknown; 103 to 126 are a day.
            assert_eq!(norm.is_some(), hour >= 126, "{hour}");
        }
        served.record(126, 0);
        assert_eq!(
            requests.norm_per_minute(127, true, Some(&served)),
            Some(7.0 * 120.0 / 24.0 / 60.0)
        );
    }

    #[test]
    fn an_hour_that_was_not_finished_is_not_mixed_with_another() {
        let mut requests = RequestsByHour::resumed(Some(HourRing::unknown_until(9)));
        assert_eq!(requests.count(500, 70, 10), (500, 70));
        assert_eq!(requests.count(530, 50, 11), (30, 50), "processor time that began anew");
        let mut served = HourRing::unknown_until(9);
        served.record(10, 0);
        requests.finish(10, &served);
        assert_eq!(requests.ring(), Some(&HourRing::unknown_until(9)));
        served.record(11, 0);
        requests.finish(11, &served);
        let mut expected = HourRing::unknown_until(9);
        expected.record(10, 0);
        expected.record(11, 30);
        assert_eq!(requests.ring(), Some(&expected));
    }
}
