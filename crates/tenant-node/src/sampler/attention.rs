//! Who is sampled in a round: the busiest, those that need another look, and some of the others in turn.
//!
//! So a round costs the same however many tenants there are, and each of them is seen after as many rounds as it takes to come
//! around. Pure.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use tenantry_types::TenantUid;

/// Of those that need another look, and of the others, so many in a round.
pub(super) const TURN: usize = 1_000;

/// Tenants, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Attention {
    known: BTreeSet<TenantUid>,
    watched: BTreeSet<TenantUid>,
    last_known: Option<TenantUid>,
    last_watched: Option<TenantUid>,
}

impl Attention {
    /// From now on the tenant has its turns.
    pub(super) fn know(&mut self, uid: TenantUid) {
        self.known.insert(uid);
    }

    /// Whether the tenant needs another look.
    pub(super) fn watch(&mut self, uid: TenantUid, needed: bool) {
        if needed {
            self.know(uid);
            self.watched.insert(uid);
        } else {
            self.watched.remove(&uid);
        }
    }

    pub(super) fn forget(&mut self, uid: TenantUid) {
        self.known.remove(&uid);
        self.watched.remove(&uid);
    }

    /// How many have turns.
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    /// Whom to sample now: `busiest`, and `turn` of the others.
    pub(super) fn choose(&mut self, busiest: impl IntoIterator<Item = TenantUid>, turn: usize) -> BTreeSet<TenantUid> {
        let mut chosen: BTreeSet<_> = busiest.into_iter().collect();
        chosen.extend(in_turn(&self.watched, &mut self.last_watched, TURN));
        chosen.extend(in_turn(&self.known, &mut self.last_known, turn));
        chosen
    }
}

/// The next `most` after `last`.
pub(super) fn in_turn(all: &BTreeSet<TenantUid>, last: &mut Option<TenantUid>, most: usize) -> Vec<TenantUid> {
    let after = all.range((last.map_or(Unbounded, Excluded), Unbounded));
    let before = last.iter().flat_map(|last| all.range(..=*last));
    let next: Vec<_> = after.chain(before).take(most).copied().collect();
    *last = next.last().copied().or(*last);
    next
}

/// How many of the others have their turn in a round. More than usual where they would otherwise be seen less than twice in
/// the time that growth is measured over.
pub(super) fn turn(known: usize, interval: Duration, growth_window: Duration) -> usize {
    let rounds = growth_window.as_millis() / 2 / interval.as_millis().max(1);
    let needed = (known as u128).div_ceil(rounds.max(1));
    usize::try_from(needed).unwrap_or(usize::MAX).max(TURN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u128) -> TenantUid {
        TenantUid::from_u128(number)
    }

    fn attention(known: u128) -> Attention {
        let mut attention = Attention::default();
        (1..=known).for_each(|number| attention.know(uid(number)));
        attention
    }

    #[test]
    fn everybody_has_a_turn_and_the_watched_and_the_busiest_have_each() {
        let mut attention = attention(95);
        attention.watch(uid(50), true);
        let mut seen = BTreeSet::new();
        for round in 0..10 {
            let chosen = attention.choose([uid(77)], 10);
            assert!(
                chosen.len() <= 12 && chosen.contains(&uid(50)) && chosen.contains(&uid(77)),
                "{round}"
            );
            seen.extend(chosen);
        }
        assert_eq!(seen.len(), 95);
        attention.watch(uid(50), false);
        attention.forget(uid(3));
        let rounds: Vec<_> = (0..10).map(|_| attention.choose([], 10)).collect();
        assert_eq!(rounds.iter().filter(|chosen| chosen.contains(&uid(50))).count(), 1);
        assert!(rounds.iter().all(|chosen| !chosen.contains(&uid(3))));
    }

    #[test]
    fn a_round_has_an_upper_bound_whatever_happens() {
        let mut attention = attention(5_000);
        (1..=5_000).for_each(|number| attention.watch(uid(number), true));
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let chosen = attention.choose((1..=256).map(uid), TURN);
            assert!(chosen.len() <= 256 + 2 * TURN);
            seen.extend(chosen);
        }
        assert_eq!(seen.len(), 5_000, "those that need another look have turns, too");
    }

    #[test]
    fn turns_are_longer_only_where_growth_would_not_be_seen() {
        let (interval, window) = (Duration::from_secs(10), Duration::from_secs(7_200));
        let cases = [(0, 1_000), (10_000, 1_000), (360_000, 1_000), (720_000, 2_000)];
        for (known, expected) in cases {
            assert_eq!(turn(known, interval, window), expected, "{known}");
        }
        assert_eq!(turn(50, Duration::from_secs(60), Duration::from_secs(1)), TURN);
        assert_eq!(turn(5_000, Duration::from_secs(60), Duration::from_secs(1)), 5_000);
    }
}
