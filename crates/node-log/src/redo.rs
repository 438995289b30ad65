//! Writes back what WAL files lack, then proves that each holds everything up to its last commit in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tenantry_types::TenantUid;

use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::folder::Folder;
use crate::handle::io_error;
use crate::recovery::Recovery;
use crate::scan::Commit;
use crate::tenant_files::TenantFiles;
use crate::wal::{self, Chain};

/// Frames are read about as many bytes at once.
const READ_BYTES: usize = 1 << 20;

pub(crate) struct Redo<'a> {
    folder: &'a Folder,
    files: &'a TenantFiles,
    seen: BTreeSet<TenantUid>,
    /// Where the last commit ends in the WAL file of each tenant that still needs its records.
    ends: BTreeMap<TenantUid, u64>,
    pub(crate) report: Recovery,
}

/// A WAL file that has a header.
struct Wal {
    tenant: TenantUid,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: [u8; wal::HEADER],
}

/// What is to be said of a WAL file.
type Broken = (u64, &'static str);

impl<'a> Redo<'a> {
    pub(crate) fn new(folder: &'a Folder, files: &'a TenantFiles) -> Self {
        Self {
            folder,
            files,
            seen: BTreeSet::new(),
            ends: BTreeMap::new(),
            report: Recovery::default(),
        }
    }

    /// Writes back the commits of one segment, each tenant's in their order.
    pub(crate) fn segment(&mut self, bytes: &[u8], commits: &[Commit]) -> Result<(), OpenError> {
        let mut by_tenant: BTreeMap<TenantUid, Vec<&Commit>> = BTreeMap::new();
        for commit in commits {
            by_tenant.entry(commit.tenant).or_default().push(commit);
        }
        for (tenant, commits) in by_tenant {
            self.seen.insert(tenant);
            self.report.records += commits.len() as u64;
            let found = self.open(tenant)?;
            for commit in commits {
                match &found {
                    Some(wal) if wal::salts(&wal.header) == commit.salts => {
                        self.write_back(wal, commit, &bytes[commit.frames.clone()])?;
                    }
                    _ => self.report.obsolete_records += 1,
                }
            }
        }
        Ok(())
    }

    /// The tenant's WAL file; `None` if there is none, or nothing in it.
    fn open(&self, tenant: TenantUid) -> Result<Option<Wal>, OpenError> {
        let path = self.files.wal(tenant);
        let Some(file) = self.folder.disk().open(&path).map_err(io_error("open", &path))? else {
            return Ok(None);
        };
        let mut header = [0; wal::HEADER];
        let length = file.read_at(&mut header, 0).map_err(io_error("read", &path))?;
        Ok((length == wal::HEADER).then_some(Wal {
            tenant,
            path,
            file,
            header,
        }))
    }

    fn broken(&self, wal: &Wal, end: u64, (offset, what): Broken) -> OpenError {
        OpenError::BrokenWal {
            tenant: wal.tenant,
            file: wal.path.clone(),
            offset,
            end,
            what,
            folder: self.folder.path().to_owned(),
        }
    }

    fn write_back(&mut self, wal: &Wal, commit: &Commit, frames: &[u8]) -> Result<(), OpenError> {
        let end = commit.offset.saturating_add(frames.len() as u64);
        let frame = Chain::begin(&wal.header)
            .map_err(|what| self.broken(wal, end, (0, what)))?
            .frame();
        let whole = commit
            .offset
            .checked_sub(wal::HEADER as u64)
            .is_some_and(|behind| behind.is_multiple_of(frame as u64))
            && frames.len().is_multiple_of(frame);
        if !whole {
            let broken = (
                commit.offset,
                "the commit in the log does not consist of frames of this file",
            );
            return Err(self.broken(wal, end, broken));
        }
        let mut present = vec![0; frames.len()];
        let length = wal
            .file
            .read_at(&mut present, commit.offset)
            .map_err(io_error("read", &wal.path))?;
        present.truncate(length);
        let missing = frames
            .chunks(frame)
            .enumerate()
            .filter(|(index, wanted)| present.get(index * frame..(index + 1) * frame) != Some(*wanted))
            .count();
        if missing > 0 {
            wal.file
                .write_at(frames, commit.offset)
                .map_err(io_error("write frames back into", &wal.path))?;
            self.report.frames_written_back += missing as u64;
            self.report.bytes_written_back += frames.len() as u64;
        }
        // A commit that begins before the end of the last one takes the place of what SQLite gave up after it was logged.
        self.ends.insert(wal.tenant, end);
        Ok(())
    }

    /// Proves and syncs each WAL file that the log has commits for, whether or not it was written to: after a process was killed its
    /// frames may be in memory only.
    pub(crate) fn finish(mut self) -> Result<Recovery, OpenError> {
        for (&tenant, &end) in &self.ends {
            // It was there a moment ago, and nobody else has the folder.
            let Some(wal) = self.open(tenant)? else { continue };
            prove(&wal, end)?.map_err(|broken| self.broken(&wal, end, broken))?;
            wal.file.sync().map_err(io_error("sync", &wal.path))?;
            self.report.wals_synced += 1;
        }
        self.report.tenants = self.seen.len() as u64;
        Ok(self.report)
    }
}

/// Follows the chain of checksums from the beginning to `end`.
fn prove(wal: &Wal, end: u64) -> Result<Result<(), Broken>, OpenError> {
    let mut chain = match Chain::begin(&wal.header) {
        Ok(chain) => chain,
        Err(what) => return Ok(Err((0, what))),
    };
    let frame = chain.frame();
    let mut offset = wal::HEADER as u64;
    let mut buffer = vec![0; frame * (READ_BYTES / frame).max(1)];
    while offset < end {
        let length = wal
            .file
            .read_at(&mut buffer, offset)
            .map_err(io_error("read", &wal.path))?;
        if length == 0 {
            return Ok(Err((offset, "the file ends")));
        }
        for bytes in buffer[..length].chunks(frame) {
            if offset >= end {
                break;
            }
            if let Err(what) = chain.add_frame(bytes) {
                return Ok(Err((offset, what)));
            }
            offset += frame as u64;
        }
    }
    Ok(Ok(()))
}
