//! Snapshot files that other members send: kept when the transfer breaks off, so that the next one goes on where it ended.
//!
//! A file that arrives is called after what was announced, `incoming-INDEX-TERM-SIZE-CRC`; that name is all that has to be
//! known to go on with it, after a restart too. Only one is kept, for an hour at most. Nothing of it is trusted: the
//! checksum over the whole decides, and a file that is complete and wrong is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::snapshots::{Temporary, io_error, measure};
use super::{LogPosition, SnapshotError, SnapshotFolder, SnapshotHeader};
use crate::mutants::{Mutant, mutated};

/// Files that are arriving, or were when the transfer broke off.
const PARTIAL: &str = "incoming-";
/// Files that are complete and verified, and not adopted yet.
pub(super) const RECEIVED: &str = "received-";
/// A partial file that nobody has added to for longer is removed: its sender has a newer snapshot by now.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
const RECEIVE: &str = "receive a snapshot";

/// What a sender says of a file before it sends it. The same for two transfers only if the file is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedSnapshot {
    /// The last entry whose effect it holds.
    pub position: LogPosition,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// CRC-32 (IEEE) of the file.
    pub crc32: u32,
}

impl AnnouncedSnapshot {
    fn file_name(&self) -> String {
        let LogPosition { index, term } = self.position;
        format!("{PARTIAL}{index}-{term}-{}-{:08x}", self.size_bytes, self.crc32)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PARTIAL)?.splitn(4, '-');
        let mut number = || parts.next()?.parse().ok();
        let (index, term, size_bytes) = (number()?, number()?, number()?);
        Some(Self {
            position: LogPosition { index, term },
            size_bytes,
            crc32: u32::from_str_radix(parts.next()?, 16).ok()?,
        })
    }
}

impl SnapshotFolder {
    /// How many bytes of the announced file are here from a transfer that broke off.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn received_bytes(&self, announced: AnnouncedSnapshot) -> Result<u64, SnapshotError> {
        match fs::metadata(self.partial_path(announced)) {
            Ok(found) if found.len() <= announced.size_bytes => Ok(found.len()),
            Ok(_) => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(io_error(RECEIVE)(error)),
        }
    }

    /// Begins to receive a file, or goes on with one that broke off. Partial files of others are removed. Only one file
    /// may be received at a time.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn receive(&self, announced: AnnouncedSnapshot) -> Result<IncomingSnapshot, SnapshotError> {
        self.clear_partial_files(Some(announced))?;
        let path = self.partial_path(announced);
        let opened = (|| {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            if file.metadata()?.len() > announced.size_bytes {
                file.set_len(0)?;
            }
            let (received_bytes, crc32) = measure(&mut file)?;
            Ok((file, received_bytes, crc32))
        })();
        let (file, received_bytes, crc32) = opened.map_err(io_error(RECEIVE))?;
        Ok(IncomingSnapshot {
            file: Some(Temporary::of(path, file)),
            announced,
            received_bytes,
            crc32: crc32fast::Hasher::new_with_initial_len(crc32, received_bytes),
            header: None,
            on_drop: OnDrop::Keep,
        })
    }

    /// Checks a received file in full and syncs it; it is adopted later.
    ///
    /// # Errors
    /// When it is not a complete snapshot of this cluster at the announced position. One that is incomplete is kept, to be
    /// gone on with; one that is wrong is not.
    pub fn verify(&self, incoming: &mut IncomingSnapshot) -> Result<(), SnapshotError> {
        let AnnouncedSnapshot {
            position,
            size_bytes,
            crc32,
        } = incoming.announced;
        let incomplete = incoming.received_bytes != size_bytes;
        if !incomplete {
            incoming.on_drop = OnDrop::Remove;
        }
        let trusted = mutated(Mutant::SnapshotNotVerified);
        if (incomplete || incoming.crc32.clone().finalize() != crc32) && !trusted {
            return Err(SnapshotError::Damaged {
                what: "it did not arrive whole".into(),
            });
        }
        let received = self.temporary_path(RECEIVED);
        let file = incoming.file.as_mut().ok_or_else(closed)?;
        let prepared = (|| {
            file.file.sync_all()?;
            // Out of the way of the next transfer, which may begin before this one is adopted.
            fs::rename(&file.path, &received)?;
            file.path = received;
            File::open(&file.path)
        })();
        let (header, reader) = self.check(prepared.map_err(io_error(RECEIVE))?, position)?;
        if !trusted {
            reader.verify()?;
        }
        incoming.header = Some(header);
        Ok(())
    }

    /// Gives a verified file its name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn adopt(&self, mut incoming: IncomingSnapshot, position: LogPosition) -> Result<(), SnapshotError> {
        let file = incoming.file.take().ok_or_else(closed)?;
        self.publish(file, position).map_err(io_error("install a snapshot"))
    }

    /// Removes partial files: all but `wanted`, or, without one, all but the newest that is still of use.
    pub(super) fn clear_partial_files(&self, wanted: Option<AnnouncedSnapshot>) -> Result<(), SnapshotError> {
        let complete = self.list()?.into_iter().next().unwrap_or_default();
        let cleared = (|| {
            let mut kept = wanted;
            for entry in fs::read_dir(self.path())? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if !name.starts_with(PARTIAL) {
                    continue;
                }
                let announced = AnnouncedSnapshot::parse(&name);
                let fresh = SystemTime::now()
                    .duration_since(entry.metadata()?.modified()?)
                    .is_ok_and(|age| age < MAX_AGE);
                let useful = announced.is_some_and(|announced| fresh && announced.position > complete);
                let keep = match kept {
                    Some(kept) => announced == Some(kept) && useful,
                    None => useful,
                };
                if keep {
                    kept = announced;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        })();
        cleared.map_err(io_error("remove what is left of a broken transfer"))
    }

    fn partial_path(&self, announced: AnnouncedSnapshot) -> PathBuf {
        self.path().join(announced.file_name())
    }
}

