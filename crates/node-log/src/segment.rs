//! The name and the first page of a segment file.
//!
//! ```text
//!  0  [u8; 8]  magic
//!  8  u32      version of the format
//! 12  u32      CRC-32 over everything but itself
//! 16  u64      number
//! 24  u64      LSN of its first record
//! 32  u64      number of the oldest segment that was needed when this one was begun
//! 40  u64      nonce, drawn when it was begun
//! ```
//!
//! Records begin with the second page ([`FIRST_RECORD`]).

use crc32fast::Hasher;

use crate::batch::PAGE;
use crate::lsn::Lsn;
use crate::record::array;

/// Where records begin.
pub(crate) const FIRST_RECORD: u64 = PAGE as u64;
/// Bytes of the header.
pub(crate) const LENGTH: usize = 48;

const MAGIC: [u8; 8] = *b"tnodelog";
const VERSION: u32 = 1;
const PREFIX: &str = "segment-";

/// What the first page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) first: Lsn,
    /// A segment from this one on that is missing was lost, not freed.
    pub(crate) oldest: u64,
    pub(crate) nonce: u64,
}

/// What the checksums of a segment's records include, so that nothing else passes for one of them: neither what a recycled file still
/// holds of its former life, nor what a tenant wrote into its database to look like one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentKey {
    number: u64,
    nonce: u64,
}

impl SegmentKey {
    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.nonce.to_le_bytes());
        bytes
    }
}

impl SegmentHeader {
    pub(crate) fn key(self) -> SegmentKey {
        SegmentKey {
            number: self.number,
            nonce: self.nonce,
        }
    }

    /// The whole first page.
    pub(crate) fn page(self) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[16..24].copy_from_slice(&self.number.to_le_bytes());
        page[24..32].copy_from_slice(&self.first.get().to_le_bytes());
        page[32..40].copy_from_slice(&self.oldest.to_le_bytes());
        page[40..48].copy_from_slice(&self.nonce.to_le_bytes());
        let crc = crc(&page);
        page[12..16].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let number = |range: std::ops::Range<usize>| bytes.get(range).and_then(array).map(u64::from_le_bytes);
        let word = |range: std::ops::Range<usize>| bytes.get(range).and_then(array).map(u32::from_le_bytes);
        if bytes.get(..8) != Some(&MAGIC) {
            return Err("it does not begin like a segment of the log".to_owned());
        }
        match word(8..12) {
            Some(VERSION) => {}
            Some(other) => {
                return Err(format!(
                    "its format has version {other}, and this program knows {VERSION}"
                ));
            }
            None => return Err("its header is cut off".to_owned()),
        }
        let (Some(sum), Some(own), Some(first), Some(oldest), Some(nonce)) = (
            word(12..16),
            number(16..24),
            number(24..32),
            number(32..40),
            number(40..48),
        ) else {
            return Err("its header is cut off".to_owned());
        };
        if sum != crc(bytes) {
            return Err("the checksum of its header is wrong".to_owned());
        }
        Ok(Self {
            number: own,
            first: Lsn::new(first),
            oldest,
            nonce,
        })
    }
}

fn crc(page: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&page[..12]);
    hasher.update(&page[16..LENGTH]);
    hasher.finalize()
}

/// `segment-` and twenty digits.
pub(crate) fn name(number: u64) -> String {
    format!("{PREFIX}{number:020}")
}

/// The number in such a name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    numbered(PREFIX, name)
}

/// The twenty digits behind `prefix`.
pub(crate) fn numbered(prefix: &str, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}
