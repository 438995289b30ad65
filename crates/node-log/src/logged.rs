//! Commits of a log that is being recovered, each with the segment that has it, so that its frames can be read once more.

use std::io;
use std::ops::Range;

use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::folder::Folder;
use crate::handle::io_error;
use crate::scan::Commit;

/// A commit, and the segment that has its frames.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) segment: u64,
    pub(crate) commit: Commit,
}

/// Reads frames. The segment of the last ones stays open.
pub(crate) struct FrameReader<'a> {
    folder: &'a Folder,
    open: Option<(u64, Box<dyn DiskFile>)>,
}

impl<'a> FrameReader<'a> {
    pub(crate) const fn new(folder: &'a Folder) -> Self {
        Self { folder, open: None }
    }

    /// All frames of the commit.
    ///
    /// # Errors
    /// As [`Self::part`].
    pub(crate) fn frames(&mut self, logged: &Logged) -> Result<Vec<u8>, OpenError> {
        self.part(logged, 0..logged.commit.frames.len())
    }

    /// Those bytes of the commit's frames.
    ///
    /// # Errors
    /// [`OpenError::Io`]; also if the segment became shorter.
    pub(crate) fn part(&mut self, logged: &Logged, part: Range<usize>) -> Result<Vec<u8>, OpenError> {
        let path = self.folder.segment_path(logged.segment);
        let open = self.open.take().filter(|(segment, _)| *segment == logged.segment);
        let file = match open {
            Some((_, file)) => file,
            None => self
                .folder
                .disk()
                .open(&path)
                .and_then(|file| file.ok_or_else(|| io::ErrorKind::NotFound.into()))
                .map_err(io_error("open", &path))?,
        };
        let mut bytes = vec![0; part.len()];
        let offset = logged.commit.frames.start + part.start;
        let length = file
            .read_at(&mut bytes, offset as u64)
            .map_err(io_error("read", &path))?;
        if length < bytes.len() {
            return Err(io_error("read", &path)(io::ErrorKind::UnexpectedEof.into()));
        }
        self.open = Some((logged.segment, file));
        Ok(bytes)
    }
}
