//! The few places of SQLite's write-ahead log that are looked at here: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
//! Reads bytes; must not open files.

/// Bytes of a log's header.
pub(super) const HEADER_LENGTH: usize = 32;
/// The same, as an offset.
pub(super) const HEADER_BYTES: u64 = HEADER_LENGTH as u64;

/// Bytes before the page in each frame.
pub(super) const FRAME_HEADER_LENGTH: usize = 24;
/// The same, as an offset.
pub(super) const FRAME_HEADER_BYTES: u64 = FRAME_HEADER_LENGTH as u64;

/// What a log's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WalHeader {
    /// Bytes of a page.
    pub(super) page_bytes: u32,
    /// Different in each log that begins anew.
    pub(super) salts: [u8; 8],
}

impl WalHeader {
    /// `None` for what cannot be a header.
    pub(super) fn read(bytes: &[u8; HEADER_LENGTH]) -> Option<Self> {
        let page_bytes = number(bytes, 8)?;
        let salts = bytes.get(16..24)?.try_into().ok()?;
        (page_bytes.is_power_of_two() && page_bytes >= 512).then_some(Self { page_bytes, salts })
    }

    /// Read from a frame, which repeats the salts. `None` for what cannot be one.
    pub(super) fn of_frame(frame: &[u8], page_bytes: usize) -> Option<Self> {
        let salts = frame.get(8..16)?.try_into().ok()?;
        let page_bytes = u32::try_from(page_bytes).ok()?;
        Some(Self { page_bytes, salts })
    }

    /// Bytes of a frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES + u64::from(self.page_bytes)
    }
}

/// What the frames of a commit say of the database after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DatabaseSizes {
    /// Pages of the database.
    pub(super) pages: u32,
    /// Pages of it that are free; `None` when the commit did not change them.
    pub(super) free_pages: Option<u32>,
}

impl DatabaseSizes {
    /// Reads them from whole frames, the last of which ends the commit. `None` if it does not.
    pub(super) fn of_commit(frames: &[u8], header: &WalHeader) -> Option<Self> {
        let frame_bytes = usize::try_from(header.frame_bytes()).ok()?;
        let mut sizes = None;
        let mut free_pages = None;
        for frame in frames.chunks_exact(frame_bytes) {
            if number(frame, 0)? == 1 {
                // The first page has the header of the database.
                free_pages = number(frame, FRAME_HEADER_LENGTH + 36);
            }
            sizes = number(frame, 4).filter(|pages| *pages > 0);
        }
        sizes.map(|pages| Self { pages, free_pages })
    }
}

/// Whether a frame's header is that of the last frame of a transaction: a count of pages is what marks it.
pub(super) fn ends_commit(frame_header: &[u8]) -> bool {
    number(frame_header, 4).is_some_and(|pages| pages > 0)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    four.try_into().ok().map(u32::from_be_bytes)
}
