//! Writes back what WAL files lack, then proves that each holds everything up to its last commit in the log. A tenant whose file does not
//! is put into quarantine, and the others go on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tenantry_types::TenantUid;

use crate::database_file;
use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::folder::Folder;
use crate::handle::io_error;
use crate::logged::Logged;
use crate::quarantine::{self, BrokenWal};
use crate::recovery::Recovery;
use crate::scan::Commit;
use crate::tenant_files::TenantFiles;
use crate::wal::{self, Chain};

/// Frames are read about as many bytes at once.
const READ_BYTES: usize = 1 << 20;

pub(crate) struct Redo<'a> {
    folder: &'a Folder,
    files: &'a TenantFiles,
    /// What the log has of each tenant, in its order, without the frames: about 80 bytes a commit.
    logged: BTreeMap<TenantUid, Vec<Logged>>,
    /// Where the last commit ends in the WAL file of each tenant that still needs its records.
    ends: BTreeMap<TenantUid, u64>,
    /// Tenants whose WAL files have no valid header, and what is wrong with it.
    headless: BTreeMap<TenantUid, &'static str>,
    /// Where each broken WAL file does not hold; the first place found.
    broken: BTreeMap<TenantUid, Break>,
    report: Recovery,
}

/// What the tenant's folder has.
enum Found {
    /// No WAL file, or one without a frame.
    Nothing,
    /// Frames, or what may be some, without a valid header.
    Headless(&'static str),
    Wal(Wal),
}

/// A WAL file that has a header.
struct Wal {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: Chain,
}

/// A place of a WAL file, and what is to be said of it.
#[derive(Debug, Clone, Copy)]
struct Break {
    offset: u64,
    what: &'static str,
}

impl<'a> Redo<'a> {
    pub(crate) fn new(folder: &'a Folder, files: &'a TenantFiles) -> Self {
        Self {
            folder,
            files,
            logged: BTreeMap::new(),
            ends: BTreeMap::new(),
            headless: BTreeMap::new(),
            broken: BTreeMap::new(),
            report: Recovery::default(),
        }
    }

    /// Writes back the commits of one segment, each tenant's in their order.
    pub(crate) fn segment(&mut self, number: u64, bytes: &[u8], commits: Vec<Commit>) -> Result<(), OpenError> {
        self.report.segments += 1;
        self.report.records += commits.len() as u64;
        let mut by_tenant: BTreeMap<TenantUid, Vec<Commit>> = BTreeMap::new();
        for commit in commits {
            by_tenant.entry(commit.tenant).or_default().push(commit);
        }
        for (tenant, commits) in by_tenant {
            match self.open(tenant)? {
                Found::Nothing => self.report.obsolete_records += commits.len() as u64,
                Found::Headless(what) => {
                    self.headless.insert(tenant, what);
                }
                Found::Wal(wal) => {
                    for commit in &commits {
                        self.redo(&wal, commit, &bytes[commit.frames.clone()])?;
                    }
                }
            }
            let logged = commits.into_iter().map(|commit| Logged {
                segment: number,
                commit,
            });
            self.logged.entry(tenant).or_default().extend(logged);
        }
        Ok(())
    }

    /// The log ends in a write that a crash tore.
    pub(crate) fn torn(&mut self) {
        self.report.torn = true;
    }

    fn open(&self, tenant: TenantUid) -> Result<Found, OpenError> {
        let path = self.files.wal(tenant);
        let Some(file) = self.folder.disk().open(&path).map_err(io_error("open", &path))? else {
            return Ok(Found::Nothing);
        };
        let mut header = [0; wal::HEADER];
        file.read_at(&mut header, 0).map_err(io_error("read", &path))?;
        match Chain::begin(&header) {
            Ok(header) => Ok(Found::Wal(Wal { path, file, header })),
            // SQLite syncs a header before it writes the first frame, so this file has never had one. The one before it is in the database.
            Err(_) if file.length().map_err(io_error("read", &path))? <= wal::HEADER as u64 => Ok(Found::Nothing),
            Err(what) => Ok(Found::Headless(what)),
        }
    }

