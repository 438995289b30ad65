//! Snapshot files as this member sees them: the header in our own types, and what makes a file unusable here.
//!
//! The frame itself is `snapshot-format`'s, which `tenantctl` reads too.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use snapshot_format::{FileError, FileReader, FileWriter};
use tenantry_proto::internal::v1::{SnapshotFileHeader, SnapshotMembers};
use tenantry_types::{InvalidId, MemberId};

use super::{LogId, LogPosition, Members, MembersAt};

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The last entry whose effect it holds.
    pub position: LogPosition,
    /// The members as of that entry.
    pub members: MembersAt,
    /// Which cluster's it is: equal on all its members.
    pub fingerprint: u64,
}

/// Why a snapshot cannot be written, read or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is cut short or damaged.
    #[error("the snapshot is damaged: {what}")]
    Damaged {
        /// What does not check.
        what: String,
    },
    /// It was written by another version.
    #[error(
        "the snapshot has format {found}, this version reads {}",
        snapshot_format::file::FORMAT
    )]
    Format {
        /// The format found.
        found: u16,
    },
    /// It belongs to another cluster.
    #[error("the snapshot is of cluster {found:016x}, this is {expected:016x}")]
    Foreign {
        /// The fingerprint found.
        found: u64,
        /// Ours.
        expected: u64,
    },
    /// It is not the snapshot that was announced.
    #[error("the snapshot ends at {found:?}, announced was {expected:?}")]
    Unexpected {
        /// What the file says.
        found: LogPosition,
        /// What was announced.
        expected: LogPosition,
    },
}

impl From<FileError> for SnapshotError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(source) => Self::Io {
                doing: "read the snapshot",
                source,
            },
            FileError::Damaged { what } => Self::Damaged { what },
            FileError::Format { found } => Self::Format { found },
        }
    }
}

/// Begins a file with its header.
///
/// # Errors
/// Those of `out`.
pub(super) fn begin_file<W: Write>(out: W, header: &SnapshotHeader) -> io::Result<FileWriter<W>> {
    FileWriter::new(out, &to_wire(header))
}

/// Reads a file's header. Whose file it is, and whether the rest is whole, is not looked at yet.
///
/// # Errors
/// When it is damaged or of another format.
pub fn open_snapshot_file<R: Read>(input: R) -> Result<(SnapshotHeader, FileReader<R>), SnapshotError> {
    let (header, reader) = FileReader::new(input)?;
    let header = from_wire(header).map_err(|error| SnapshotError::Damaged {
        what: error.to_string(),
    })?;
    Ok((header, reader))
}

fn to_wire(header: &SnapshotHeader) -> SnapshotFileHeader {
    // Taken apart by name, so that a new field cannot be forgotten.
    let SnapshotHeader {
        position: LogPosition { index: last, term },
        members: MembersAt { index, members },
        fingerprint,
    } = header;
    let Members {
        voters,
        learners,
        voters_outgoing,
        learners_next,
        auto_leave,
        addresses,
        logs,
        removed,
    } = members;
    let ids = |set: &BTreeSet<MemberId>| set.iter().map(|id| id.get()).collect();
    SnapshotFileHeader {
        index: *last,
        term: *term,
        cluster_fingerprint: *fingerprint,
        members: Some(SnapshotMembers {
            index: *index,
            voters: ids(voters),
            learners: ids(learners),
            voters_outgoing: ids(voters_outgoing),
            learners_next: ids(learners_next),
            auto_leave: *auto_leave,
            addresses: addresses
                .iter()
                .map(|(id, address)| (id.get(), address.clone()))
                .collect(),
            logs: logs.iter().map(|(id, log)| (id.get(), log.get())).collect(),
            removed: ids(removed),
        }),
    }
}

fn from_wire(header: SnapshotFileHeader) -> Result<SnapshotHeader, InvalidId> {
    let ids = |list: Vec<u64>| list.into_iter().map(MemberId::new).collect::<Result<BTreeSet<_>, _>>();
    let members = header.members.unwrap_or_default();
    Ok(SnapshotHeader {
        position: LogPosition {
            index: header.index,
            term: header.term,
        },
        members: MembersAt {
            index: members.index,
            members: Members {
                voters: ids(members.voters)?,
                learners: ids(members.learners)?,
                voters_outgoing: ids(members.voters_outgoing)?,
                learners_next: ids(members.learners_next)?,
                auto_leave: members.auto_leave,
                addresses: members
                    .addresses
                    .into_iter()
                    .map(|(id, address)| Ok((MemberId::new(id)?, address)))
                    .collect::<Result<_, InvalidId>>()?,
                logs: members
                    .logs
                    .into_iter()
                    .filter_map(|(id, log)| LogId::new(log).map(|log| Ok((MemberId::new(id)?, log))))
                    .collect::<Result<_, InvalidId>>()?,
                removed: ids(members.removed)?,
            },
        },
        fingerprint: header.cluster_fingerprint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_with_all_its_members() {
        let ids = |list: &[u64]| {
            list.iter()
                .map(|id| MemberId::new(*id).unwrap())
                .collect::<BTreeSet<_>>()
        };
        let header = SnapshotHeader {
            position: LogPosition { index: 9, term: 2 },
            members: MembersAt {
                index: 8,
                members: Members {
                    voters: ids(&[1, 2]),
                    learners: ids(&[3]),
                    voters_outgoing: ids(&[1, 4]),
                    learners_next: ids(&[4]),
                    auto_leave: true,
                    addresses: ids(&[1, 2, 3, 4])
                        .into_iter()
                        .map(|id| (id, format!("host-{id}:7401")))
                        .collect(),
                    logs: ids(&[1, 2]).into_iter().zip(LogId::new(77)).collect(),
                    removed: ids(&[5, 6]),
                },
            },
            fingerprint: 7,
        };
        let file = begin_file(Vec::new(), &header).unwrap().finish().unwrap();
        let (found, reader) = open_snapshot_file(file.as_slice()).unwrap();
        assert_eq!(found, header);
        reader.verify().unwrap();
    }

    #[test]
    fn a_member_without_an_id_is_damage() {
        let wire = SnapshotFileHeader {
            members: Some(SnapshotMembers {
                voters: vec![0],
                ..SnapshotMembers::default()
            }),
            ..SnapshotFileHeader::default()
        };
        let file = FileWriter::new(Vec::new(), &wire).unwrap().finish().unwrap();
        let error = open_snapshot_file(file.as_slice())
            .map(|(header, _)| header)
            .unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    }
}
