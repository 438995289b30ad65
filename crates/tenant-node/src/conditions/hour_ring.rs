//! A tenant's requests in each of the last 168 finished hours of the wall clock, and what is usual for it by them.
//!
//! An hour that was not seen from its beginning to its end is unknown, never zero. Only finished hours get in, so a clock
//! that jumps and comes back within the hour leaves the ring as it was; hours that lie ahead of a clock that went back for
//! good are forgotten.

/// Hours in the ring: a week.
pub const HOURS: usize = 168;
const HOURS_OF_DAY: u64 = 24;
const MINUTES_PER_HOUR: f64 = 60.0;
/// With fewer known hours nothing is called usual.
const LEAST_KNOWN: usize = 24;
const UNKNOWN: u32 = u32::MAX;
const ENCODED: usize = 8 + HOURS * 4;

/// Requests by hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourRing {
    /// The last hour that has a place: hours since 1970.
    newest: u64,
    /// By the hour's number modulo their count.
    counts: Box<[u32; HOURS]>,
}

impl HourRing {
    /// Ends with that hour; nothing is known.
    #[must_use]
    pub fn unknown_until(newest: u64) -> Self {
        Self {
            newest,
            counts: Box::new([UNKNOWN; HOURS]),
        }
    }

    /// The last hour that it has a place for.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Takes the requests of a finished hour. Hours between the last one and this are unknown; those that would lie after it
    /// are forgotten.
    pub fn record(&mut self, hour: u64, requests: u64) {
        self.end_with(hour);
        self.counts[place(hour)] = u32::try_from(requests).unwrap_or(UNKNOWN - 1).min(UNKNOWN - 1);
    }

    /// Goes on to the last hour of `served`, in which a known hour is one that this node was up for: the tenant, of which
    /// nothing was heard since, had no requests in those.
    pub fn catch_up(&mut self, served: &Self) {
        let after = self.newest.saturating_add(1);
        self.end_with(served.newest);
        for hour in after.max(oldest(served.newest))..=served.newest {
            if served.known(hour).is_some() {
                self.counts[place(hour)] = 0;
            }
        }
    }

    /// What is usual per minute for the hour `at` of the wall clock: the larger of the mean of all known hours before it and
    /// the median of those at the same time of day. Where the clock's time of day cannot be trusted, the largest median of
    /// any time of day takes its place: nothing is called unusual that would not be at its usual time. `None` while a day's
    /// worth of hours is not known.
    #[must_use]
    pub fn norm_per_minute(&self, at: u64, trust_time_of_day: bool) -> Option<f64> {
        let (mut sum, mut known) = (0, 0);
        let mut by_time_of_day = <[Vec<u64>; 24]>::default();
        for hour in oldest(at.saturating_sub(1))..at {
            let Some(count) = self.known(hour) else { continue };
            sum += count;
            known += 1;
            by_time_of_day[time_of_day(hour)].push(count);
        }
        if known < LEAST_KNOWN {
            return None;
        }
        let mean = sum as f64 / known as f64;
        let usual = match trust_time_of_day {
            true => median(&mut by_time_of_day[time_of_day(at)]),
            false => by_time_of_day
                .iter_mut()
                .filter_map(|counts| median(counts))
                .reduce(f64::max),
        };
        Some(usual.map_or(mean, |usual| usual.max(mean)) / MINUTES_PER_HOUR)
    }

    /// As it is kept on disk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let counts = self.counts.iter().flat_map(|count| count.to_le_bytes());
        self.newest.to_le_bytes().into_iter().chain(counts).collect()
    }

    /// `None` for what was not made by [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != ENCODED {
            return None;
        }
        let (newest, encoded) = bytes.split_first_chunk()?;
        let mut counts = Box::new([UNKNOWN; HOURS]);
        for (count, four) in counts.iter_mut().zip(encoded.as_chunks().0) {
            *count = u32::from_le_bytes(*four);
        }
        Some(Self {
            newest: u64::from_le_bytes(*newest),
            counts,
        })
    }

    /// Requests of that hour, if they are known.
    fn known(&self, hour: u64) -> Option<u64> {
        let held = hour <= self.newest && hour >= oldest(self.newest);
        let count = self.counts[place(hour)];
        (held && count != UNKNOWN).then_some(u64::from(count))
    }

    /// Moves the end to `hour`, either way.
    fn end_with(&mut self, hour: u64) {
        let (first, last) = if hour > self.newest {
            (self.newest.saturating_add(1).max(oldest(hour)), hour)
        } else {
            // What stood at the places of these older hours is unknown by now, and those after `hour` are no more.
            (hour.saturating_add(1).max(oldest(self.newest)), self.newest)
        };
        for passed in first..=last {
            self.counts[place(passed)] = UNKNOWN;
        }
        self.newest = hour;
    }
}

