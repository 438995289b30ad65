//! The whole state as a stream of records, so that neither side ever holds all of it encoded.

use std::io::{Read, Write};

use snapshot_format::Counts;
use snapshot_format::record::{read_record, write_record};
use tenantry_proto::internal::v1::snapshot_record::Record as Wire;
use tenantry_state::{Restorer, State};

use super::record::{Part, from_wire, to_wire};
use super::{DecodeError, EncodeError};
use crate::mutants::{Mutant, mutated};

/// The version that this binary writes, and the only one that it reads.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Writes the state. Makes many small writes: pass a buffered writer, and flush it.
///
/// # Errors
/// When the writer fails, or a record is larger than a reader would accept.
pub fn write_state(state: &State, to: &mut dyn Write) -> Result<(), EncodeError> {
    let mut buffer = Vec::new();
    let mut counts = Counts::default();
    for record in state.records() {
        let record = to_wire(&record);
        counts.add(&record);
        write_record(record, &mut buffer, to)?;
    }
    Ok(write_record(
        Wire::End(counts.into_end(state.digest())),
        &mut buffer,
        to,
    )?)
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
        let record = read_record(from, &mut buffer, counts.total())?;
        counts.add(&record);
        match from_wire(record)? {
            Part::Record(record) => {
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
fn is_forgotten(record: &tenantry_state::Record) -> bool {
    use tenantry_state::Record;
    match record {
        Record::Request(_) => mutated(Mutant::RequestsNotRestored),
        Record::Key(_) => mutated(Mutant::KeysNotRestored),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snapshot_format::ReadRecordError;
    use tenantry_proto::internal::v1 as wire;
    use tenantry_state::apply;
    use tenantry_state::strategies::{every_command_once, histories, replay};
    use tenantry_types::Revision;

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

    /// The answer is asked for by `apply` itself: a restored member must neither forget it nor run the command again.
    #[test]
    fn every_request_is_answered_the_same_after_a_restore() {
        let history = every_command_once();
        let mut state = State::new();
        let mut answers = Vec::new();
        for (index, envelope) in (1_u64..).zip(&history) {
            answers.push(apply(&mut state, Revision(index), envelope.clone()).outcome);
        }
        let mut restored = read_state(&mut written(&state).as_slice()).unwrap();
        for (envelope, answer) in history.into_iter().zip(answers) {
            assert!(envelope.request.is_some(), "{envelope:?}");
            let next = restored.revision().next();
            let again = apply(&mut restored, next, envelope);
            assert_eq!(again.outcome, answer);
            assert!(again.changes.is_empty());
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
            assert!(
                matches!(error, DecodeError::Record(ReadRecordError::TooLarge { .. })),
                "{error}"
            );
        }
    }

    #[test]
    fn a_record_that_is_missing_is_noticed() {
        let history = every_command_once();
        let state = replay(&history);
        let mut buffer = Vec::new();
        let mut bytes = Vec::new();
        let mut counts = Counts::default();
        for record in state.records().map(|record| to_wire(&record)) {
            counts.add(&record);
            if !matches!(record, Wire::SigningKey(_)) {
                write_record(record, &mut buffer, &mut bytes).unwrap();
            }
        }
        let mut end = counts.into_end(state.digest());
        let with_end = |end: wire::SnapshotEnd| {
            let mut stream = bytes.clone();
            write_record(Wire::End(end), &mut Vec::new(), &mut stream).unwrap();
            read_state(&mut stream.as_slice()).unwrap_err()
        };
        assert!(matches!(
            with_end(end),
            DecodeError::Record(ReadRecordError::CountMismatch {
                table: "signing keys",
                ..
            })
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
            DecodeError::Record(ReadRecordError::UnknownRecord)
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
            let is_truncated = matches!(error, DecodeError::Record(ReadRecordError::Truncated { .. }));
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
