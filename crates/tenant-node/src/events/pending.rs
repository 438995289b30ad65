//! Which events wait, and which of them give way when there are too many. Pure: the events themselves are on disk.
//!
//! First those go that a newer one about the same has superseded, the oldest first: nothing is lost by that. Then the oldest
//! that are for the record only, then the oldest of the rest. What was handed out for delivery goes last, since it may be
//! known already.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

use tenantry_types::{Incarnation, ReportSequence};

use super::subject::{Key, Subject};

/// An event's place in the outbox; grows with every event.
pub(super) type Position = u64;

/// What is known of an event without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) incarnation: Incarnation,
    pub(super) sequence: ReportSequence,
    pub(super) key: Key,
    /// Only for the record.
    pub(super) info: bool,
    /// How many dropped events it tells of.
    pub(super) dropped: u64,
}

/// An event that gave way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Victim {
    pub(super) position: Position,
    pub(super) entry: Entry,
    /// Whether a newer event about the same is there.
    pub(super) superseded: bool,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entries: BTreeMap<Position, Entry>,
    newest: HashMap<Key, Position>,
    superseded: BTreeSet<Position>,
    /// Only for the record, and not superseded.
    info: BTreeSet<Position>,
    /// Up to here events were handed out and not acknowledged.
    handed_out: Position,
}

impl Pending {
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Adds the newest event.
    pub(super) fn push(&mut self, position: Position, entry: Entry) {
        self.entries.insert(position, entry);
        if let Some(older) = self.newest.insert(entry.key, position)
            && entry.key.1 != Subject::Dropped
        {
            self.info.remove(&older);
            self.superseded.insert(older);
        }
        if entry.info {
            self.info.insert(position);
        }
    }

    /// Something newer about that is known elsewhere.
    pub(super) fn supersede(&mut self, key: Key) {
        if let Some(older) = self.newest.remove(&key) {
            self.info.remove(&older);
            self.superseded.insert(older);
        }
    }

    pub(super) fn remove(&mut self, position: Position) -> Option<Entry> {
        let entry = self.entries.remove(&position)?;
        self.superseded.remove(&position);
        self.info.remove(&position);
        if self.newest.get(&entry.key) == Some(&position) {
            self.newest.remove(&entry.key);
        }
        Some(entry)
    }

    /// The newest event about that.
    pub(super) fn newest(&self, key: Key) -> Option<(Position, Entry)> {
        let position = *self.newest.get(&key)?;
        Some((position, *self.entries.get(&position)?))
    }

    /// Removes the event that is missed least; `None` when there is none.
    pub(super) fn give_way(&mut self) -> Option<Victim> {
        let later = (Excluded(self.handed_out), Unbounded);
        let droppable = |(_, entry): &(&Position, &Entry)| entry.key.1 != Subject::Dropped;
        let mut in_order = self.superseded.range(later).chain(self.info.range(later));
        let position = in_order
            .next()
            .copied()
            .or_else(|| self.entries.range(later).find(droppable).map(|(position, _)| *position))
            .or_else(|| self.entries.keys().next().copied())?;
        let superseded = self.superseded.contains(&position);
        let entry = self.remove(position)?;
        Some(Victim {
            position,
            entry,
            superseded,
        })
    }

    /// Those up to `position` may be known to the control plane from now on.
    pub(super) fn hand_out(&mut self, position: Position) {
        self.handed_out = self.handed_out.max(position);
    }

    pub(super) const fn is_handed_out(&self, position: Position) -> bool {
        position <= self.handed_out
    }

    /// The word on dropped events to which others can still be added.
    pub(super) fn growing_word_on_dropped(&self) -> Option<(Position, u64)> {
        let (position, entry) = self.newest((None, Subject::Dropped))?;
        (!self.is_handed_out(position)).then_some((position, entry.dropped))
    }