/// The first hour of a ring that ends with `newest`.
const fn oldest(newest: u64) -> u64 {
    newest.saturating_sub(HOURS as u64 - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below 168")]
const fn place(hour: u64) -> usize {
    (hour % HOURS as u64) as usize
}

const fn time_of_day(hour: u64) -> usize {
    (hour % HOURS_OF_DAY) as usize
}

/// The middle one, or the mean of the two in the middle.
fn median(counts: &mut [u64]) -> Option<f64> {
    counts.sort_unstable();
    let upper = *counts.get(counts.len() / 2)?;
    let lower = *counts.get((counts.len() - 1) / 2)?;
    Some(f64::midpoint(lower as f64, upper as f64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Some Monday, 0:00.
    const START: u64 = 489_000;

    fn ring(hours: impl IntoIterator<Item = (u64, u64)>) -> HourRing {
        let mut ring = HourRing::unknown_until(START - 1);
        for (hour, requests) in hours {
            ring.record(START + hour, requests);
        }
        ring
    }

    #[test]
    fn the_norm_is_the_larger_of_the_mean_and_the_usual_at_that_hour() {
        let same = |hours, requests| ring((0..hours).map(|hour| (hour, requests)));
        // 600 an hour at 9:00, 60 at all others.
        let office = ring((0..72).map(|hour| (hour, if hour % 24 == 9 { 600 } else { 60 })));
        let cases = [
            ("a day is not over", same(23, 600), 23, None),
            ("all hours alike", same(24, 600), 24, Some(10.0)),
            ("nothing", same(24, 0), 24, Some(0.0)),
            ("the hour that is usually busy", office.clone(), 72 + 9, Some(10.0)),
            ("one that is not", office.clone(), 72 + 10, Some(82.5 / 60.0)),
            ("the clock shows last week", office.clone(), 5, None),
            ("the clock shows next year", office, 9_000, None),
            // One busy day among three is not usual for its hours.
            (
                "one busy day",
                ring((0..72).map(|hour| (hour, if hour == 9 { 6_000 } else { 60 }))),
                72 + 9,
                Some((71.0 * 60.0 + 6_000.0) / 72.0 / 60.0),
            ),
            (
                "every other hour is known",
                ring((0..24).map(|hour| (hour * 2, 60))),
                48,
                Some(1.0),
            ),
        ];
        for (name, ring, at, expected) in cases {
            assert_eq!(ring.norm_per_minute(START + at, true), expected, "{name}");
        }
    }

    #[test]
    fn a_clock_whose_time_of_day_is_wrong_makes_no_usual_hour_unusual() {
        let office = ring((0..72).map(|hour| (hour, if hour % 24 == 9 { 6_000 } else { 60 })));
        for shift in 0..24 {
            assert_eq!(
                office.norm_per_minute(START + 72 + shift, false),
                Some(100.0),
                "{shift}"
            );
        }
        assert_eq!(office.norm_per_minute(START + 9_000, false), None);
    }

    #[test]
    fn hours_without_the_process_are_unknown_and_idle_ones_are_zero() {
        let mut served = HourRing::unknown_until(START - 1);
        // Down in the hours 12 to 17.
        for hour in (0..12).chain(18..48) {
            served.record(START + hour, 0);
        }
        let mut busy_at_first = ring((0..6).map(|hour| (hour, 420)));
        busy_at_first.catch_up(&served);
        assert_eq!(busy_at_first.newest(), START + 47);
        let mean = 6.0 * 420.0 / 42.0;
        assert_eq!(busy_at_first.norm_per_minute(START + 48 + 12, true), Some(mean / 60.0));
        assert_eq!(
            (busy_at_first.known(START + 13), busy_at_first.known(START + 20)),
            (None, Some(0))
        );
    }

    #[test]
    fn what_is_kept_on_disk_reads_back_and_nothing_else_does() {
        let ring = ring((0..200).map(|hour| (hour, hour * 1_000_000_000)));
        let bytes = ring.to_bytes();
        assert_eq!(HourRing::from_bytes(&bytes), Some(ring));
        assert_eq!(HourRing::from_bytes(&bytes[1..]), None);
        assert_eq!(HourRing::from_bytes(&[]), None);
    }

    #[test]
    fn the_ends_of_time_are_hours_like_others() {
        let mut ring = HourRing::unknown_until(u64::MAX);
        ring.record(0, 1);
        ring.record(u64::MAX, 2);
        assert_eq!((ring.known(0), ring.known(u64::MAX)), (None, Some(2)));
        ring.catch_up(&HourRing::unknown_until(3));
        assert_eq!(ring.norm_per_minute(u64::MAX, true), None);
    }

    proptest! {
        #[test]
        fn a_ring_is_a_map_of_the_last_week_whatever_the_clock_does(
            hours in proptest::collection::vec((0_u64..700, 0_u64..100), 1..60),
        ) {
            let mut ring = HourRing::unknown_until(0);
            let mut model = BTreeMap::new();
            for (hour, requests) in hours {
                ring.record(hour, requests);
                model.retain(|known, _| *known < hour && known + HOURS as u64 > hour);
                model.insert(hour, requests);
                for probe in 0..900 {
                    prop_assert_eq!(ring.known(probe), model.get(&probe).copied(), "{} after {}", probe, hour);
                }
            }
        }
    }
}
