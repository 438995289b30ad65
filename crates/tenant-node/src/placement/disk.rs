//! The routing table's copy on disk: what a node serves by when it starts and no control plane answers.
//!
//! One file, framed with a magic word, a version and a checksum, replaced as a whole, and a log of what changed since. When
//! the log has become longer than the table, the table is written again. A file that does not check is reported and stays
//! until the next table replaces it; the node waits for the control plane, which is safe.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use service_runtime::data_dir::{AtomicWriteError, write_atomically};
use tenantry_proto::v1;
use tenantry_types::{ClusterEpoch, ClusterUid};

use super::RoutingTable;
use super::change_log::{self, ChangeLog};
use super::update::{InvalidRecord, change, replace};

const FILE: &str = "routing.table";
const LOG: &str = "routing.changes";
/// A log of this length is not worth a new copy of the table.
const SHORT_LOG: u64 = 1 << 20;
const MAGIC: [u8; 8] = *b"TNTROUTE";
const VERSION: u32 = 1;
/// Magic, version, CRC-32 of the rest.
const HEADER: usize = 16;

/// Where the copy is kept.
#[derive(Debug, Clone)]
pub struct RoutingFile {
    path: PathBuf,
    log: PathBuf,
}

/// Keeps the copy up to date. There must be only one.
#[derive(Debug)]
pub struct RoutingWriter {
    file: RoutingFile,
    /// What changes can be appended to: a log after a copy that this value has written.
    open: Option<OpenLog>,
}

#[derive(Debug)]
struct OpenLog {
    log: ChangeLog,
    table_bytes: u64,
}

/// Why the copy is not up to date. The next write makes a new one.
#[derive(Debug, thiserror::Error)]
pub enum RoutingWriteError {
    /// The table could not be written; the old one is still there.
    #[error(transparent)]
    Table(#[from] AtomicWriteError),
    /// The log of changes could not be written.
    #[error("cannot write {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why there is no copy to serve by.
#[derive(Debug, thiserror::Error)]
pub enum RoutingFileError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not whole, or not ours.
    #[error("{path} {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl RoutingFile {
    /// The copy in a node's data folder.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(FILE),
            log: data_dir.join(LOG),
        }
    }

    /// What keeps it up to date. Begins with a whole table.
    #[must_use]
    pub fn writer(&self) -> RoutingWriter {
        RoutingWriter {
            file: self.clone(),
            open: None,
        }
    }

    /// Reads the copy; `None` when there is none yet. Blocks.
    ///
    /// # Errors
    /// When it is there and cannot be used. The file stays where it is.
    pub fn read(&self) -> Result<Option<RoutingTable>, RoutingFileError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = self.path.clone();
                return Err(RoutingFileError::Read { path, source });
            }
        };
        let base = checksum(&bytes);
        let mut table = self.decode(bytes)?;
        let changes = change_log::read(&self.log, base).map_err(|source| RoutingFileError::Read {
            path: self.log.clone(),
            source,
        })?;
        for delta in changes {
            // Refused when it came, and now again; what it left in force is still there.
            report(&change(&mut table, delta));
        }
        Ok(Some(table))
    }

    fn decode(&self, bytes: Vec<u8>) -> Result<RoutingTable, RoutingFileError> {
        let damaged = |what| RoutingFileError::Damaged {
            path: self.path.clone(),
            what,
        };
        let mut body = Bytes::from(bytes);
        if body.len() < HEADER {
            return Err(damaged("is cut short"));
        }
        let header = body.split_to(HEADER);
        let word = |at: usize| {
            header
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u32::from_le_bytes)
        };
        if header.get(..8) != Some(&MAGIC[..]) {
            return Err(damaged("is not a routing table"));
        }
        if word(8) != Some(VERSION) {
            return Err(damaged("was written by another version"));
        }
        if word(12) != Some(crc32fast::hash(&body)) {
            return Err(damaged("does not match its checksum"));
        }
        let snapshot = v1::RoutingSnapshot::decode(body).map_err(|_| damaged("does not parse"))?;
        let cluster: ClusterUid = snapshot.cluster_uid.parse().map_err(|_| damaged("names no cluster"))?;
        let records = v1::RoutingDelta {
            revision: snapshot.revision,
            removed_tenant_uids: Vec::new(),
            tenants: snapshot.tenants,
            nodes: snapshot.nodes,
            token_keys: snapshot.token_keys,
            tiers: snapshot.tiers,
        };
        let epoch = ClusterEpoch(snapshot.cluster_epoch);
        let (table, refused) = replace(&RoutingTable::default(), (cluster, epoch), records);
        report(&refused);
        Ok(table)
    }
}

