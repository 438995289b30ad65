//! What can happen to a record that lies on the disk.

use super::disk::Values;

/// What happens to a record at rest. Records are counted in the order of their keys, modulo their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// One bit, modulo the record's length, changes.
    FlipBit {
        /// Which record.
        record: usize,
        /// Which bit.
        bit: usize,
    },
    /// Only so many bytes, modulo the record's length, remain.
    Truncate {
        /// Which record.
        record: usize,
        /// How many bytes.
        bytes: usize,
    },
    /// The record reads as zeroes.
    Zero {
        /// Which record.
        record: usize,
    },
    /// The record is gone.
    Lose {
        /// Which record.
        record: usize,
    },
    /// One record was written over another.
    Misdirect {
        /// Whose value.
        from: usize,
        /// Where it lies now.
        to: usize,
    },
}

pub(super) fn harm(values: &mut Values, damage: Damage) {
    let count = values.len().max(1);
    let key = |values: &Values, record: usize| values.keys().nth(record % count).cloned();
    let change = |values: &mut Values, record: usize, change: &dyn Fn(&mut Vec<u8>)| {
        if let Some(value) = values.values_mut().nth(record % count) {
            change(value);
        }
    };
    match damage {
        Damage::FlipBit { record, bit } => change(values, record, &|value| {
            let bit = bit % (8 * value.len().max(1));
            if let Some(byte) = value.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }),
        Damage::Truncate { record, bytes } => {
            change(values, record, &|value| value.truncate(bytes % value.len().max(1)))
        }
        Damage::Zero { record } => change(values, record, &|value| value.fill(0)),
        Damage::Lose { record } => {
            if let Some(key) = key(values, record) {
                values.remove(&key);
            }
        }
        Damage::Misdirect { from, to } => {
            let from = values.values().nth(from % count).cloned();
            if let (Some(value), Some(to)) = (from, key(values, to)) {
                values.insert(to, value);
            }
        }
    }
}
