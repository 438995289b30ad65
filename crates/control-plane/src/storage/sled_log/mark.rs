//! The mark: a small file that says which change was durable last, and whether the log was closed in order.
//!
//! It is overwritten in place after every commit, unsynced, so it never runs ahead of the log. A log that ends before
//! the mark has lost what was acknowledged. A log that was not closed in order may show writes that are not on the
//! disk: they were never synced, or the sync failed. As long as the machine keeps running the mark says so whether it
//! was synced or not; after a power cut nothing but the disk can be read anyway. Whoever holds the file open has the
//! folder locked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::super::StoreError;
use super::super::binary::{Input, Malformed};

const FILE_NAME: &str = "mark";
const DOING: &str = "mark the log";

/// How the last process left the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Everything that can be read is on the disk.
    Orderly,
    /// It was killed, or its last write failed.
    Abrupt,
}

pub(super) struct Mark {
    file: File,
    sequence: u64,
}

impl Mark {
    pub(super) fn exists(folder: &Path) -> bool {
        folder.join(FILE_NAME).exists()
    }

    /// Locks the folder and leaves the first mark in it, whole or not at all.
    pub(super) fn create(folder: &Path, sequence: u64) -> Result<Self, StoreError> {
        let created = (|| {
            let temporary = folder.join("mark.tmp");
            let file = File::create(&temporary)?;
            lock(&file)?;
            let mark = Self { file, sequence };
            mark.write(Ending::Abrupt)?;
            mark.file.sync_all()?;
            fs::rename(temporary, folder.join(FILE_NAME))?;
            Ok(mark)
        })();
        created.map_err(io_error)
    }

    /// Locks the folder and reads the mark.
    pub(super) fn open(folder: &Path) -> Result<(Self, Ending), StoreError> {
        let opened = (|| {
            let file = OpenOptions::new().read(true).write(true).open(folder.join(FILE_NAME))?;
            lock(&file)?;
            let mut bytes = Vec::new();
            (&file).take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
            Ok((file, bytes))
        })();
        let (file, bytes) = opened.map_err(io_error)?;
        let (sequence, ending) = decode(&bytes).map_err(|error| StoreError::Damaged {
            what: format!("its mark: {error}"),
        })?;
        Ok((Self { file, sequence }, ending))
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Notes that a change is durable.
    pub(super) fn advance(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.sequence = sequence;
        self.write(Ending::Abrupt).map_err(io_error)
    }

    /// Notes that the log is in use, so that another ending than [`close`](Self::close) is noticed.
    pub(super) fn begin(&mut self, sequence: u64) -> Result<(), StoreError> {
        self.advance(sequence)?;
        self.file.sync_all().map_err(io_error)
    }

    /// Notes that everything is on the disk, and unlocks the folder.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let closed = self.write(Ending::Orderly).and_then(|()| self.file.sync_all());
        closed.map_err(io_error)
    }

    fn write(&self, ending: Ending) -> io::Result<()> {
        self.file.write_all_at(&encode(self.sequence, ending), 0)
    }
}

fn lock(file: &File) -> io::Result<()> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other("another process has the folder open"),
        _ => error.into(),
    })
}

const LENGTH: usize = 13;

fn encode(sequence: u64, ending: Ending) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    bytes[8] = match ending {
        Ending::Orderly => b'O',
        Ending::Abrupt => b'A',
    };
    let crc = crc32fast::hash(&bytes[..9]);
    bytes[9..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<(u64, Ending), Malformed> {
    let mut input = Input(bytes);
    let sequence = input.u64()?;
    let ending = match input.u8()? {
        b'O' => Ending::Orderly,
        b'A' => Ending::Abrupt,
        _ => return Err(Malformed("ending")),
    };
    input.u32()?;
    input.finish()?;
    if encode(sequence, ending) != bytes {
        return Err(Malformed("checksum"));
    }
    Ok((sequence, ending))
}

fn io_error(source: io::Error) -> StoreError {
    StoreError::Io { doing: DOING, source }
}
