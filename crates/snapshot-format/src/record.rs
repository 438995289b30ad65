//! Rows of the state as length-delimited records, so that neither side ever holds all of it encoded.

use std::io::{self, ErrorKind, Read, Write};

use prost::Message as _;
use tenantry_proto::internal::v1::snapshot_record::Record;
use tenantry_proto::internal::v1::{SnapshotEnd, SnapshotRecord};

/// No record is larger, its length apart. The largest real ones, tenants with all labels and domains, take some 20 KiB.
pub const MAX_RECORD_BYTES: usize = 256 << 10;

/// Why a record cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteRecordError {
    /// It is larger than any record may be: no reader would accept it.
    #[error("a record of {bytes} bytes is larger than the {limit} that one may have")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may.
        limit: usize,
    },
    /// The stream could not be written.
    #[error("writing the state failed")]
    Io(#[from] io::Error),
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadRecordError {
    /// Not the encoding of a record.
    #[error("not an encoded record")]
    Malformed(#[from] prost::DecodeError),
    /// Written by a binary that has more kinds of records.
    #[error("the kind of a snapshot record is not known to this binary: it needs a newer version")]
    UnknownRecord,
    /// Written by a binary that knows more fields; leaving them out would lose what they say.
    #[error("a record has fields that this binary does not know: it needs a newer version")]
    UnknownField,
    /// The stream could not be read.
    #[error("reading the state failed")]
    Io(#[source] io::Error),
    /// The stream ends before its end record.
    #[error("the state ends too early, after {records} records")]
    Truncated {
        /// How many complete records there were.
        records: u64,
    },
    /// A record claims to be larger than any record can be.
    #[error("a record of {bytes} bytes is larger than the {limit} that one may have")]
    TooLarge {
        /// What it claims.
        bytes: u64,
        /// What it may.
        limit: usize,
    },
    /// Fewer or more records came than were written.
    #[error("the state has {found} {table}, but was written with {written}")]
    CountMismatch {
        /// Of what.
        table: &'static str,
        /// What came.
        found: u64,
        /// What the end record says.
        written: u64,
    },
}

/// Writes one record; `buffer` is reused between calls. Makes small writes: pass a buffered writer, and flush it.
///
/// # Errors
/// When the writer fails, or the record is larger than a reader would accept.
pub fn write_record(record: Record, buffer: &mut Vec<u8>, to: &mut dyn Write) -> Result<(), WriteRecordError> {
    let message = SnapshotRecord { record: Some(record) };
    let bytes = message.encoded_len();
    if bytes > MAX_RECORD_BYTES {
        let limit = MAX_RECORD_BYTES;
        return Err(WriteRecordError::TooLarge { bytes, limit });
    }
    buffer.clear();
    prost::encoding::encode_varint(bytes as u64, buffer);
    message.encode_raw(buffer);
    Ok(to.write_all(buffer)?)
}

/// Reads one record; `buffer` is reused between calls, `records` is how many came before. Makes small reads: pass a
/// buffered reader.
///
/// # Errors
/// When the stream is cut off or damaged, or was written by a newer binary.
pub fn read_record(from: &mut dyn Read, buffer: &mut Vec<u8>, records: u64) -> Result<Record, ReadRecordError> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => ReadRecordError::Truncated { records },
        _ => ReadRecordError::Io(error),
    };
    let bytes = read_length(from).map_err(failed)?;
    let limit = MAX_RECORD_BYTES;
    let length = usize::try_from(bytes)
        .ok()
        .filter(|length| *length <= limit)
        .ok_or(ReadRecordError::TooLarge { bytes, limit })?;
    buffer.clear();
    buffer.resize(length, 0);
    from.read_exact(buffer).map_err(failed)?;
    let message = SnapshotRecord::decode(buffer.as_slice())?;
    let known = message.encoded_len();
    let record = message.record.ok_or(ReadRecordError::UnknownRecord)?;
    if known == buffer.len() {
        Ok(record)
    } else {
        Err(ReadRecordError::UnknownField)
    }
}

/// A length as a base-128 varint. One that goes on for too long comes out too large for any record.
fn read_length(from: &mut dyn Read) -> io::Result<u64> {
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

/// How many records of each table there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tenants, deleted or not.
    pub tenants: u64,
    /// Nodes.
    pub nodes: u64,
    /// Events.
    pub events: u64,
    /// Report cursors.
    pub cursors: u64,
    /// Kept answers, each under a request id.
    pub requests: u64,
    /// Signing keys.
    pub signing_keys: u64,
    /// Conditions that are raised.
    pub conditions: u64,
    /// Moves that are proposed.
    pub moves: u64,
    /// Nodes whose availability is recorded.
    pub availability: u64,
    /// Records of who takes part: 0 or 1.
    pub members: u64,
    /// Webhooks.
    pub webhooks: u64,
    /// Events that were given up for webhooks.
    pub dead_letters: u64,
}

impl Counts {
    /// Counts a record; the head and the end count for nothing.
    pub fn add(&mut self, record: &Record) {
        let count = match record {
            Record::Head(_) | Record::End(_) => return,
            Record::Tenant(_) => &mut self.tenants,
            Record::Node(_) => &mut self.nodes,
            Record::Event(_) => &mut self.events,
            Record::Cursor(_) => &mut self.cursors,
            Record::Request(_) => &mut self.requests,
            Record::SigningKey(_) => &mut self.signing_keys,
            Record::Condition(_) => &mut self.conditions,
            Record::Move(_) => &mut self.moves,
            Record::Availability(_) => &mut self.availability,
            Record::Members(_) => &mut self.members,
            Record::Webhook(_) => &mut self.webhooks,
            Record::DeadLetter(_) => &mut self.dead_letters,
        };
        *count += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let Self {
            tenants,
            nodes,
            events,
            cursors,
            requests,
            signing_keys,
            conditions,
            moves,
            availability,
            members,
            webhooks,
            dead_letters,
        } = *self;
        let core = tenants + nodes + events + cursors + requests + signing_keys;
        core + conditions + moves + availability + members + webhooks + dead_letters
    }

    /// The record that ends a stream with these counts.
    #[must_use]
    pub const fn into_end(self, state_digest: u64) -> SnapshotEnd {
        SnapshotEnd {
            tenants: self.tenants,
            nodes: self.nodes,
            events: self.events,
            cursors: self.cursors,
            requests: self.requests,
            signing_keys: self.signing_keys,
            state_digest,
            conditions: self.conditions,
            moves: self.moves,
            availability: self.availability,
            members: self.members,
            webhooks: self.webhooks,
            dead_letters: self.dead_letters,
        }
    }

    /// Whether what came is what was written.
    ///
    /// # Errors
    /// Names the first table that differs.
    pub fn compare(&self, end: &SnapshotEnd) -> Result<(), ReadRecordError> {
        let tables = [
            ("tenants", self.tenants, end.tenants),
            ("nodes", self.nodes, end.nodes),
            ("events", self.events, end.events),
            ("report cursors", self.cursors, end.cursors),
            ("kept answers", self.requests, end.requests),
            ("signing keys", self.signing_keys, end.signing_keys),
            ("conditions", self.conditions, end.conditions),
            ("proposed moves", self.moves, end.moves),
            ("nodes' availability", self.availability, end.availability),
            ("records of members", self.members, end.members),
            ("webhooks", self.webhooks, end.webhooks),
            ("dead letters", self.dead_letters, end.dead_letters),
        ];
        match tables.into_iter().find(|(_, found, written)| found != written) {
            None => Ok(()),
            Some((table, found, written)) => Err(ReadRecordError::CountMismatch { table, found, written }),
        }
    }
}