/// A file that another member is sending.
#[derive(Debug)]
pub struct IncomingSnapshot {
    /// `None` once it was adopted or let go.
    file: Option<Temporary>,
    announced: AnnouncedSnapshot,
    received_bytes: u64,
    crc32: crc32fast::Hasher,
    /// Once it was verified.
    header: Option<SnapshotHeader>,
    on_drop: OnDrop,
}

/// What becomes of the file when the transfer ends without it being adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    /// The next transfer goes on with it.
    Keep,
    /// It is wrong, or complete and not wanted.
    Remove,
}

impl IncomingSnapshot {
    /// What the file says of itself; `None` until it was verified.
    #[must_use]
    pub const fn header(&self) -> Option<&SnapshotHeader> {
        self.header.as_ref()
    }

    /// How much has arrived: where the next piece begins.
    #[must_use]
    pub const fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Adds the piece that begins at `offset` bytes.
    ///
    /// # Errors
    /// When pieces are missing or there is more than announced, or the disk refuses.
    pub fn push(&mut self, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        let end = self.received_bytes.saturating_add(bytes.len() as u64);
        if offset != self.received_bytes || end > self.announced.size_bytes {
            return Err(SnapshotError::Damaged {
                what: format!("a piece at {offset} after {} bytes", self.received_bytes),
            });
        }
        let temporary = self.file.as_mut().ok_or_else(closed)?;
        if let Err(source) = temporary.file.write_all(bytes) {
            // Perhaps the disk is full: a file that nobody may ever ask for again must not be what fills it.
            self.on_drop = OnDrop::Remove;
            return Err(io_error(RECEIVE)(source));
        }
        self.crc32.update(bytes);
        self.received_bytes = end;
        Ok(())
    }
}

impl Drop for IncomingSnapshot {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && self.on_drop == OnDrop::Keep
            && self.received_bytes > 0
        {
            file.keep();
        }
    }
}