/// Only what an earlier version wrote, or a record that was refused when it came, can make no sense here.
fn report(refused: &[InvalidRecord]) {
    for error in refused {
        tracing::warn!(%error, "a record in the routing table's copy on disk makes no sense and is left out");
    }
}

impl RoutingWriter {
    /// Replaces the copy. Blocks.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then still there.
    pub fn write(&mut self, table: &RoutingTable) -> Result<(), RoutingWriteError> {
        // A log that is there goes on from the old copy, and is ignored beside the new one.
        self.open = None;
        let bytes = encode(table);
        write_atomically(&self.file.path, &bytes)?;
        let log = ChangeLog::create(&self.file.log, checksum(&bytes)).map_err(|source| self.log_failed(source))?;
        self.open = Some(OpenLog {
            log,
            table_bytes: bytes.len() as u64,
        });
        Ok(())
    }

    /// Adds `changes`, which led to `table`: each an encoded [`v1::RoutingDelta`], oldest first. Blocks.
    ///
    /// # Errors
    /// When they cannot be written. What was there before can still be read.
    pub fn append(&mut self, changes: &[Bytes], table: &RoutingTable) -> Result<(), RoutingWriteError> {
        let room = |open: &&mut OpenLog| open.log.bytes() <= open.table_bytes.max(SHORT_LOG);
        let Some(open) = self.open.as_mut().filter(room) else {
            return self.write(table);
        };
        open.log.append(changes).map_err(|source| {
            self.open = None;
            self.log_failed(source)
        })
    }

    fn log_failed(&self, source: std::io::Error) -> RoutingWriteError {
        RoutingWriteError::Log {
            path: self.file.log.clone(),
            source,
        }
    }
}

