//! The whole state as a stream of length-delimited records, so that neither side ever holds all of it encoded.

use std::io::{ErrorKind, Read, Write};

use prost::Message;
use tenantry_proto::internal::v1 as wire;
use tenantry_proto::internal::v1::snapshot_record::Record as Wire;
use tenantry_state::{Record, Restorer, State};

use super::record::{Part, from_wire, to_wire};
use super::{DecodeError, EncodeError};
use crate::mutants::{Mutant, mutated};

/// The version that this binary writes, and the only one that it reads.
pub const SNAPSHOT_VERSION: u32 = 1;

/// No record is larger, its length apart. The largest real ones, tenants with all labels and domains, take some 20 KiB.
pub const MAX_RECORD_BYTES: usize = 256 << 10;

/// Writes the state. Makes many small writes: pass a buffered writer, and flush it.
///
/// # Errors
/// When the writer fails, or a record is larger than a reader would accept.
pub fn write_state(state: &State, to: &mut dyn Write) -> Result<(), EncodeError> {
    let mut buffer = Vec::new();
    let mut counts = Counts::default();
    for record in state.records() {
        counts.add(&record);
        write_record(to_wire(&record), &mut buffer, to)?;
    }
    write_record(Wire::End(counts.into_end(state.digest())), &mut buffer, to)
}

fn write_record(record: Wire, buffer: &mut Vec<u8>, to: &mut dyn Write) -> Result<(), EncodeError> {
    let message = wire::SnapshotRecord { record: Some(record) };
    let bytes = message.encoded_len();
    if bytes > MAX_RECORD_BYTES {
        return Err(EncodeError::RecordTooLarge {
            bytes,
            limit: MAX_RECORD_BYTES,
        });
    }
    buffer.clear();
    prost::encoding::encode_varint(bytes as u64, buffer);
    message.encode_raw(buffer);
    Ok(to.write_all(buffer)?)
}

/// Reads a state, up to its end record and not a byte further. Makes many small reads: pass a buffered reader.
///
/// # Errors
/// When the stream is cut off or damaged, was written by a newer binary, or is not the state that was written.
pub fn read_state(from: &mut dyn Read) -> Result<State, DecodeError> {
    let mut buffer = Vec::new();
    let mut counts = Counts::default();
    let mut restorer = Restorer::new();
    loop {
        let records = counts.total();
        read_record(from, &mut buffer, records)?;
        let message = wire::SnapshotRecord::decode(buffer.as_slice())?;
        let known = message.encoded_len();
        let record = message.record.ok_or(DecodeError::UnknownRecord)?;
        if known != buffer.len() {
            return Err(DecodeError::UnknownField);
        }
        match from_wire(record)? {
            Part::Record(record) => {
                counts.add(&record);
                if !is_forgotten(&record) {
                    restorer.add(record)?;
                }
            }
            Part::End(end) => {
                counts.compare(&end)?;
                let state = restorer.finish()?;
                let (found, written) = (state.digest(), end.state_digest);
                let forgets = mutated(Mutant::RequestsNotRestored) || mutated(Mutant::KeysNotRestored);
                if found != written && !forgets {
                    return Err(DecodeError::DigestMismatch { found, written });
                }
                return Ok(state);
            }
        }
    }
}

/// What a restored state lacks: nothing.
fn is_forgotten(record: &Record) -> bool {
    match record {
        Record::Request(_) => mutated(Mutant::RequestsNotRestored),
        Record::Key(_) => mutated(Mutant::KeysNotRestored),
        _ => false,
    }
}

fn read_record(from: &mut dyn Read, buffer: &mut Vec<u8>, records: u64) -> Result<(), DecodeError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => DecodeError::Truncated { records },
        _ => DecodeError::Io(error),
    };
    let bytes = read_length(from).map_err(failed)?;
    let length = usize::try_from(bytes)
        .ok()
        .filter(|length| *length <= MAX_RECORD_BYTES)
        .ok_or(DecodeError::RecordTooLarge {
            bytes,
            limit: MAX_RECORD_BYTES,
        })?;
    buffer.clear();
    buffer.resize(length, 0);
    from.read_exact(buffer).map_err(failed)
}

/// A length as a base-128 varint. One that goes on for too long comes out too large for any record.
fn read_length(from: &mut dyn Read) -> std::io::Result<u64> {
    let mut length: u64 = 0;
    for shift in (0..=28).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let [byte] = byte;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Ok(u64::MAX)
}

/// How many records of each table there were.
#[derive(Debug, Default)]
struct Counts {
    tenants: u64,
    nodes: u64,
    events: u64,
    cursors: u64,
    requests: u64,
    keys: u64,
}

impl Counts {
    fn add(&mut self, record: &Record) {
        let count = match record {
            Record::Head { .. } => return,
            Record::Tenant(_) => &mut self.tenants,
            Record::Node(_) => &mut self.nodes,
            Record::Event(_) => &mut self.events,
            Record::Cursor(..) => &mut self.cursors,
            Record::Request(_) => &mut self.requests,
            Record::Key(_) => &mut self.keys,
        };
        *count += 1;
    }

    const fn total(&self) -> u64 {
        self.tenants + self.nodes + self.events + self.cursors + self.requests + self.keys
    }

