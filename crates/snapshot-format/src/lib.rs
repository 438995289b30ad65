//! The control plane's snapshot file, for whoever writes, restores or merely inspects one.
//!
//! [`file`] is the frame: header, chunks with checksums, trailer. [`record`] is what the chunks carry: length-delimited
//! rows of the state. [`inspect()`] reads both to the end and says what is there. What a row means is not known here.
#![forbid(unsafe_code)]

pub mod file;
pub mod inspect;
pub mod record;

pub use file::{FileError, FileReader, FileWriter};
pub use inspect::{InspectError, Summary, inspect};
pub use record::{Counts, ReadRecordError, WriteRecordError};
