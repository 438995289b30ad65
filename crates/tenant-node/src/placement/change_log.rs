//! What changed since the routing table's copy on disk was last written as a whole: a log beside it.
//!
//! One change of a table of 100,000 tenants costs one small record here and not a file of some 15 MB. The log names the
//! copy that it goes on from by its checksum, so that one which is left over from another copy is ignored. It ends at the
//! first record that is not whole: what a crash cut off was not in force yet.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::{Buf as _, Bytes};
use prost::Message as _;

use tenantry_proto::v1::RoutingDelta;

const MAGIC: [u8; 8] = *b"TNTRTLOG";
const VERSION: u32 = 1;
/// Magic, version, checksum of the copy that the log goes on from.
const HEADER: usize = 16;
/// Length and CRC-32 of a record.
const RECORD_HEADER: usize = 8;
/// Readable by the node alone, as the table is.
const MODE: u32 = 0o600;

/// An open log.
#[derive(Debug)]
pub(super) struct ChangeLog {
    file: File,
    bytes: u64,
}

impl ChangeLog {
    /// A new, empty log after the copy with the checksum `base`, in the place of an older one. Its header reaches the disk
    /// with the first record. Blocks.
    pub(super) fn create(path: &Path, base: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(MODE).open(path)?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&base.to_le_bytes());
        file.write_all(&header)?;
        // The name must be there after a crash, too.
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self {
            file,
            bytes: HEADER as u64,
        })
    }

    /// Appends encoded [`RoutingDelta`]s durably. After an error the log must not be appended to again. Blocks.
    pub(super) fn append(&mut self, changes: &[Bytes]) -> io::Result<()> {
        let mut records = Vec::new();
        for change in changes {
            let length = u32::try_from(change.len()).map_err(|_| io::Error::other("a change of more than 4 GiB"))?;
            records.extend_from_slice(&length.to_le_bytes());
            records.extend_from_slice(&crc32fast::hash(change).to_le_bytes());
            records.extend_from_slice(change);
        }
        self.file.write_all(&records)?;
        self.file.sync_data()?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    /// How long it is.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The changes after the copy with the checksum `base`, as far as they are whole; none when the log is another copy's.
/// Blocks.
pub(super) fn read(path: &Path, base: u32) -> io::Result<Vec<RoutingDelta>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(decode(Bytes::from(bytes), base)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn decode(mut log: Bytes, base: u32) -> Vec<RoutingDelta> {
    let mut changes = Vec::new();
    if log.len() < HEADER || log.split_to(MAGIC.len()) != MAGIC[..] {
        return changes;
    }
    if log.get_u32_le() != VERSION || log.get_u32_le() != base {
        return changes;
    }
    while log.len() >= RECORD_HEADER {
        let (length, checksum) = (log.get_u32_le(), log.get_u32_le());
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= log.len()) else {
            break;
        };
        let record = log.split_to(length);
        let Some(change) = (crc32fast::hash(&record) == checksum)
            .then(|| RoutingDelta::decode(record).ok())
            .flatten()
        else {
            break;
        };
        changes.push(change);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64) -> Bytes {
        let change = RoutingDelta {
            revision,
            removed_tenant_uids: vec!["gone".to_owned()],
            ..RoutingDelta::default()
        };
        change.encode_to_vec().into()
    }

    fn revisions(changes: &[RoutingDelta]) -> Vec<u64> {
        changes.iter().map(|change| change.revision).collect()
    }

    #[test]
    fn changes_read_back_after_the_copy_that_they_belong_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(read(&path, 7).unwrap().is_empty());
        let mut log = ChangeLog::create(&path, 7).unwrap();
        log.append(&[change(3), change(4)]).unwrap();
        log.append(&[change(9)]).unwrap();
        assert_eq!(log.bytes(), std::fs::metadata(&path).unwrap().len());
        assert_eq!(revisions(&read(&path, 7).unwrap()), [3, 4, 9]);
        assert!(read(&path, 8).unwrap().is_empty(), "another copy's log");
        ChangeLog::create(&path, 8).unwrap();
        assert!(read(&path, 8).unwrap().is_empty(), "what was there is gone");
    }

    #[test]
    fn a_damaged_log_gives_what_is_whole_before_the_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = ChangeLog::create(&path, 7).unwrap();
        (1..=3).for_each(|revision| log.append(&[change(revision)]).unwrap());
        let good = std::fs::read(&path).unwrap();
        let record = (good.len() - HEADER) / 3;
        let whole = |at: usize| at.saturating_sub(HEADER) / record;
        for cut in 0..good.len() {
            let read = decode(good[..cut].to_vec().into(), 7);
            assert_eq!(
                revisions(&read),
                (1..=whole(cut) as u64).collect::<Vec<_>>(),
                "cut at {cut}"
            );
        }
        for flipped in 0..good.len() {
            let mut bad = good.clone();
            bad[flipped] ^= 0x40;
            let expected = if flipped < HEADER { 0 } else { whole(flipped) };
            assert_eq!(decode(bad.into(), 7).len(), expected, "flipped at {flipped}");
        }
    }
}
