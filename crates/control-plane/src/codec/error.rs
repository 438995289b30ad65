//! What can be wrong with bytes that should be a command or a state.

use std::io;

use snapshot_format::{ReadRecordError, WriteRecordError};
use tenantry_proto::convert::InvalidField;
use tenantry_state::RestoreError;

/// Bytes that this binary cannot read. A member that meets one in its log or in a snapshot must stop.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the encoding of the expected message.
    #[error("not an encoded message")]
    Malformed(#[from] prost::DecodeError),
    /// Written by a binary with another format.
    #[error("format version {found} is not known; this binary knows {known}")]
    UnknownVersion {
        /// In the bytes.
        found: u32,
        /// By this binary.
        known: u32,
    },
    /// Written by a binary that has more commands.
    #[error("the command is not known to this binary: it needs a newer version")]
    UnknownCommand,
    /// Written by a binary that knows more fields; leaving them out would lose what they say.
    #[error("the message has fields that this binary does not know: it needs a newer version")]
    UnknownField,
    /// A field has a value that it cannot have.
    #[error("a field has an impossible value")]
    Invalid(#[from] InvalidField),
    /// A record of the state cannot be read.
    #[error(transparent)]
    Record(#[from] ReadRecordError),
    /// The state that was read is not the one that was written.
    #[error("the state's digest is {found:016x}, but it was written with {written:016x}")]
    DigestMismatch {
        /// Of what was read.
        found: u64,
        /// What the end record says.
        written: u64,
    },
    /// The records do not make up a state.
    #[error("the records do not make up a state")]
    Restore(#[from] RestoreError),
}

/// A value that cannot be written, since it could not be read again.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// No member could read the command: it must not enter the log.
    #[error("the command could not be read again")]
    Unreadable(#[source] DecodeError),
    /// A record is larger than any record may be.
    #[error("a record of {bytes} bytes is larger than the {limit} that one may have")]
    RecordTooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
    /// The stream could not be written.
    #[error("writing the state failed")]
    Io(#[from] io::Error),
}

impl From<WriteRecordError> for EncodeError {
    fn from(error: WriteRecordError) -> Self {
        match error {
            WriteRecordError::TooLarge { bytes, limit } => Self::RecordTooLarge { bytes, limit },
            WriteRecordError::Io(error) => Self::Io(error),
        }
    }
}
