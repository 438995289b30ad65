//! How entries are packed: many small ones share a record, a large one is cut into parts.
//!
//! sled moves values of 128 KiB and more into files of their own, with extra syncs; so no value comes near that.

use bytes::Bytes;

use super::binary::{Input, Malformed, put_blob};
use super::{EntryKind, LogEntry, LogPosition};

/// No value is larger, in bytes, apart from its frame.
pub(super) const MAX_VALUE_BYTES: usize = 96 * 1024 - 256;

const PREFIX: u8 = b'e';

/// A run of entries that is stored together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Values under consecutive part numbers.
    pub(super) parts: Vec<Vec<u8>>,
}

/// The key of one part: sorted by first index, then part.
pub(super) fn key(first: u64, part: u16) -> [u8; 11] {
    let mut key = [PREFIX; 11];
    key[1..9].copy_from_slice(&first.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

/// All record keys start with this.
pub(super) const fn key_prefix() -> [u8; 1] {
    [PREFIX]
}

/// First index and part number of a key.
pub(super) fn parse_key(key: &[u8]) -> Result<(u64, u16), Malformed> {
    let (first, part) = match key {
        [PREFIX, rest @ ..] => rest.split_first_chunk().ok_or(Malformed("record key"))?,
        _ => return Err(Malformed("record key")),
    };
    let part = part.try_into().map_err(|_| Malformed("record key"))?;
    Ok((u64::from_be_bytes(*first), u16::from_be_bytes(part)))
}

/// Packs consecutive entries into as few records as the size limit allows.
pub(super) fn pack(entries: &[LogEntry]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut run: Option<(u64, u64, Vec<u8>)> = None;
    for entry in entries {
        let mut encoded = Vec::with_capacity(entry.data.len() + entry.context.len() + 17);
        put_entry(&mut encoded, entry);
        let index = entry.position.index;
        run = match run {
            Some((first, _, mut bytes)) if bytes.len() + encoded.len() <= MAX_VALUE_BYTES => {
                bytes.append(&mut encoded);
                Some((first, index, bytes))
            }
            other => {
                records.extend(other.map(cut));
                Some((index, index, encoded))
            }
        };
    }
    records.extend(run.map(cut));
    records
}

fn cut((first, last, bytes): (u64, u64, Vec<u8>)) -> Record {
    let parts = bytes.chunks(MAX_VALUE_BYTES).map(<[u8]>::to_vec).collect();
    Record { first, last, parts }
}

/// Reads the entries of a record from its joined parts.
pub(super) fn unpack(first: u64, bytes: &[u8]) -> Result<Vec<LogEntry>, Malformed> {
    let mut input = Input(bytes);
    let mut entries = Vec::new();
    let mut index = first;
    while !input.0.is_empty() {
        let term = input.u64()?;
        let kind = match input.u8()? {
            0 => EntryKind::Command,
            1 => EntryKind::Membership,
            _ => return Err(Malformed("entry kind")),
        };
        entries.push(LogEntry {
            position: LogPosition { index, term },
            kind,
            context: Bytes::copy_from_slice(input.blob()?),
            data: Bytes::copy_from_slice(input.blob()?),
        });
        index = index.checked_add(1).ok_or(Malformed("index"))?;
    }
    if entries.is_empty() {
        return Err(Malformed("record"));
    }
    Ok(entries)
}

fn put_entry(out: &mut Vec<u8>, entry: &LogEntry) {
    out.extend_from_slice(&entry.position.term.to_le_bytes());
    out.push(match entry.kind {
        EntryKind::Command => 0,
        EntryKind::Membership => 1,
    });
    put_blob(out, &entry.context);
    put_blob(out, &entry.data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_entries_read_back_and_no_value_is_too_large(
            first in 1..1_000_000_u64,
            sizes in proptest::collection::vec(prop_oneof![0..600_usize, 0..300_000_usize], 1..40),
        ) {
            let entries: Vec<LogEntry> = sizes.iter().zip(first..).map(|(size, index)| LogEntry {
                position: LogPosition { index, term: index / 3 },
                kind: if size % 7 == 0 { EntryKind::Membership } else { EntryKind::Command },
                context: Bytes::from(vec![1; size % 5]),
                data: Bytes::from(vec![2; *size]),
            }).collect();
            let mut read = Vec::new();
            for record in pack(&entries) {
                prop_assert!(record.parts.iter().all(|part| part.len() <= MAX_VALUE_BYTES));
                let mut unpacked = unpack(record.first, &record.parts.concat()).unwrap();
                prop_assert_eq!(unpacked.last().unwrap().position.index, record.last);
                read.append(&mut unpacked);
            }
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn arbitrary_records_never_panic(first: u64, bytes: Vec<u8>) {
            let _ = unpack(first, &bytes);
            let _ = parse_key(&bytes);
        }
    }

    #[test]
    fn keys_sort_by_index_then_part() {
        assert!(key(9, 3) < key(10, 0));
        assert!(key(10, 0) < key(10, 1));
        assert_eq!(parse_key(&key(77, 5)), Ok((77, 5)));
    }
}
