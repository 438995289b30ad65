//! `control-plane restore`: makes an empty data folder that of a member of a new cluster, from a snapshot file.
//!
//! The new cluster has the old one's name, state and answers, and the next cluster epoch. Every member restores from the
//! same file with the same list of members, and comes to the same state, byte for byte: none is copied from another. Its
//! first start begins the log with it. Nothing is overwritten, and a folder is restored only when everything is in it.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use service_runtime::data_dir::{DataDir, DataDirError};
use sha2::{Digest as _, Sha256};
use tenantry_state::{NewEpochError, State};
use tenantry_types::{ClusterEpoch, ClusterUid, MemberId, Revision};

use crate::codec::{self, DecodeError};
use crate::machine::ReplicatedState;
use crate::raft::{InitialMembers, InvalidMembers, StateMachine as _};
use crate::storage::{
    IdentityError, LogPosition, MembersAt, Provenance, Seed, SnapshotError, SnapshotFolder, SnapshotHeader, first_word,
    open_snapshot_file,
};

/// What a data folder holds: as `server` lays it out.
const RAFT_FOLDER: &str = "raft";
/// The same while it is being made.
const UNFINISHED: &str = "raft.restoring";

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreOptions {
    /// The snapshot file, as written by `tenantctl cluster snapshot save`.
    pub file: PathBuf,
    /// This member's id, a whole number from 1.
    #[arg(long, env = "TENANTRY_MEMBER_ID")]
    pub member_id: MemberId,
    /// All members of the restored cluster, this one among them, the same list on each: `1=host:port,2=host:port`.
    #[arg(long, env = "TENANTRY_INITIAL_MEMBERS")]
    pub initial_members: String,
    /// Where everything will be kept. Must be empty.
    #[arg(long, env = "TENANTRY_DATA_DIR")]
    pub data_dir: PathBuf,
    /// The restored cluster's epoch, the same on each member [default: one more than the file's]. A second restore from
    /// the same file must be given a higher one than the first.
    #[arg(long)]
    pub cluster_epoch: Option<u64>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The cluster; the same as before.
    pub cluster: ClusterUid,
    /// The life that begins.
    pub epoch: ClusterEpoch,
    /// Where its log begins.
    pub position: LogPosition,
    /// Tenants that are not deleted.
    pub tenants: u64,
    /// Nodes.
    pub nodes: usize,
    /// What its members know each other by.
    pub fingerprint: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The list cannot start a cluster.
    #[error("--initial-members cannot be used")]
    Members(#[from] InvalidMembers),
    /// The folder cannot be used, or another process does.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is something in the folder.
    #[error("the data folder {} is not empty: it holds {found}; nothing is ever overwritten, give an empty one", .path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The file is not there, damaged, or of another version.
    #[error("cannot use the snapshot {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SnapshotError,
    },
    /// The file's frame is whole, and what it holds is not a state.
    #[error("cannot use the snapshot {}", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// There is nothing to restore, or not into this epoch.
    #[error(transparent)]
    Epoch(#[from] NewEpochError),
    /// The snapshot could not be written.
    #[error("cannot write the first snapshot")]
    Write(#[source] SnapshotError),
    /// The markers could not be written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The disk refused.
    #[error("cannot write to the data folder")]
    Io(#[from] io::Error),
}

/// Restores. Blocks.
///
/// # Errors
/// When the file does not check in full, the folder is not empty, or the disk refuses. The folder is then not a member's.
pub fn restore(options: &RestoreOptions) -> Result<Restored, RestoreError> {
    let initial = InitialMembers::parse(options.member_id, &options.initial_members)?;
    let data_dir = DataDir::open(&options.data_dir)?;
    check_empty(data_dir.path())?;
    let source = read(&options.file)?;
    let epoch = match options.cluster_epoch {
        Some(epoch) => ClusterEpoch(epoch),
        None => source.state.cluster().ok_or(NewEpochError::NoCluster)?.epoch.next(),
    };
    let position = LogPosition {
        index: source
            .header
            .position
            .index
            .saturating_add(source.state.skipped_by(epoch)?),
        term: source.header.position.term,
    };
    let state = source.state.in_new_epoch(epoch, Revision(position.index))?;
    let provenance = Provenance::Restored {
        epoch,
        file: source.hash,
    };
    let fingerprint = provenance.fingerprint(initial.fingerprint());
    let unfinished = data_dir.join(UNFINISHED);
    leave_seed(&unfinished, fingerprint, provenance, position, &state)?;
    fs::rename(&unfinished, data_dir.join(RAFT_FOLDER))?;
    File::open(data_dir.path())?.sync_all()?;
    Ok(Restored {
        cluster: state.cluster().ok_or(NewEpochError::NoCluster)?.uid,
        epoch,
        position,
        tenants: state.active_tenants(),
        nodes: state.node_count(),
        fingerprint,
    })
}

/// The lock is ours, and all that may be there.
fn check_empty(folder: &Path) -> Result<(), RestoreError> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name != "LOCK" {
            return Err(RestoreError::NotEmpty {
                path: folder.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

/// A file that was read to its end and checks in full.
struct Source {
    header: SnapshotHeader,
    state: State,
    /// Over the whole file.
    hash: u64,
}

fn read(path: &Path) -> Result<Source, RestoreError> {
    let refused = |source| RestoreError::File {
        path: path.to_owned(),
        source,
    };
    let reading = |source| {
        refused(SnapshotError::Io {
            doing: "read the snapshot",
            source,
        })
    };
    let mut hashed = Hashed {
        input: File::open(path).map_err(reading)?,
        hash: Sha256::new(),
    };
    let (header, mut reader) = open_snapshot_file(BufReader::new(&mut hashed)).map_err(refused)?;
    let state = codec::read_state(&mut reader).map_err(|source| RestoreError::State {
        path: path.to_owned(),
        source,
    })?;
    // What follows the state is checked here: the trailer, and that there is nothing else.
    let after = io::copy(&mut reader, &mut io::sink())
        .map_err(|error| refused(snapshot_format::FileError::from(error).into()))?;
    drop(reader);
    if after > 0 {
        return Err(refused(SnapshotError::Damaged {
            what: "it goes on after its state".to_owned(),
        }));
    }
    Ok(Source {
        header,
        state,
        hash: first_word(&hashed.hash.finalize().into()),
    })
}

/// Hashes what is read.
struct Hashed<R> {
    input: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(out)?;
        self.hash.update(out.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// What a first start will begin the log with. Only then do the members learn each other's logs, and is the folder one's.
fn leave_seed(
    folder: &Path,
    fingerprint: u64,
    provenance: Provenance,
    position: LogPosition,
    state: &State,
) -> Result<(), RestoreError> {
    fs::create_dir(folder)?;
    let header = SnapshotHeader {
        position,
        members: MembersAt::default(),
        fingerprint,
    };
    let seed = SnapshotFolder::open(&Seed::path(folder), fingerprint).map_err(RestoreError::Write)?;
    seed.write(&header, |out| ReplicatedState::write_snapshot(state, out))
        .map_err(RestoreError::Write)?;
    provenance.mark_folder(folder)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tenantry_state::strategies::{every_command_once, replay};

    use super::*;

    const LIST: &str = "1=127.0.0.1:12001,2=127.0.0.1:12002,3=127.0.0.1:12003";

    /// A file as a cluster writes it, with its state.
    fn saved(folder: &Path) -> (PathBuf, State) {
        let state = replay(&every_command_once());
        let position = LogPosition {
            index: state.revision().get() + 3,
            term: 4,
        };
        let header = SnapshotHeader {
            position,
            members: MembersAt::default(),
            fingerprint: 99,
        };
        let snapshots = SnapshotFolder::open(&folder.join("saved"), 99).unwrap();
        snapshots
            .write(&header, |out| ReplicatedState::write_snapshot(&state, out))
            .unwrap();
        let file = folder.join("backup.snap");
        io::copy(
            &mut snapshots.open_raw(position).unwrap(),
            &mut File::create(&file).unwrap(),
        )
        .unwrap();
        (file, state)
    }

    fn options(file: &Path, data_dir: PathBuf, member: u64) -> RestoreOptions {
        RestoreOptions {
            file: file.to_owned(),
            member_id: MemberId::new(member).unwrap(),
            initial_members: LIST.to_owned(),
            data_dir,
            cluster_epoch: None,
        }
    }

    #[test]
    fn every_member_comes_to_the_same_first_snapshot_and_to_the_next_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let (file, before) = saved(folder.path());
        let restored: Vec<_> = (1..=3)
            .map(|member| {
                let data_dir = folder.path().join(format!("member-{member}"));
                let restored = restore(&options(&file, data_dir.clone(), member)).unwrap();
                let name = format!("{:020}-{}.snap", restored.position.index, restored.position.term);
                let first = fs::read(data_dir.join("raft/seed").join(name)).unwrap();
                (restored, first)
            })
            .collect();
        assert!(restored.windows(2).all(|pair| pair[0] == pair[1]));
        let (restored, first) = &restored[0];
        assert_eq!(restored.epoch, ClusterEpoch(2));
        assert_eq!(restored.position.term, 4);
        assert!(restored.position.index > before.revision().get());
        let (header, mut reader) = open_snapshot_file(first.as_slice()).unwrap();
        assert_eq!(header.position, restored.position);
        let state = codec::read_state(&mut reader).unwrap();
        let revision = Revision(restored.position.index);
        assert_eq!(state, before.in_new_epoch(ClusterEpoch(2), revision).unwrap());
    }

    #[test]
    fn another_file_epoch_or_list_makes_another_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = saved(folder.path());
        let mut prints = std::collections::BTreeSet::new();
        for (name, epoch, list) in [
            ("plain", None, LIST),
            ("higher", Some(5), LIST),
            ("smaller", None, "1=127.0.0.1:12001"),
        ] {
            let options = RestoreOptions {
                cluster_epoch: epoch,
                initial_members: list.to_owned(),
                ..options(&file, folder.path().join(name), 1)
            };
            prints.insert(restore(&options).unwrap().fingerprint);
        }
        assert_eq!(prints.len(), 3);
    }

    #[test]
    fn a_folder_with_anything_in_it_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = saved(folder.path());
        let data_dir = folder.path().join("member-1");
        restore(&options(&file, data_dir.clone(), 1)).unwrap();
        let again = restore(&options(&file, data_dir, 1)).unwrap_err();
        assert!(matches!(again, RestoreError::NotEmpty { .. }), "{again}");
        let held = DataDir::open(folder.path().join("member-2")).unwrap();
        let in_use = restore(&options(&file, held.path().to_owned(), 2)).unwrap_err();
        assert!(
            matches!(in_use, RestoreError::DataDir(DataDirError::InUse { .. })),
            "{in_use}"
        );
    }

    #[test]
    fn a_damaged_file_is_refused_and_makes_nobody_a_member() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = saved(folder.path());
        let good = fs::read(&file).unwrap();
        let bad = folder.path().join("bad.snap");
        let data_dir = folder.path().join("member-1");
        let longer = [good.as_slice(), b"x"].concat();
        let cut = good[..good.len() - 1].to_vec();
        let damaged = (0..good.len()).step_by(97).map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            bytes
        });
        for bytes in damaged.chain([longer, cut, Vec::new()]) {
            File::create(&bad).unwrap().write_all(&bytes).unwrap();
            assert!(restore(&options(&bad, data_dir.clone(), 1)).is_err());
            let left: Vec<_> = fs::read_dir(&data_dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(left, ["LOCK"]);
        }
        restore(&options(&file, data_dir, 1)).unwrap();
    }

    #[test]
    fn a_file_whose_epoch_is_not_lower_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = saved(folder.path());
        let options = RestoreOptions {
            cluster_epoch: Some(1),
            ..options(&file, folder.path().join("member-1"), 1)
        };
        let error = restore(&options).unwrap_err();
        assert!(
            matches!(error, RestoreError::Epoch(NewEpochError::NotHigher { .. })),
            "{error}"
        );
    }
}