    /// Forgets the events of `incarnation` up to `sequence`, and all of earlier ones.
    pub(super) fn acknowledge(&mut self, incarnation: Incarnation, sequence: ReportSequence) {
        while let Some((position, entry)) = self.entries.first_key_value()
            && (entry.incarnation, entry.sequence) <= (incarnation, sequence)
        {
            let position = *position;
            self.remove(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_types::{Condition, QuotaKind, TenantUid};

    use super::*;

    fn entry(tenant: u128, subject: Subject, info: bool) -> Entry {
        Entry {
            incarnation: Incarnation(1),
            sequence: ReportSequence(1),
            key: (Some(TenantUid::from_u128(tenant)), subject),
            info,
            dropped: 0,
        }
    }

    fn hot(tenant: u128, raised: bool) -> Entry {
        entry(tenant, Subject::Condition(Condition::Hotspot), !raised)
    }

    fn crossed(tenant: u128) -> Entry {
        entry(tenant, Subject::Quota(QuotaKind::Database), false)
    }

    /// The order in which all of them give way; a superseded one is marked with `~`.
    fn order(entries: &[Entry], handed_out: Position) -> String {
        let mut pending = Pending::default();
        for (position, entry) in (1..).zip(entries) {
            pending.push(position, *entry);
        }
        pending.hand_out(handed_out);
        let victims = std::iter::from_fn(|| pending.give_way());
        let names = victims.map(|victim| format!("{}{}", if victim.superseded { "~" } else { "" }, victim.position));
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_superseded_gives_way_first_then_what_is_for_the_record_then_the_oldest() {
        let cases: [(&[Entry], Position, &str); 6] = [
            (&[hot(1, true), hot(1, false), hot(1, true)], 0, "~1 ~2 3"),
            (&[hot(1, true), hot(2, true), hot(1, false)], 0, "~1 3 2"),
            (&[crossed(1), hot(2, false), crossed(2)], 0, "2 1 3"),
            (&[hot(1, true), hot(2, true), hot(3, true)], 0, "1 2 3"),
            // What is under way goes last.
            (&[hot(1, true), hot(1, false), crossed(1), hot(1, true)], 2, "3 4 ~1 ~2"),
            (&[crossed(1), entry(1, Subject::Class, true)], 9, "1 2"),
        ];
        for (entries, handed_out, expected) in cases {
            assert_eq!(order(entries, handed_out), expected, "{entries:?}");
        }
    }

    #[test]
    fn words_on_dropped_events_do_not_supersede_each_other_and_grow_until_they_are_handed_out() {
        let word = |dropped| Entry {
            key: (None, Subject::Dropped),
            dropped,
            ..crossed(1)
        };
        let mut pending = Pending::default();
        pending.push(1, word(5));
        assert_eq!(pending.growing_word_on_dropped(), Some((1, 5)));
        pending.hand_out(1);
        assert_eq!(pending.growing_word_on_dropped(), None);
        pending.push(2, word(7));
        pending.push(3, hot(1, true));
        assert_eq!(pending.growing_word_on_dropped(), Some((2, 7)));
        assert_eq!(pending.give_way().map(|victim| victim.position), Some(3));
    }

    #[test]
    fn an_acknowledgement_covers_what_came_before_it() {
        let mut pending = Pending::default();
        let numbered = |incarnation, sequence| Entry {
            incarnation: Incarnation(incarnation),
            sequence: ReportSequence(sequence),
            ..hot(u128::from(sequence), true)
        };
        for (position, (incarnation, sequence)) in (1..).zip([(1, 8), (1, 9), (2, 1), (2, 2)]) {
            pending.push(position, numbered(incarnation, sequence));
        }
        for (incarnation, sequence, left) in [(1, 8, 3), (2, 1, 1), (1, 9, 1), (2, 9, 0)] {
            pending.acknowledge(Incarnation(incarnation), ReportSequence(sequence));
            assert_eq!(pending.len(), left);
        }
        assert_eq!(
            (pending.newest.len(), pending.info.len(), pending.superseded.len()),
            (0, 0, 0)
        );
    }
}
