//! How a record is written: pure bytes, no files.
//!
//! ```text
//!  0  u32  length of the body
//!  4  u32  CRC-32 over the segment's key and the bytes 0..4 and 8..24
//!  8  u32  CRC-32 of the body
//! 12  u8   kind: 1 commit, 2 end of the segment
//! 13  u8   1 if a batch begins with it, else 0
//! 14  u16  zero
//! 16  u64  LSN; of an end mark the last one in the segment
//! 24       body; of a commit: tenant (16), salts (8), offset in the WAL file (8), frames
//! ```
//!
//! Numbers are little-endian. The segment's key is in the checksum, so that what a recycled file still holds of its former life
//! never passes for a record. The body has a checksum of its own, so that the thread that appends computes it outside of the lock.

use crc32fast::Hasher;
use tenantry_types::TenantUid;

use crate::lsn::Lsn;
use crate::segment::SegmentKey;

/// Bytes before the body.
pub(crate) const HEADER: usize = 24;
/// Bytes of a commit's body before its frames.
const COMMIT_HEADER: usize = 32;

const COMMIT: u8 = 1;
const END: u8 = 2;

/// The frames of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRecord {
    /// Whose commit.
    pub tenant: TenantUid,
    /// Bytes 16..24 of the WAL file's header.
    pub salts: [u8; 8],
    /// Where the frames begin in the WAL file, in bytes.
    pub offset: u64,
    /// The frames as they are in the WAL file, the last one with the commit mark.
    pub frames: Vec<u8>,
}

/// A commit whose body is already summed up; its place in the log is not known yet.
#[derive(Debug)]
pub(crate) struct Summed<'a> {
    record: &'a CommitRecord,
    body_length: u32,
    body_crc: u32,
    head: [u8; COMMIT_HEADER],
}

impl<'a> Summed<'a> {
    /// `None` if the record is too long for its length field.
    pub(crate) fn new(record: &'a CommitRecord) -> Option<Self> {
        let body_length = u32::try_from(COMMIT_HEADER.checked_add(record.frames.len())?).ok()?;
        let mut head = [0; COMMIT_HEADER];
        head[..16].copy_from_slice(&record.tenant.as_u128().to_le_bytes());
        head[16..24].copy_from_slice(&record.salts);
        head[24..].copy_from_slice(&record.offset.to_le_bytes());
        let mut hasher = Hasher::new();
        hasher.update(&head);
        hasher.update(&record.frames);
        Some(Self {
            record,
            body_length,
            body_crc: hasher.finalize(),
            head,
        })
    }

    pub(crate) const fn tenant(&self) -> TenantUid {
        self.record.tenant
    }

    /// How many bytes it takes in the log.
    pub(crate) fn length(&self) -> usize {
        HEADER + COMMIT_HEADER + self.record.frames.len()
    }

    pub(crate) fn write(&self, place: Place, into: &mut Vec<u8>) {
        into.extend_from_slice(&header(place, COMMIT, self.body_length, self.body_crc));
        into.extend_from_slice(&self.head);
        into.extend_from_slice(&self.record.frames);
    }
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: SegmentKey,
    pub(crate) lsn: Lsn,
    /// Whether a batch begins with it. Such a record proves that the batch before it was synced.
    pub(crate) begins_batch: bool,
}

/// Writes the mark behind the last record of a full segment; `place.lsn` is that record's.
pub(crate) fn write_end(place: Place, into: &mut Vec<u8>) {
    into.extend_from_slice(&header(place, END, 0, crc32fast::hash(&[])));
}

fn header(place: Place, kind: u8, body_length: u32, body_crc: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&body_length.to_le_bytes());
    header[8..12].copy_from_slice(&body_crc.to_le_bytes());
    header[12] = kind;
    header[13] = u8::from(place.begins_batch);
    header[16..].copy_from_slice(&place.lsn.get().to_le_bytes());
    let crc = header_crc(place.segment, &header);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

fn header_crc(segment: SegmentKey, header: &[u8; HEADER]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&segment.bytes());
    hasher.update(&header[..4]);
    hasher.update(&header[8..]);
    hasher.finalize()
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read<'a> {
    pub(crate) lsn: Lsn,
    pub(crate) begins_batch: bool,
    pub(crate) content: Content<'a>,
    /// Bytes that it takes in the log.
    pub(crate) length: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Commit {
        tenant: TenantUid,
        salts: [u8; 8],
        offset: u64,
        frames: &'a [u8],
    },
    End,
}

/// Reads the record with which `bytes` begin; `None` if they do not begin with a valid one of this segment.
pub(crate) fn read(segment: SegmentKey, bytes: &[u8]) -> Option<Read<'_>> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    if u32::from_le_bytes(array(&header[4..8])?) != header_crc(segment, header) {
        return None;
    }
    let body_length = usize::try_from(u32::from_le_bytes(array(&header[..4])?)).ok()?;
    let body = rest.get(..body_length)?;
    if u32::from_le_bytes(array(&header[8..12])?) != crc32fast::hash(body) {
        return None;
    }
    let content = match header[12] {
        COMMIT => {
            let (head, frames) = body.split_first_chunk::<COMMIT_HEADER>()?;
            Content::Commit {
                tenant: TenantUid::from_u128(u128::from_le_bytes(array(&head[..16])?)),
                salts: array(&head[16..24])?,
                offset: u64::from_le_bytes(array(&head[24..])?),
                frames,
            }
        }
        END => Content::End,
        _ => return None,
    };
    Some(Read {
        lsn: Lsn::new(u64::from_le_bytes(array(&header[16..])?)),
        begins_batch: header[13] == 1,
        content,
        length: HEADER + body_length,
    })
}

/// The bytes as an array, if they are as many.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}