fn closed() -> SnapshotError {
    io_error(RECEIVE)(io::Error::other("the file is closed"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::path::Path;

    use super::*;
    use crate::storage::MembersAt;

    const FINGERPRINT: u64 = 7;

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// A snapshot at `index` as a sender has it: its announcement and its bytes.
    fn sent(index: u64) -> (AnnouncedSnapshot, Vec<u8>) {
        let sender = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::open(sender.path(), FINGERPRINT).unwrap();
        let position = LogPosition { index, term: 1 };
        let header = SnapshotHeader {
            position,
            members: MembersAt::default(),
            fingerprint: FINGERPRINT,
        };
        folder
            .write(&header, |out| out.write_all(&[index.to_le_bytes()[0]; 10_000]))
            .unwrap();
        let mut file = folder.open_raw(position).unwrap();
        let (size_bytes, crc32) = measure(&mut file).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let announced = AnnouncedSnapshot {
            position,
            size_bytes,
            crc32,
        };
        (announced, bytes)
    }

    fn receiver() -> (tempfile::TempDir, SnapshotFolder) {
        let path = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::open(path.path(), FINGERPRINT).unwrap();
        (path, folder)
    }

    #[test]
    fn a_transfer_that_breaks_off_goes_on_where_it_ended_even_after_a_restart() {
        let (path, mut folder) = receiver();
        let (announced, bytes) = sent(9);
        let mut offset = 0;
        for piece in bytes.chunks(1000) {
            assert_eq!(folder.received_bytes(announced).unwrap(), offset);
            let mut incoming = folder.receive(announced).unwrap();
            assert_eq!(incoming.received_bytes(), offset);
            incoming.push(offset, piece).unwrap();
            offset += piece.len() as u64;
            if offset < announced.size_bytes {
                assert!(folder.verify(&mut incoming).is_err());
                drop(incoming);
                folder = SnapshotFolder::open(path.path(), FINGERPRINT).unwrap();
            } else {
                folder.verify(&mut incoming).unwrap();
                folder.adopt(incoming, announced.position).unwrap();
            }
        }
        assert_eq!(folder.list().unwrap(), [announced.position]);
        let mut arrived = Vec::new();
        folder
            .open_raw(announced.position)
            .unwrap()
            .read_to_end(&mut arrived)
            .unwrap();
        assert_eq!(arrived, bytes);
        assert_eq!(names(path.path()).len(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_complete_and_wrong_is_not_gone_on_with() {
        let (path, folder) = receiver();
        let (announced, mut bytes) = sent(9);
        bytes[5000] ^= 1;
        let mut incoming = folder.receive(announced).unwrap();
        incoming.push(0, &bytes).unwrap();
        assert!(matches!(
            folder.verify(&mut incoming),
            Err(SnapshotError::Damaged { .. })
        ));
        drop(incoming);
        assert_eq!(names(path.path()), Vec::<String>::new());

        // The checksum is right, and the file is another cluster's or not a snapshot at all.
        let junk = AnnouncedSnapshot {
            size_bytes: 4,
            crc32: crc32fast::hash(b"junk"),
            ..announced
        };
        let mut incoming = folder.receive(junk).unwrap();
        incoming.push(0, b"junk").unwrap();
        assert!(folder.verify(&mut incoming).is_err());
        drop(incoming);
        assert_eq!(names(path.path()), Vec::<String>::new());
    }

    #[test]
    fn one_partial_file_is_kept_and_only_while_it_is_of_use() {
        let (path, folder) = receiver();
        let (older, old_bytes) = sent(9);
        let (newer, new_bytes) = sent(20);
        folder.receive(older).unwrap().push(0, &old_bytes[..100]).unwrap();
        assert_eq!(folder.received_bytes(older).unwrap(), 100);
        folder.receive(newer).unwrap().push(0, &new_bytes[..200]).unwrap();
        assert_eq!(folder.received_bytes(older).unwrap(), 0, "another one takes its place");
        assert_eq!(folder.received_bytes(newer).unwrap(), 200);

        let stale = SystemTime::now() - 2 * MAX_AGE;
        let file = File::options()
            .append(true)
            .open(path.path().join(newer.file_name()))
            .unwrap();
        file.set_modified(stale).unwrap();
        let folder = SnapshotFolder::open(path.path(), FINGERPRINT).unwrap();
        assert_eq!(folder.received_bytes(newer).unwrap(), 0, "nobody will go on with it");

        folder.receive(older).unwrap().push(0, &old_bytes[..100]).unwrap();
        let mut incoming = folder.receive(newer).unwrap();
        incoming.push(0, &new_bytes).unwrap();
        folder.verify(&mut incoming).unwrap();
        // While it waits to be adopted, an older one begins to arrive; and is behind what is here a moment later.
        folder.receive(older).unwrap().push(0, &old_bytes[..100]).unwrap();
        folder.adopt(incoming, newer.position).unwrap();
        let folder = SnapshotFolder::open(path.path(), FINGERPRINT).unwrap();
        assert_eq!(folder.received_bytes(older).unwrap(), 0);
        assert_eq!(folder.list().unwrap(), [newer.position]);
    }

    #[test]
    fn a_piece_out_of_order_or_beyond_the_end_is_refused_and_changes_nothing() {
        let (_path, folder) = receiver();
        let (announced, bytes) = sent(9);
        let mut incoming = folder.receive(announced).unwrap();
        incoming.push(0, &bytes[..100]).unwrap();
        for (offset, piece) in [(0, &bytes[..100]), (200, &bytes[200..300]), (100, &bytes[..])] {
            assert!(incoming.push(offset, piece).is_err(), "{offset}");
        }
        incoming.push(100, &bytes[100..]).unwrap();
        folder.verify(&mut incoming).unwrap();
    }
}
