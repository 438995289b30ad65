//! The replicated state machine's commands and state as bytes, for the log and for snapshots, and back.
//!
//! What is read is checked in full: an entry that this binary does not know is an error and never skipped, since a
//! member that skipped it would no longer be the same as the others. This module must not know Raft, files or sockets.

mod command;
mod error;
mod event_commands;
mod outcome;
mod record;
mod snapshot;

pub use command::{COMMAND_VERSION, decode_command, encode_command};
pub use error::{DecodeError, EncodeError};
pub use snapshot::{SNAPSHOT_VERSION, read_state, write_state};
