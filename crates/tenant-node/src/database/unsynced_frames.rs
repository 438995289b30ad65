//! What one connection has written to its tenant's write-ahead log since the log was synced last.
//!
//! SQLite writes each frame in two pieces, its header and its page. The header is held back until the page comes, so that they are one
//! call to the system. The frames of a transaction that is written straight on are copied on the way: whoever keeps the commit elsewhere
//! need not read them back. Must not open or write files.

use super::wal_format::{FRAME_HEADER_BYTES, FRAME_HEADER_LENGTH, HEADER_BYTES, WalHeader, ends_commit};

/// Longer transactions are read back, or synced where they are. A copy stays with its connection when a transaction is rolled back, until
/// the next one writes.
const MOST_COPIED_BYTES: usize = 32 << 10;

/// The frames since the last sync.
#[derive(Debug, Default)]
pub(super) struct UnsyncedFrames {
    first_written: Option<u64>,
    /// Where the frame lies that ends a transaction.
    last_frame: Option<u64>,
    held: Option<HeldHeader>,
    copy: Option<FrameCopy>,
}

/// A frame's header whose page has not come yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldHeader {
    pub(super) offset: u64,
    pub(super) bytes: [u8; FRAME_HEADER_LENGTH],
}

/// Whole frames that lie one behind the other in the log, as they are in the file.
#[derive(Debug)]
pub(super) struct FrameCopy {
    begin: u64,
    bytes: Vec<u8>,
    page_bytes: usize,
}

/// What was written when the log is to be synced.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The first byte.
    pub(super) first: Option<u64>,
    /// Where the frame lies that ends a transaction.
    pub(super) last_frame: Option<u64>,
    /// All of it from `first` on, unless it was too much or not written straight on.
    pub(super) copy: Option<FrameCopy>,
}

impl UnsyncedFrames {
    /// Forgets all: the log begins anew, or what was written belongs to no transaction that can still be committed. A header that is held has
    /// no page any more then: its transaction had SQLite's lock for writing until it was given up.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes note of what was written since the last sync.
    pub(super) fn take(&mut self) -> Written {
        let all = std::mem::take(self);
        Written {
            first: all.first_written,
            last_frame: all.last_frame,
            copy: all.copy,
        }
    }

