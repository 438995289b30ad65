//! A hash over the content of the state, kept up to date one row at a time.
//!
//! The digest is the XOR of one hash per row: replacing a row takes its old hash out and puts the new one in, in any
//! order. What is hashed is written out field by field, so that neither the compiler's version nor the platform has a
//! say. Rows of different tables never hash alike, since each starts with its table's tag.

mod answer_rows;
mod event_rows;
mod rows;

use tenantry_types::{EventSequence, Reactions, Revision, UnixMillis};

use crate::{ClusterInfo, Tiers};

/// XOR over the hashes of all rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ContentDigest(u64);

impl ContentDigest {
    /// Puts a row in, or takes it out if it is in.
    pub(crate) fn toggle(&mut self, row: &impl Feed) {
        let mut hasher = Hasher::new();
        row.feed(&mut hasher);
        self.0 ^= hasher.finish();
    }

    /// The digest of the whole state: the rows and what is there once.
    pub(crate) fn sealed(
        self,
        revision: Revision,
        clock: UnixMillis,
        last_event: EventSequence,
        cluster: Option<&ClusterInfo>,
        tiers: &Tiers,
        reactions: &Reactions,
    ) -> u64 {
        let mut hasher = Hasher::new();
        hasher.word(self.0);
        hasher.word(revision.get());
        hasher.word(clock.0);
        hasher.word(last_event.get());
        hasher.option(cluster, |hasher, cluster| cluster.feed(hasher));
        hasher.list(tiers.iter());
        // What is as in the beginning is hashed as nothing, as it was before there were switches.
        if *reactions != Reactions::default() {
            reactions.feed(&mut hasher);
        }
        hasher.finish()
    }
}

/// Something that can be hashed field by field.
pub(crate) trait Feed {
    fn feed(&self, hasher: &mut Hasher);
}

/// FNV-1a over 64 bits, with the last bits mixed into the first ones.
#[derive(Debug)]
pub(crate) struct Hasher(u64);

impl Hasher {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    pub(crate) fn word(&mut self, word: u64) {
        word.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    /// The last field of a row, which rows of earlier versions lack: zero is hashed as nothing, as they were.
    pub(crate) fn later_word(&mut self, word: u64) {
        if word != 0 {
            self.word(word);
        }
    }

    pub(crate) fn wide(&mut self, wide: u128) {
        wide.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    pub(crate) fn float(&mut self, float: f64) {
        self.word(float.to_bits());
    }

    /// Length first, so that `ab`,`c` and `a`,`bc` differ.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, option: Option<T>, some: impl FnOnce(&mut Self, T)) {
        match option {
            None => self.byte(0),
            Some(value) => {
                self.byte(1);
                some(self, value);
            }
        }
    }

    pub(crate) fn list<'a, T: Feed + 'a>(&mut self, items: impl Iterator<Item = &'a T>) {
        let mut count: u64 = 0;
        for item in items {
            item.feed(self);
            count += 1;
        }
        self.word(count);
    }

    /// Spreads every bit over all others, so that the XOR of many rows keeps what each says.
    const fn finish(self) -> u64 {
        let mut bits = self.0;
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        bits ^ (bits >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Feed for u64 {
        fn feed(&self, hasher: &mut Hasher) {
            hasher.word(*self);
        }
    }

    #[test]
    fn rows_can_be_put_in_and_taken_out_in_any_order() {
        let mut forward = ContentDigest::default();
        (0..100_u64).for_each(|row| forward.toggle(&row));
        let mut backward = ContentDigest::default();
        (0..101_u64).rev().for_each(|row| backward.toggle(&row));
        assert_ne!(forward, backward);
        backward.toggle(&100_u64);
        assert_eq!(forward, backward);
    }

    /// Members of two versions compare their digests: the hash of a given content must never change.
    #[test]
    fn the_hash_is_the_same_in_every_version() {
        let mut digest = ContentDigest::default();
        digest.toggle(&1_u64);
        assert_eq!(digest.0, 0x4a3a_3a4b_a652_3826, "{:#x}", digest.0);
    }
}
