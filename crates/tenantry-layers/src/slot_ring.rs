//! A ring of equally long, clock-aligned time slots, for windows that slide.
//!
//! Slots that time has passed are emptied whenever the ring is touched, by a write or by a read: a quiet window does not
//! keep old figures. Time that goes back counts as standing still.

/// The last `N` slots, the present one included.
#[derive(Debug, Clone)]
pub(crate) struct SlotRing<T, const N: usize> {
    slot_millis: u64,
    /// The number of the newest slot: time divided by the slot's length.
    newest: u64,
    slots: Box<[T; N]>,
}

impl<T: Copy + Default, const N: usize> SlotRing<T, N> {
    /// # Panics
    /// Does not compile for `N` of zero. A `slot_millis` of zero is taken as one.
    pub(crate) fn new(slot_millis: u64) -> Self {
        const { assert!(N > 0) };
        Self {
            slot_millis: if slot_millis == 0 { 1 } else { slot_millis },
            newest: 0,
            slots: Box::new([T::default(); N]),
        }
    }

    /// Moves the window so that it ends with the slot of `at_millis`; `leave` is told of each slot that falls out.
    pub(crate) fn advance(&mut self, at_millis: u64, mut leave: impl FnMut(T)) {
        let target = at_millis / self.slot_millis;
        if target <= self.newest {
            return;
        }
        let steps = usize::try_from(target - self.newest).unwrap_or(N).min(N);
        for step in 0..steps {
            // Oldest first: they sit right after the newest.
            let index = self.index(self.newest.wrapping_add(1).wrapping_add(step as u64));
            if let Some(slot) = self.slots.get_mut(index) {
                leave(std::mem::take(slot));
            }
        }
        self.newest = target;
    }

    /// The present slot.
    pub(crate) fn newest_mut(&mut self) -> &mut T {
        let index = self.index(self.newest);
        &mut self.slots[index]
    }

    /// Slots with their numbers, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, T)> + '_ {
        let oldest = (self.newest + 1).saturating_sub(N as u64);
        (oldest..=self.newest).map(|number| (number, self.slots[self.index(number)]))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below N")]
    const fn index(&self, number: u64) -> usize {
        (number % N as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_holds_exactly_the_slots_of_its_window(
            steps in proptest::collection::vec((0_u64..40, 1_u64..5), 1..80),
        ) {
            let mut ring = SlotRing::<u64, 6>::new(10);
            let mut model = BTreeMap::<u64, u64>::new();
            let mut time = 0;
            let mut left = 0;
            for (step, add) in steps {
                time += step;
                ring.advance(time, |gone| left += gone);
                *ring.newest_mut() += add;
                *model.entry(time / 10).or_default() += add;
                let first = (time / 10 + 1).saturating_sub(6);
                let expected: Vec<_> = model.range(first..).map(|(n, v)| (*n, *v)).collect();
                let held: Vec<_> = ring.iter().filter(|(_, v)| *v > 0).collect();
                prop_assert_eq!(held, expected);
                prop_assert_eq!(left, model.range(..first).map(|(_, v)| *v).sum::<u64>());
            }
        }
    }

    #[test]
    fn time_that_goes_back_counts_into_the_newest_slot() {
        let mut ring = SlotRing::<u64, 3>::new(10);
        ring.advance(95, |_| ());
        ring.advance(5, |_| ());
        *ring.newest_mut() += 1;
        assert_eq!(ring.iter().collect::<Vec<_>>(), [(7, 0), (8, 0), (9, 1)]);
    }
}
