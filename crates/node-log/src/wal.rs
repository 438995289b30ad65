//! SQLite's WAL file as its format says (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>): the header and the chain of
//! checksums. Pure bytes, no files.

use crate::record::array;

/// Bytes before the first frame.
pub(crate) const HEADER: usize = 32;
/// Bytes of a frame before its page.
pub(crate) const FRAME_HEADER: usize = 24;
/// The lowest bit says that checksums read their input as big-endian numbers.
const MAGIC: u32 = 0x377f_0682;

/// The chain of checksums up to some frame.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    big_endian: bool,
    page: usize,
    salts: [u8; 8],
    sum: (u32, u32),
}

impl Chain {
    /// # Errors
    /// What is wrong with the header.
    pub(crate) fn begin(header: &[u8; HEADER]) -> Result<Self, &'static str> {
        let word = |at: usize| array(&header[at..at + 4]).map_or(0, u32::from_be_bytes);
        let big_endian = match word(0) {
            MAGIC => false,
            magic if magic == MAGIC | 1 => true,
            _ => return Err("it does not begin like a WAL file"),
        };
        let page = word(8);
        if !page.is_power_of_two() || !(512..=65_536).contains(&page) {
            return Err("the header has an impossible page size");
        }
        let mut chain = Self {
            big_endian,
            page: page as usize,
            salts: array(&header[16..24]).unwrap_or_default(),
            sum: (0, 0),
        };
        chain.add(&header[..24]);
        if chain.sum != (word(24), word(28)) {
            return Err("the checksum of the header is wrong");
        }
        Ok(chain)
    }

    /// Which life of the file it is.
    pub(crate) const fn salts(&self) -> [u8; 8] {
        self.salts
    }

    /// The length of a frame with its header.
    pub(crate) const fn frame(&self) -> usize {
        FRAME_HEADER + self.page
    }

    /// Goes on over `frame`, which has that length.
    ///
    /// # Errors
    /// Why it does not belong behind the frames before.
    pub(crate) fn add_frame(&mut self, frame: &[u8]) -> Result<(), &'static str> {
        if frame.len() != self.frame() {
            return Err("a frame is cut off");
        }
        if frame[8..16] != self.salts {
            return Err("a frame has the salts of another life of the file");
        }
        self.add(&frame[..8]);
        self.add(&frame[FRAME_HEADER..]);
        let word = |at: usize| array(&frame[at..at + 4]).map_or(0, u32::from_be_bytes);
        if self.sum != (word(16), word(20)) {
            return Err("the checksum of a frame is wrong");
        }
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) {
        let read = if self.big_endian {
            u32::from_be_bytes
        } else {
            u32::from_le_bytes
        };
        let (mut first, mut second) = self.sum;
        for pair in bytes.chunks_exact(8) {
            let (one, other) = pair.split_at(4);
            first = first.wrapping_add(array(one).map_or(0, read)).wrapping_add(second);
            second = second.wrapping_add(array(other).map_or(0, read)).wrapping_add(first);
        }
        self.sum = (first, second);
    }
}
