//! The routing table's copy on disk: what a node serves by when it starts and no control plane answers.
//!
//! One file, framed with a magic word, a version and a checksum, replaced as a whole. A file that does not check is
//! reported and stays until the next table replaces it; the node waits for the control plane, which is safe.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use service_runtime::data_dir::{AtomicWriteError, write_atomically};
use tenantry_proto::v1;
use tenantry_types::{ClusterEpoch, ClusterUid, Revision};

use super::RoutingTable;
use super::update::{InvalidRecord, replace};

const FILE: &str = "routing.table";
const MAGIC: [u8; 8] = *b"TNTROUTE";
const VERSION: u32 = 1;
/// Magic, version, CRC-32 of the rest.
const HEADER: usize = 16;

/// Where the copy is kept.
#[derive(Debug, Clone)]
pub struct RoutingFile {
    path: PathBuf,
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
    /// It holds a record that makes no sense.
    #[error("{path} holds an invalid record")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which.
        source: InvalidRecord,
    },
}

impl RoutingFile {
    /// The copy in a node's data folder.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(FILE),
        }
    }

    /// Reads the copy; `None` when there is none yet. Blocks.
    ///
    /// # Errors
    /// When it is there and cannot be used. The file stays where it is.
    pub fn read(&self) -> Result<Option<RoutingTable>, RoutingFileError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => self.decode(bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RoutingFileError::Read {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Replaces the copy. Blocks.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then still there.
    pub fn write(&self, table: &RoutingTable) -> Result<(), AtomicWriteError> {
        write_atomically(&self.path, &encode(table))
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
        let revision = Revision(snapshot.revision);
        replace(
            revision,
            (cluster, ClusterEpoch(snapshot.cluster_epoch)),
            snapshot.tenants,
            snapshot.nodes,
            snapshot.token_keys,
            snapshot.tiers,
        )
        .map_err(|source| RoutingFileError::Invalid {
            path: self.path.clone(),
            source,
        })
    }
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
    use tenantry_types::{TenantName, TenantUid};

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
        file.write(&table()).unwrap();
        let read = file.read().unwrap().unwrap();
        assert_eq!(read.revision, Revision(7));
        assert_eq!(read.cluster_epoch, ClusterEpoch(2));
        assert_eq!(read.digest(), table().digest());
        let acme = read.by_name(&TenantName::new("acme").unwrap()).unwrap();
        assert_eq!(acme.uid, TenantUid::from_u128(1));
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