    const fn into_end(self, state_digest: u64) -> wire::SnapshotEnd {
        wire::SnapshotEnd {
            tenants: self.tenants,
            nodes: self.nodes,
            events: self.events,
            cursors: self.cursors,
            requests: self.requests,
            signing_keys: self.keys,
            state_digest,
        }
    }

    fn compare(&self, end: &wire::SnapshotEnd) -> Result<(), DecodeError> {
        let tables = [
            ("tenants", self.tenants, end.tenants),
            ("nodes", self.nodes, end.nodes),
            ("events", self.events, end.events),
            ("report cursors", self.cursors, end.cursors),
            ("kept answers", self.requests, end.requests),
            ("signing keys", self.keys, end.signing_keys),
        ];
        match tables.into_iter().find(|(_, found, written)| found != written) {
            None => Ok(()),
            Some((table, found, written)) => Err(DecodeError::CountMismatch { table, found, written }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_state::strategies::{every_command_once, histories, replay};

    use super::*;

    fn written(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_state(state, &mut bytes).unwrap();
        bytes
    }

    /// Compared after every command, so that what one leaves behind cannot be hidden by the next.
    #[test]
    fn what_each_kind_of_command_leaves_behind_is_there_after_a_restore() {
        let history = every_command_once();
        for length in 0..=history.len() {
            let state = replay(&history[..length]);
            let restored = read_state(&mut written(&state).as_slice()).unwrap();
            assert_eq!(restored, state, "after {:?}", history[..length].last());
            assert_eq!(restored.digest(), state.digest());
        }
    }

    #[test]
    fn what_follows_the_end_is_left_in_the_stream() {
        let mut bytes = written(&replay(&every_command_once()));
        bytes.extend(b"rest");
        let mut stream = bytes.as_slice();
        read_state(&mut stream).unwrap();
        assert_eq!(stream, b"rest");
    }

    #[test]
    fn a_record_that_claims_to_be_huge_is_refused_before_it_is_read() {
        for bytes in [&[0x81_u8, 0x80, 0x10][..], &[0xff; 12], &[0xff, 0xff, 0xff, 0xff, 0x7f]] {
            let error = read_state(&mut { bytes }).unwrap_err();
            assert!(matches!(error, DecodeError::RecordTooLarge { .. }), "{error}");
        }
    }

    #[test]
    fn a_record_that_is_missing_is_noticed() {
        let history = every_command_once();
        let state = replay(&history);
        let mut buffer = Vec::new();
        let mut bytes = Vec::new();
        let without_keys = state.records().filter(|record| !matches!(record, Record::Key(_)));
        for record in without_keys {
            write_record(to_wire(&record), &mut buffer, &mut bytes).unwrap();
        }
        let mut counts = Counts::default();
        state.records().for_each(|record| counts.add(&record));
        let mut end = counts.into_end(state.digest());
        let with_end = |end: wire::SnapshotEnd| {
            let mut stream = bytes.clone();
            write_record(Wire::End(end), &mut Vec::new(), &mut stream).unwrap();
            read_state(&mut stream.as_slice()).unwrap_err()
        };
        assert!(matches!(
            with_end(end),
            DecodeError::CountMismatch {
                table: "signing keys",
                ..
            }
        ));
        end.signing_keys = 0;
        assert!(matches!(with_end(end), DecodeError::DigestMismatch { .. }));
    }

    #[test]
    fn a_state_of_a_newer_binary_is_refused() {
        let mut newer_kind = Vec::new();
        // A record of three bytes: field 99, of length 0.
        newer_kind.extend([3, 0x9a, 0x06, 0x00]);
        assert!(matches!(
            read_state(&mut newer_kind.as_slice()).unwrap_err(),
            DecodeError::UnknownRecord
        ));
        let mut newer_version = Vec::new();
        let Wire::Head(head) = to_wire(&State::new().records().next().unwrap()) else {
            panic!("the head comes first");
        };
        let head = wire::SnapshotHead { version: 2, ..head };
        write_record(Wire::Head(head), &mut Vec::new(), &mut newer_version).unwrap();
        assert!(matches!(
            read_state(&mut newer_version.as_slice()).unwrap_err(),
            DecodeError::UnknownVersion { found: 2, known: 1 }
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn every_state_reads_back(history in histories(0..60)) {
            let state = replay(&history);
            let restored = read_state(&mut written(&state).as_slice()).unwrap();
            prop_assert_eq!(restored.digest(), state.digest());
            prop_assert_eq!(restored, state);
        }

        #[test]
        fn a_state_that_is_cut_off_is_refused(
            history in histories(0..30),
            position in any::<proptest::sample::Index>(),
        ) {
            let bytes = written(&replay(&history));
            let cut = position.index(bytes.len());
            let error = read_state(&mut &bytes[..cut]).unwrap_err();
            let is_truncated = matches!(error, DecodeError::Truncated { .. });
            prop_assert!(is_truncated, "{}", error);
        }

        #[test]
        fn a_damaged_state_is_refused_or_is_the_same(
            history in histories(0..30),
            position in any::<proptest::sample::Index>(),
            bits in 1..=u8::MAX,
        ) {
            let state = replay(&history);
            let mut bytes = written(&state);
            let position = position.index(bytes.len());
            bytes[position] ^= bits;
            if let Ok(restored) = read_state(&mut bytes.as_slice()) {
                prop_assert_eq!(restored, state);
            }
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_state(&mut bytes.as_slice());
        }
    }
}
