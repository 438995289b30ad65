//! Shares of answers over a sliding hour: 60 one-minute slots, the running one included.
//!
//! Only our failures are errors. A tenant at a limit (429, 507) or with wrong requests (4xx) is not failing.

use tenantry_types::UnixMillis;

use super::answer::AnswerClass;
use crate::slot_ring::SlotRing;

const MINUTE_MILLIS: u64 = 60 * 1000;

/// Answers of one minute, by class. Half as wide as totals: each tenant has sixty of them.
type Minute = [u32; AnswerClass::ALL.len()];

/// Answers of the last hour by class.
#[derive(Debug, Clone)]
pub(crate) struct ErrorRate(SlotRing<Minute, 60>);

impl ErrorRate {
    pub(crate) fn new() -> Self {
        Self(SlotRing::new(MINUTE_MILLIS))
    }

    /// Counts an answer that ended at `at`.
    pub(crate) fn record(&mut self, at: UnixMillis, class: AnswerClass) {
        self.0.advance(at.0, |_| ());
        let count = &mut self.0.newest_mut()[class as usize];
        *count = count.saturating_add(1);
    }

    /// Answers of that class over all answers, 0 to 1; `None` without answers.
    pub(crate) fn ratio(&mut self, now: UnixMillis, class: AnswerClass) -> Option<f64> {
        self.0.advance(now.0, |_| ());
        let (mut of_class, mut all) = (0_u64, 0_u64);
        for (_, minute) in self.0.iter() {
            of_class += u64::from(minute[class as usize]);
            all += minute.iter().copied().map(u64::from).sum::<u64>();
        }
        (all > 0).then(|| of_class as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ratios_are_those_of_a_request_log(
            steps in proptest::collection::vec((0_u64..10 * MINUTE_MILLIS, 0_usize..7), 1..120),
        ) {
            let mut rate = ErrorRate::new();
            let mut log = Vec::new();
            let mut now = 1_700_000_012_345;
            for (step, class) in steps {
                now += step;
                rate.record(UnixMillis(now), AnswerClass::ALL[class]);
                log.push((now / MINUTE_MILLIS, AnswerClass::ALL[class]));
                log.retain(|(minute, _)| minute + 60 > now / MINUTE_MILLIS);
                for class in AnswerClass::ALL {
                    let expected = log.iter().filter(|(_, seen)| *seen == class).count() as f64 / log.len() as f64;
                    prop_assert_eq!(rate.ratio(UnixMillis(now), class), Some(expected));
                }
            }
            prop_assert_eq!(rate.ratio(UnixMillis(now + 60 * MINUTE_MILLIS), AnswerClass::ServerError), None);
        }
    }
}
