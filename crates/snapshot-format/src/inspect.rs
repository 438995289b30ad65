//! What can be told of a snapshot file without applying it. Reads it to the end and verifies every checksum and count.
//!
//! The digest is the one that was written: only who builds the state, as a restore does, can compute it again.

use std::io::Read;

use tenantry_proto::internal::v1::snapshot_record::Record;
use tenantry_proto::internal::v1::{SnapshotFileHeader, SnapshotHead};

use crate::file::{FORMAT, FileError, FileReader};
use crate::record::{Counts, ReadRecordError, read_record};

/// A whole, undamaged snapshot file.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The version of the frame.
    pub format: u16,
    /// Position, members and the cluster's fingerprint.
    pub header: SnapshotFileHeader,
    /// What is there once: revision, clock, cluster, tiers.
    pub head: SnapshotHead,
    /// Rows of each table.
    pub counts: Counts,
    /// Bytes of state, without the frame.
    pub state_bytes: u64,
    /// The digest of the state, as its writer computed it.
    pub state_digest: u64,
}

/// Why a file is not a whole snapshot.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The frame does not check.
    #[error(transparent)]
    File(#[from] FileError),
    /// The frame checks, and what it holds is not a state. Written by another version, or by nobody of ours.
    #[error("the snapshot does not hold a state")]
    Record(#[from] ReadRecordError),
    /// A record is not where it belongs.
    #[error("the snapshot does not hold a state: {0}")]
    OutOfPlace(&'static str),
}

/// Reads a file to its end. Makes small reads: pass a buffered reader.
///
/// # Errors
/// When anything does not check.
pub fn inspect(input: impl Read) -> Result<Summary, InspectError> {
    let (header, mut reader) = FileReader::new(input)?;
    let mut buffer = Vec::new();
    let mut counts = Counts::default();
    let mut head = None;
    let end = loop {
        match read_record(&mut reader, &mut buffer, counts.total()).map_err(of_file)? {
            Record::Head(_) if head.is_some() => return Err(InspectError::OutOfPlace("a second head")),
            Record::Head(found) => head = Some(found),
            Record::End(end) => break end,
            _ if head.is_none() => return Err(InspectError::OutOfPlace("a row before the head")),
            row => counts.add(&row),
        }
    };
    counts.compare(&end)?;
    let state_bytes = reader.body_bytes();
    // Nothing may follow; and the trailer is checked only here.
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).map_err(FileError::from)?;
    if !rest.is_empty() {
        return Err(InspectError::OutOfPlace("something after the end"));
    }
    Ok(Summary {
        format: FORMAT,
        header,
        head: head.ok_or(InspectError::OutOfPlace("no head"))?,
        counts,
        state_bytes,
        state_digest: end.state_digest,
    })
}

/// A stream that breaks within a record is a matter of the file.
fn of_file(error: ReadRecordError) -> InspectError {
    match error {
        ReadRecordError::Io(source) => FileError::from(source).into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tenantry_proto::internal::v1::ReportCursor;

    use super::*;
    use crate::file::FileWriter;
    use crate::record::write_record;

    fn cursor() -> Record {
        Record::Cursor(ReportCursor::default())
    }

    fn end(cursors: u64) -> Record {
        let counts = Counts {
            cursors,
            ..Counts::default()
        };
        Record::End(counts.into_end(77))
    }

    fn file(records: Vec<Record>, after: &[u8]) -> Vec<u8> {
        let header = SnapshotFileHeader {
            index: 5,
            ..SnapshotFileHeader::default()
        };
        let mut writer = FileWriter::new(Vec::new(), &header).unwrap();
        for record in records {
            write_record(record, &mut Vec::new(), &mut writer).unwrap();
        }
        writer.write_all(after).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn a_whole_file_is_summed_up() {
        let head = SnapshotHead {
            revision: 4,
            ..SnapshotHead::default()
        };
        let bytes = file(vec![Record::Head(head), cursor(), cursor(), end(2)], b"");
        let summary = inspect(bytes.as_slice()).unwrap();
        assert_eq!((summary.header.index, summary.head.revision), (5, 4));
        assert_eq!((summary.counts.cursors, summary.state_digest), (2, 77));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(inspect(damaged.as_slice()).is_err(), "{at}");
            assert!(inspect(&bytes[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn records_out_of_place_are_refused_though_all_checksums_hold() {
        let head = || Record::Head(SnapshotHead::default());
        for (records, after, expected) in [
            (vec![cursor(), head(), end(1)], &b""[..], "a row before the head"),
            (vec![head(), head(), end(0)], b"", "a second head"),
            (vec![end(0)], b"", "no head"),
            (vec![head(), end(0)], b"x", "something after the end"),
            (vec![head(), cursor(), end(2)], b"", "not hold a state"),
            (vec![head(), cursor()], b"", "not hold a state"),
        ] {
            let error = inspect(file(records, after).as_slice()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