/// The checksum in an encoded table's header; names the copy.
fn checksum(encoded: &[u8]) -> u32 {
    let word = encoded.get(12..HEADER).and_then(|bytes| bytes.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

fn encode(table: &RoutingTable) -> Vec<u8> {
    let snapshot = v1::RoutingSnapshot {
        revision: table.revision.get(),
        cluster_uid: table.cluster.map(|uid| uid.to_string()).unwrap_or_default(),
        tenants: table.tenants().map(|route| v1::TenantRoute::from(&**route)).collect(),
        nodes: table.nodes().map(v1::NodeRoute::from).collect(),
        token_keys: table.token_keys().iter().map(v1::TokenKey::from).collect(),
        tiers: table.tiers().iter().map(v1::TierDefinition::from).collect(),
        last: true,
        digest: 0,
        cluster_epoch: table.cluster_epoch.get(),
    };
    let body = snapshot.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use tenantry_types::{Revision, TenantName, TenantRoute, TenantUid, TokenGeneration, TokenKey};

    use super::*;
    use crate::placement::table_tests::route;

    fn table() -> RoutingTable {
        let mut table = RoutingTable::default();
        table.revision = Revision(7);
        table.cluster = Some(ClusterUid::from_u128(3));
        table.cluster_epoch = ClusterEpoch(2);
        table.put_tenant(route(1, "acme", "node-1"));
        table
    }

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = RoutingFile::in_data_dir(folder.path());
        assert!(file.read().unwrap().is_none());
        let mut table = table();
        let keys = ["k1", "k2"].map(|id| TokenKey {
            id: id.to_owned(),
            public_key: [7; 32],
        });
        table.set_token_keys(keys.to_vec());
        table.put_tenant(TenantRoute {
            token_generation: TokenGeneration(3),
            ..route(2, "revoked", "node-1")
        });
        file.writer().write(&table).unwrap();
        let read = file.read().unwrap().unwrap();
        assert_eq!(read.token_keys(), keys);
        let revoked = read.tenant(TenantUid::from_u128(2)).unwrap();
        assert_eq!(revoked.token_generation, TokenGeneration(3));
        assert_eq!(read.revision, Revision(7));
        assert_eq!(read.cluster_epoch, ClusterEpoch(2));
        assert_eq!(read.digest(), table.digest());
        let acme = read.by_name(&TenantName::new("acme").unwrap()).unwrap();
        assert_eq!(acme.uid, TenantUid::from_u128(1));
    }

    /// A change that adds a tenant, and what it makes of the table.
    fn put(table: &mut RoutingTable, revision: u64, name: &str) -> Bytes {
        let delta = v1::RoutingDelta {
            revision,
            tenants: vec![v1::TenantRoute::from(&route(revision.into(), name, "node-1"))],
            ..v1::RoutingDelta::default()
        };
        let bytes = delta.encode_to_vec().into();
        assert_eq!(change(table, delta), []);
        bytes
    }

    #[test]
    fn changes_are_added_to_the_copy_and_not_lost_when_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = RoutingFile::in_data_dir(folder.path());
        let mut writer = file.writer();
        let mut table = table();
        let same = |table: &RoutingTable| {
            let read = file.read().unwrap().unwrap();
            assert_eq!((read.revision, read.digest()), (table.revision, table.digest()));
        };
        // The first write of a process is a whole table, whatever it is asked for.
        let first = put(&mut table, 10, "first");
        writer.append(&[first], &table).unwrap();
        same(&table);
        let size = || std::fs::metadata(folder.path().join(FILE)).unwrap().len();
        let whole = size();
        let more = [put(&mut table, 11, "second"), put(&mut table, 12, "third")];
        writer.append(&more, &table).unwrap();
        same(&table);
        assert_eq!(size(), whole, "the table was not written again");
        // A crash between a new copy and its log: the old log is not the new copy's.
        write_atomically(&folder.path().join(FILE), &encode(&table)).unwrap();
        same(&table);
        file.writer().write(&table).unwrap();
        same(&table);
    }

    #[test]
    fn a_log_that_has_grown_longer_than_the_table_gives_way_to_a_new_copy() {
        let folder = tempfile::tempdir().unwrap();
        let file = RoutingFile::in_data_dir(folder.path());
        let mut writer = file.writer();
        let mut table = table();
        writer.write(&table).unwrap();
        let log = || std::fs::metadata(folder.path().join(LOG)).unwrap().len();
        let change = put(&mut table, 10, "first");
        let many = vec![change.clone(); usize::try_from(SHORT_LOG).unwrap() / change.len()];
        writer.append(&many, &table).unwrap();
        assert!(log() > SHORT_LOG);
        let change = put(&mut table, 11, "second");
        writer.append(&[change], &table).unwrap();
        assert!(log() < 100, "{}", log());
        assert_eq!(file.read().unwrap().unwrap().digest(), table.digest());
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there_and_the_next_one_makes_a_new_copy() {
        let folder = tempfile::tempdir().unwrap();
        let file = RoutingFile::in_data_dir(folder.path());
        let mut writer = file.writer();
        let mut table = table();
        writer.write(&table).unwrap();
        let before = file.read().unwrap().unwrap();
        // Nothing can be written to a folder that stands where the file shall be.
        std::fs::create_dir(folder.path().join(".routing.table.tmp")).unwrap();
        let change = put(&mut table, 10, "first");
        assert!(writer.write(&table).is_err());
        assert_eq!(file.read().unwrap().unwrap().digest(), before.digest());
        std::fs::remove_dir(folder.path().join(".routing.table.tmp")).unwrap();
        writer.append(&[change], &table).unwrap();
        assert_eq!(file.read().unwrap().unwrap().digest(), table.digest());
    }

    #[test]
    fn a_damaged_file_is_refused_whatever_the_damage() {
        let folder = tempfile::tempdir().unwrap();
        let file = RoutingFile::in_data_dir(folder.path());
        let good = encode(&table());
        for cut in 0..good.len() {
            assert!(file.decode(good[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        for flipped in 0..good.len() {
            let mut bad = good.clone();
            bad[flipped] ^= 0x40;
            assert!(file.decode(bad).is_err(), "flipped at {flipped}");
        }
    }
}
