//! The busiest tenants of a round, in bounded memory: the Space-Saving sketch of Metwally, Agrawal and El Abbadi ("Efficient
//! computation of frequent and top-k elements in data streams", ICDT 2005).
//!
//! It counts so many tenants. Another one takes the place of the one with the smallest count, and goes on from there: counts
//! are never too small, and too large by no more than was taken over. Every tenant whose weight is above the total over the
//! number of places has a place. Pure; the same additions in the same order give the same sketch.

use std::collections::{BTreeSet, HashMap};

use tenantry_types::TenantUid;

/// Weights of tenants.
#[derive(Debug)]
pub struct Busiest {
    places: usize,
    counts: HashMap<TenantUid, Count>,
    /// By count, then by uid, so that of equals always the same one gives way.
    order: BTreeSet<(u64, TenantUid)>,
    total: u64,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    count: u64,
    /// Of it, what may be others'.
    taken_over: u64,
}

impl Busiest {
    /// Counts at most `places` tenants, at least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            counts: HashMap::new(),
            order: BTreeSet::new(),
            total: 0,
        }
    }

    /// Adds to a tenant's weight.
    pub fn add(&mut self, uid: TenantUid, weight: u64) {
        if weight == 0 {
            return;
        }
        self.total = self.total.saturating_add(weight);
        let before = match self.counts.get(&uid) {
            Some(known) => {
                self.order.remove(&(known.count, uid));
                *known
            }
            None if self.counts.len() < self.places => Count {
                count: 0,
                taken_over: 0,
            },
            None => {
                let (count, smallest) = self.order.pop_first().unwrap_or((0, uid));
                self.counts.remove(&smallest);
                Count {
                    count,
                    taken_over: count,
                }
            }
        };
        let count = before.count.saturating_add(weight);
        self.counts.insert(uid, Count { count, ..before });
        self.order.insert((count, uid));
    }

    /// Those that have a place, the busiest first.
    pub fn tenants(&self) -> impl Iterator<Item = TenantUid> + '_ {
        self.order.iter().rev().map(|(_, uid)| *uid)
    }

    /// The least and the most that the weight of a tenant can be.
    #[must_use]
    pub fn bounds(&self, uid: TenantUid) -> (u64, u64) {
        match self.counts.get(&uid) {
            Some(Count { count, taken_over }) => (count - taken_over, *count),
            None if self.counts.len() < self.places => (0, 0),
            None => (0, self.order.first().map_or(0, |(count, _)| *count)),
        }
    }

    /// The weight of all.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.counts.clear();
        self.order.clear();
        self.total = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn uid(number: u64) -> TenantUid {
        TenantUid::from_u128(u128::from(number))
    }

    #[test]
    fn of_equals_the_same_one_always_gives_way() {
        let mut busiest = Busiest::new(3);
        for number in [5, 3, 4, 9] {
            busiest.add(uid(number), 1);
        }
        let kept: Vec<_> = busiest.tenants().collect();
        assert_eq!(kept, [uid(9), uid(5), uid(4)]);
        assert_eq!((busiest.bounds(uid(9)), busiest.bounds(uid(3))), ((1, 2), (0, 1)));
        busiest.clear();
        assert_eq!(
            (busiest.tenants().count(), busiest.total(), busiest.bounds(uid(9))),
            (0, 0, (0, 0))
        );
    }

    #[test]
    fn weights_at_the_end_of_the_range_do_not_wrap() {
        let mut busiest = Busiest::new(1);
        busiest.add(uid(1), u64::MAX);
        busiest.add(uid(2), u64::MAX);
        assert_eq!(busiest.bounds(uid(2)), (0, u64::MAX));
    }

    proptest! {
        #[test]
        fn everyone_above_the_mean_of_the_places_is_held_and_counts_are_bounds(
            places in 1_usize..20,
            added in proptest::collection::vec((0_u64..60, 0_u64..1_000), 0..400),
        ) {
            let mut busiest = Busiest::new(places);
            let mut exact = BTreeMap::new();
            for (number, weight) in &added {
                // Low numbers are much busier.
                let weight = weight * 200 / (number * number + 1);
                busiest.add(uid(*number), weight);
                *exact.entry(*number).or_insert(0) += weight;
            }
            let total: u64 = exact.values().sum();
            prop_assert_eq!(busiest.total(), total);
            let held: Vec<_> = busiest.tenants().collect();
            prop_assert!(held.len() <= places);
            for (number, weight) in &exact {
                let (least, most) = busiest.bounds(uid(*number));
                prop_assert!(least <= *weight && *weight <= most, "{} in {}..={}", weight, least, most);
                if *weight as u128 * places as u128 > u128::from(total) {
                    prop_assert!(held.contains(&uid(*number)));
                }
            }
            let mut again = Busiest::new(places);
            for (number, weight) in &added {
                again.add(uid(*number), weight * 200 / (number * number + 1));
            }
            prop_assert!(held == again.tenants().collect::<Vec<_>>());
        }
    }
}
