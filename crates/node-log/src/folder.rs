//! The files of the log's folder: how one is made, freed and begun anew.
//!
//! A file is called `segment-NUMBER` only while its header is durable under that number: it is written as something else first and
//! renamed then. A freed segment is called `spare-NUMBER`, so that a missing `segment-NUMBER` is told from a freed one. Files that
//! never were a segment are `fresh-NUMBER`; `making` is one that is being filled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::segment::{self, SegmentHeader};

const MAKING: &str = "making";
const SPARE: &str = "spare-";
const FRESH: &str = "fresh-";
/// Zeros written at once.
const PIECE: usize = 1 << 20;

/// A file of the right length, allocated and synced, that is no segment at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spare {
    name: String,
}

/// The log's folder.
pub(crate) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    segment_bytes: u64,
    keep_free: u64,
}

/// What the names in the folder say.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Numbers of segments, ascending.
    pub(crate) segments: Vec<u64>,
    /// Numbers of segments that were freed.
    pub(crate) freed: Vec<u64>,
    /// Numbers of files that never were one.
    pub(crate) fresh: Vec<u64>,
}

/// What came of making a file.
#[derive(Debug)]
pub(crate) enum Made {
    Spare(Spare),
    /// The disk is too full, or refuses for another reason.
    NoRoom(String),
}

impl Folder {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, segment_bytes: u64, keep_free: u64) -> Self {
        Self {
            disk,
            path,
            segment_bytes,
            keep_free,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        self.path.join(segment::name(number))
    }

    pub(crate) fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for name in self.disk.names(&self.path)? {
            if let Some(number) = segment::number_of(&name) {
                listing.segments.push(number);
            } else if let Some(number) = segment::numbered(SPARE, &name) {
                listing.freed.push(number);
            } else if let Some(number) = segment::numbered(FRESH, &name) {
                listing.fresh.push(number);
            }
        }
        listing.segments.sort_unstable();
        listing.freed.sort_unstable();
        listing.fresh.sort_unstable();
        Ok(listing)
    }

    /// Fills a file with zeros and syncs it, so that later syncs overwrite blocks that are allocated and written, and find no
    /// metadata to commit.
    ///
    /// # Errors
    /// When the folder cannot be changed.
    pub(crate) fn make(&self, number: u64) -> io::Result<Made> {
        let free = self.disk.free_bytes(&self.path)?;
        if free < self.segment_bytes.saturating_add(self.keep_free) {
            return Ok(Made::NoRoom(format!("{free} bytes of disk are free")));
        }
        let making = self.path.join(MAKING);
        // Nothing rests on this file yet, so nothing is lost with it, whatever the reason is.
        if let Err(error) = self.fill(&making) {
            if let Err(error) = self.disk.remove(&making) {
                tracing::debug!(%error, "cannot remove a file of the node's log that could not be filled");
            }
            return Ok(Made::NoRoom(error.to_string()));
        }
        let spare = Spare {
            name: format!("{FRESH}{number:020}"),
        };
        self.disk.rename(&making, &self.path.join(&spare.name))?;
        self.disk.sync_folder(&self.path)?;
        Ok(Made::Spare(spare))
    }

    fn fill(&self, path: &Path) -> io::Result<()> {
        let file = self.disk.create(path)?;
        let zeros = vec![0; PIECE];
        let mut offset = 0;
        while offset < self.segment_bytes {
            let piece = usize::try_from(self.segment_bytes - offset).map_or(PIECE, |left| left.min(PIECE));
            file.write_at(&zeros[..piece], offset)?;
            offset += piece as u64;
        }
        file.sync()
    }

    /// Makes spares of freed segments, durably.
    pub(crate) fn free(&self, numbers: &[u64]) -> io::Result<Vec<Spare>> {
        let mut spares = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let spare = Spare::freed(number);
            self.disk
                .rename(&self.segment_path(number), &self.path.join(&spare.name))?;
            spares.push(spare);
        }
        self.disk.sync_folder(&self.path)?;
        Ok(spares)
    }

    /// Makes a segment of a spare. When this returns the segment is durable under its name and empty.
    pub(crate) fn begin(&self, header: SegmentHeader, spare: &Spare) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path.join(&spare.name);
        let file = self.disk.open(&path)?.ok_or(io::ErrorKind::NotFound)?;
        file.write_at(&header.page(), 0)?;
        file.sync()?;
        self.disk.rename(&path, &self.segment_path(header.number))?;
        self.disk.sync_folder(&self.path)?;
        Ok(file)
    }

    /// The spares that a former life left. What has another length, or is beyond `most`, is removed.
    pub(crate) fn take_over(&self, listing: &Listing, most: usize) -> io::Result<Vec<Spare>> {
        let mut spares = Vec::new();
        let freed = listing.freed.iter().map(|&number| Spare::freed(number));
        let fresh = listing.fresh.iter().map(|&number| Spare {
            name: format!("{FRESH}{number:020}"),
        });
        for spare in freed.chain(fresh) {
            let path = self.path.join(&spare.name);
            let length = self.disk.open(&path)?.map(|file| file.length()).transpose()?;
            if length == Some(self.segment_bytes) && spares.len() < most {
                spares.push(spare);
            } else if length.is_some() {
                self.disk.remove(&path)?;
            }
        }
        let making = self.path.join(MAKING);
        if self.disk.open(&making)?.is_some() {
            self.disk.remove(&making)?;
        }
        self.disk.sync_folder(&self.path)?;
        Ok(spares)
    }
}

impl Spare {
    pub(crate) fn freed(number: u64) -> Self {
        Self {
            name: format!("{SPARE}{number:020}"),
        }
    }
}