    /// Whether these bytes are a frame's header, which is then held back. What was held before has to be taken out first.
    pub(super) fn hold(&mut self, offset: u64, bytes: &[u8]) -> bool {
        match <[u8; FRAME_HEADER_LENGTH]>::try_from(bytes) {
            Ok(bytes) if offset >= HEADER_BYTES => {
                self.held = Some(HeldHeader { offset, bytes });
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Whether a write at this offset goes on where the held header ends.
    pub(super) fn is_page_of_held(&self, offset: u64) -> bool {
        self.held.is_some_and(|held| held.offset + FRAME_HEADER_BYTES == offset)
    }

    /// The held header, to be written by itself.
    pub(super) const fn take_held(&mut self) -> Option<HeldHeader> {
        self.held.take()
    }

    /// Copies the held header and its page, and gives both as they are to be written, with the offset. `None` where they are not copied:
    /// the header is still held then.
    pub(super) fn join(&mut self, page: &[u8]) -> Option<(u64, &[u8])> {
        let HeldHeader { offset, bytes: header } = self.held?;
        if self.first_written.is_none_or(|first| first == offset) {
            // The transaction begins here, or was given up and begins again.
            self.copy = Some(FrameCopy::new(offset, page.len()));
        }
        let copy = self.copy.as_mut().filter(|copy| copy.takes(offset, page))?;
        let before = copy.bytes.len();
        copy.bytes.extend_from_slice(&header);
        copy.bytes.extend_from_slice(page);
        self.held = None;
        self.first_written.get_or_insert(offset);
        if ends_commit(&header) {
            self.last_frame = Some(offset);
        }
        let frame = self.copy.as_ref().and_then(|copy| copy.bytes.get(before..))?;
        Some((offset, frame))
    }

    /// Something was written by itself, as SQLite gave it.
    pub(super) fn wrote(&mut self, offset: u64, bytes: &[u8]) {
        if offset < HEADER_BYTES {
            return;
        }
        self.copy = None;
        self.first_written = Some(self.first_written.map_or(offset, |first| first.min(offset)));
        if bytes.len() == FRAME_HEADER_LENGTH && ends_commit(bytes) {
            self.last_frame = Some(offset);
        }
    }

    /// What was given out to be written may not be in the file.
    pub(super) fn write_failed(&mut self) {
        (self.copy, self.last_frame) = (None, None);
    }
}

impl FrameCopy {
    fn new(begin: u64, page_bytes: usize) -> Self {
        Self {
            begin,
            bytes: Vec::with_capacity(FRAME_HEADER_LENGTH + page_bytes),
            page_bytes,
        }
    }

    fn takes(&self, offset: u64, page: &[u8]) -> bool {
        let fits = self.bytes.len() + FRAME_HEADER_LENGTH + page.len() <= MOST_COPIED_BYTES;
        offset == self.begin + self.bytes.len() as u64 && page.len() == self.page_bytes && fits
    }

    /// What the log's header says, as each of its frames repeats it.
    pub(super) fn header(&self) -> Option<WalHeader> {
        WalHeader::of_frame(&self.bytes, self.page_bytes)
    }

    /// The bytes of the log between two offsets, if they are what was copied.
    pub(super) fn between(self, begin: u64, end: u64) -> Option<Vec<u8>> {
        let length = end.checked_sub(begin)?;
        (begin == self.begin && length == self.bytes.len() as u64).then_some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;
    const FRAME: u64 = (FRAME_HEADER_LENGTH + PAGE) as u64;

    fn header(pages: u32) -> [u8; FRAME_HEADER_LENGTH] {
        let mut header = [7; FRAME_HEADER_LENGTH];
        header[4..8].copy_from_slice(&pages.to_be_bytes());
        header
    }

    /// Both pieces of a frame; the whole frame if it is to be written at once.
    fn write(unsynced: &mut UnsyncedFrames, offset: u64, pages: u32) -> Option<Vec<u8>> {
        assert!(unsynced.hold(offset, &header(pages)));
        assert!(unsynced.is_page_of_held(offset + FRAME_HEADER_BYTES));
        let joined = unsynced.join(&[1; PAGE]).map(|(at, frame)| (at, frame.to_vec()));
        joined.map(|(at, frame)| {
            assert_eq!(at, offset);
            frame
        })
    }

    #[test]
    fn frames_that_are_written_straight_on_are_written_at_once_and_copied() {
        let mut unsynced = UnsyncedFrames::default();
        let mut expected = Vec::new();
        for (number, pages) in [(0, 0), (1, 0), (2, 9)] {
            let frame = write(&mut unsynced, HEADER_BYTES + number * FRAME, pages).unwrap();
            assert_eq!(frame, [&header(pages)[..], &[1; PAGE]].concat());
            expected.extend(frame);
        }
        let written = unsynced.take();
        assert_eq!(
            (written.first, written.last_frame),
            (Some(HEADER_BYTES), Some(HEADER_BYTES + 2 * FRAME))
        );
        let copy = written.copy.unwrap();
        assert_eq!(copy.header().unwrap().salts, [7; 8]);
        assert_eq!(copy.between(HEADER_BYTES, HEADER_BYTES + 3 * FRAME).unwrap(), expected);
        assert!(unsynced.take().first.is_none());
    }

    #[test]
    fn nothing_but_what_was_copied_is_given_out() {
        for (begin, end, given) in [
            (HEADER_BYTES, HEADER_BYTES + FRAME, true),
            (HEADER_BYTES, HEADER_BYTES + 2 * FRAME, false),
            (HEADER_BYTES, HEADER_BYTES, false),
            (0, FRAME, false),
        ] {
            let mut unsynced = UnsyncedFrames::default();
            write(&mut unsynced, HEADER_BYTES, 1).unwrap();
            let copy = unsynced.take().copy.unwrap();
            assert_eq!(copy.between(begin, end).is_some(), given, "{begin} to {end}");
        }
    }

    #[test]
    fn what_is_written_over_or_elsewhere_leaves_no_copy() {
        type Disturb = fn(&mut UnsyncedFrames);
        let disturbances: [(&str, Disturb); 4] = [
            ("a page anew", |unsynced| {
                unsynced.wrote(HEADER_BYTES + FRAME_HEADER_BYTES, &[2; PAGE]);
            }),
            ("a header anew", |unsynced| {
                unsynced.wrote(HEADER_BYTES + FRAME, &header(9))
            }),
            ("a frame further on", |unsynced| {
                assert!(write(unsynced, HEADER_BYTES + 5 * FRAME, 9).is_none());
                let held = unsynced.take_held().unwrap();
                unsynced.wrote(held.offset, &held.bytes);
            }),
            ("a failure", UnsyncedFrames::write_failed),
        ];
        for (name, disturb) in disturbances {
            let mut unsynced = UnsyncedFrames::default();
            for number in 0..2 {
                write(&mut unsynced, HEADER_BYTES + number * FRAME, 0).unwrap();
            }
            disturb(&mut unsynced);
            // What goes on behind it is not copied either.
            assert!(write(&mut unsynced, HEADER_BYTES + 2 * FRAME, 9).is_none(), "{name}");
            let written = unsynced.take();
            assert_eq!(written.first, Some(HEADER_BYTES), "{name}");
            assert!(written.copy.is_none(), "{name}");
        }
    }

    #[test]
    fn a_transaction_that_begins_again_where_one_was_given_up_is_copied() {
        let mut unsynced = UnsyncedFrames::default();
        for number in 0..3 {
            write(&mut unsynced, HEADER_BYTES + number * FRAME, 0).unwrap();
        }
        write(&mut unsynced, HEADER_BYTES, 4).unwrap();
        let written = unsynced.take();
        assert_eq!(written.last_frame, Some(HEADER_BYTES));
        assert_eq!(
            written
                .copy
                .unwrap()
                .between(HEADER_BYTES, HEADER_BYTES + FRAME)
                .unwrap()
                .len() as u64,
            FRAME
        );
    }

    #[test]
    fn no_more_is_copied_than_may_be_logged() {
        let mut unsynced = UnsyncedFrames::default();
        let most = MOST_COPIED_BYTES as u64 / FRAME;
        for number in 0..most {
            write(&mut unsynced, HEADER_BYTES + number * FRAME, 0).unwrap();
        }
        assert!(write(&mut unsynced, HEADER_BYTES + most * FRAME, 9).is_none());
    }

    #[test]
    fn only_headers_of_frames_are_held() {
        let mut unsynced = UnsyncedFrames::default();
        assert!(!unsynced.hold(0, &header(0)), "part of the log's own header");
        assert!(!unsynced.hold(HEADER_BYTES, &[0; PAGE]));
        assert!(unsynced.hold(HEADER_BYTES, &header(0)));
        assert!(!unsynced.is_page_of_held(HEADER_BYTES + FRAME));
    }
}
