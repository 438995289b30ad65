//! Who this node is: kept in its data folder, so that a restart is the same node and a wrong folder is refused.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use service_runtime::data_dir::{AtomicWriteError, write_atomically};
use tenantry_types::{ClusterUid, Incarnation, InvalidId, NodeId, UnixMillis};

const FILE: &str = "node.json";
/// Raised when the folder's layout changes in a way that an older binary would misread.
const LAYOUT: u32 = 1;

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    layout: u32,
    node_id: String,
    incarnation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_uid: Option<String>,
}

/// This node at this start.
#[derive(Debug, Clone)]
pub struct Identity {
    path: PathBuf,
    /// The same at every start on this folder.
    pub node: NodeId,
    /// Larger than at any start before.
    pub incarnation: Incarnation,
    /// The cluster that it registered with; `None` before the first time.
    pub cluster: Option<ClusterUid>,
}

/// Why this node cannot be the one that its folder belongs to.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot keep this node's identity")]
    Write(#[from] AtomicWriteError),
    /// The file is not one of ours.
    #[error(
        "{path} does not parse; it says which node this folder belongs to: restore it, or start with an empty folder"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file names something that is not an id.
    #[error("{path} does not hold valid ids")]
    InvalidIds {
        /// The file.
        path: PathBuf,
    },
    /// The folder was laid out by another version.
    #[error("the data folder has layout {found}, this binary knows {LAYOUT}")]
    OtherLayout {
        /// What the folder has.
        found: u32,
    },
    /// The folder belongs to another node.
    #[error("the data folder belongs to node `{folder}`, not to `{given}`: give each node a folder of its own")]
    OtherNode {
        /// Whose it is.
        folder: NodeId,
        /// Who asked for it.
        given: NodeId,
    },
    /// The cluster's uid does not parse.
    #[error("the control plane sent a malformed cluster uid")]
    ClusterUid(#[from] InvalidId),
}

impl Identity {
    /// Reads the folder's identity and begins a new incarnation, which is on disk when this returns. Blocks.
    ///
    /// # Errors
    /// When the folder belongs to another node, or its file cannot be read or written.
    pub fn begin(data_dir: &Path, node: &NodeId, now: UnixMillis) -> Result<Self, IdentityError> {
        let path = data_dir.join(FILE);
        let identity = match std::fs::read(&path) {
            Ok(bytes) => Self::next(path, &bytes, node, now)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self {
                path,
                node: node.clone(),
                incarnation: Incarnation(now.0.max(1)),
                cluster: None,
            },
            Err(source) => return Err(IdentityError::Read { path, source }),
        };
        identity.store()?;
        Ok(identity)
    }

    fn next(path: PathBuf, bytes: &[u8], node: &NodeId, now: UnixMillis) -> Result<Self, IdentityError> {
        let stored: Stored = match serde_json::from_slice(bytes) {
            Ok(stored) => stored,
            Err(source) => return Err(IdentityError::Malformed { path, source }),
        };
        if stored.layout != LAYOUT {
            return Err(IdentityError::OtherLayout { found: stored.layout });
        }
        let Ok(folder) = NodeId::new(&stored.node_id) else {
            return Err(IdentityError::InvalidIds { path });
        };
        if folder != *node {
            return Err(IdentityError::OtherNode {
                folder,
                given: node.clone(),
            });
        }
        let cluster = match stored.cluster_uid.map(|uid| uid.parse()).transpose() {
            Ok(cluster) => cluster,
            Err(_) => return Err(IdentityError::InvalidIds { path }),
        };
        // The clock makes it readable; the last one makes it grow even when the clock went back.
        let incarnation = Incarnation(now.0.max(stored.incarnation.saturating_add(1)));
        Ok(Self {
            path,
            node: folder,
            incarnation,
            cluster,
        })
    }

    /// Keeps the cluster that this node registered with. Blocks.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn join(&mut self, cluster: ClusterUid) -> Result<(), IdentityError> {
        if self.cluster == Some(cluster) {
            return Ok(());
        }
        self.cluster = Some(cluster);
        self.store()
    }

    fn store(&self) -> Result<(), IdentityError> {
        let stored = Stored {
            layout: LAYOUT,
            node_id: self.node.to_string(),
            incarnation: self.incarnation.get(),
            cluster_uid: self.cluster.map(|uid| uid.to_string()),
        };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|source| IdentityError::Malformed {
            path: self.path.clone(),
            source,
        })?;
        Ok(write_atomically(&self.path, &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    #[test]
    fn a_restart_is_the_same_node_with_a_larger_incarnation_even_if_the_clock_went_back() {
        let folder = tempfile::tempdir().unwrap();
        let begin = |now| Identity::begin(folder.path(), &node("node-1"), UnixMillis(now)).unwrap();
        let mut first = begin(1_000);
        first.join(ClusterUid::from_u128(7)).unwrap();
        let second = begin(900);
        assert_eq!(second.incarnation, Incarnation(1_001));
        assert_eq!(second.cluster, Some(ClusterUid::from_u128(7)));
        assert_eq!(begin(5_000).incarnation, Incarnation(5_000));
    }

    #[test]
    fn a_folder_of_another_node_or_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Identity::begin(folder.path(), &node("node-1"), UnixMillis(1)).unwrap();
        let other = Identity::begin(folder.path(), &node("node-2"), UnixMillis(2));
        assert!(matches!(other, Err(IdentityError::OtherNode { .. })), "{other:?}");
        std::fs::write(folder.path().join(FILE), b"{").unwrap();
        let damaged = Identity::begin(folder.path(), &node("node-1"), UnixMillis(3));
        assert!(matches!(damaged, Err(IdentityError::Malformed { .. })), "{damaged:?}");
    }
}