    fn redo(&mut self, wal: &Wal, commit: &Commit, frames: &[u8]) -> Result<(), OpenError> {
        let tenant = commit.tenant;
        let mut breaks = |offset, what| {
            self.broken.entry(tenant).or_insert(Break { offset, what });
        };
        if commit.salts != wal.header.salts() {
            if self.ends.contains_key(&tenant) {
                // Lives follow each other: the file was in this commit's life when that was acknowledged, and fell back.
                breaks(0, "the log has commits of a later life of the file");
            } else {
                self.report.obsolete_records += 1;
            }
            return Ok(());
        }
        let frame = wal.header.frame();
        let whole = commit
            .offset
            .checked_sub(wal::HEADER as u64)
            .is_some_and(|behind| behind.is_multiple_of(frame as u64))
            && frames.len().is_multiple_of(frame);
        if !whole {
            breaks(
                commit.offset,
                "the commit in the log does not consist of frames of this file",
            );
            return Ok(());
        }
        self.write_back(wal, commit.offset, frames)?;
        // A commit that begins before the end of the last one takes the place of what SQLite gave up after it was logged.
        self.ends.insert(tenant, commit.end());
        Ok(())
    }

    fn write_back(&mut self, wal: &Wal, offset: u64, frames: &[u8]) -> Result<(), OpenError> {
        let frame = wal.header.frame();
        let mut present = vec![0; frames.len()];
        let length = wal
            .file
            .read_at(&mut present, offset)
            .map_err(io_error("read", &wal.path))?;
        present.truncate(length);
        let missing = frames
            .chunks(frame)
            .enumerate()
            .filter(|(index, wanted)| present.get(index * frame..(index + 1) * frame) != Some(*wanted))
            .count();
        if missing > 0 {
            wal.file
                .write_at(frames, offset)
                .map_err(io_error("write frames back into", &wal.path))?;
            self.report.frames_written_back += missing as u64;
            self.report.bytes_written_back += frames.len() as u64;
        }
        Ok(())
    }

    /// When this returns nothing in the log is needed: it is in files that were synced, or in a mark.
    pub(crate) fn finish(mut self) -> Result<Recovery, OpenError> {
        self.prove_all()?;
        self.judge_headless()?;
        self.quarantine()?;
        self.report.tenants = self.logged.len() as u64;
        Ok(self.report)
    }

    /// Proves and syncs each WAL file that the log has commits for, whether or not it was written to: after a process was killed its
    /// frames may be in memory only.
    fn prove_all(&mut self) -> Result<(), OpenError> {
        for (&tenant, &end) in &self.ends {
            // It was there a moment ago, and nobody else has the folder.
            let Found::Wal(wal) = self.open(tenant)? else { continue };
            if let Err(place) = prove(&wal, end)? {
                self.broken.entry(tenant).or_insert(place);
            }
            wal.file.sync().map_err(io_error("sync", &wal.path))?;
            self.report.wals_synced += u64::from(!self.broken.contains_key(&tenant));
        }
        Ok(())
    }

    /// A file without a valid header was about to begin anew, and nobody was answered for anything in it; or it has lost its header.
    fn judge_headless(&mut self) -> Result<(), OpenError> {
        for (&tenant, &what) in &self.headless {
            let commits = self.logged.get(&tenant).map_or(&[][..], Vec::as_slice);
            if database_file::holds(self.folder, &self.files.database(tenant), commits)? {
                self.report.obsolete_records += commits.len() as u64;
            } else {
                self.broken.entry(tenant).or_insert(Break { offset: 0, what });
            }
        }
        Ok(())
    }

    fn quarantine(&mut self) -> Result<(), OpenError> {
        for (&tenant, place) in &self.broken {
            let commits = self.logged.get(&tenant).map_or(&[][..], Vec::as_slice);
            let end = commits.last().map_or(0, |last| last.commit.end());
            let broken = BrokenWal {
                tenant,
                file: self.files.wal(tenant),
                offset: place.offset,
                end,
                what: place.what,
                mark: quarantine::mark_path(&self.files.database(tenant)),
            };
            quarantine::write(self.folder, &broken, commits)?;
            self.report.broken.push(broken);
        }
        Ok(())
    }
}

/// Follows the chain of checksums from the beginning to `end`.
fn prove(wal: &Wal, end: u64) -> Result<Result<(), Break>, OpenError> {
    let mut chain = wal.header.clone();
    let frame = chain.frame();
    let mut offset = wal::HEADER as u64;
    let mut buffer = vec![0; frame * (READ_BYTES / frame).max(1)];
    while offset < end {
        let length = wal
            .file
            .read_at(&mut buffer, offset)
            .map_err(io_error("read", &wal.path))?;
        if length == 0 {
            return Ok(Err(Break {
                offset,
                what: "the file ends",
            }));
        }
        for bytes in buffer[..length].chunks(frame) {
            if offset >= end {
                break;
            }
            if let Err(what) = chain.add_frame(bytes) {
                return Ok(Err(Break { offset, what }));
            }
            offset += frame as u64;
        }
    }
    Ok(Ok(()))
}
