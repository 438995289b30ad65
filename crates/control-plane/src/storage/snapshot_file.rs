//! The snapshot file: a versioned header, chunks with their checksums, and a trailer over the whole.
//!
//! Written and read as a stream; no state is ever held in memory whole. A reader yields no byte of a chunk that does
//! not check, and no end of file without a trailer that does.

use std::io::{self, Read, Write};

use super::binary::{Input, Malformed, put_members, take_members};
use super::{LogPosition, MembersAt};

const MAGIC: [u8; 8] = *b"TNTYSNAP";
const FORMAT: u16 = 1;
/// No chunk is larger, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// No header is larger, in bytes.
const MAX_HEADER_BYTES: usize = 1024 * 1024;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The last entry whose effect it holds.
    pub position: LogPosition,
    /// The members as of that entry.
    pub members: MembersAt,
    /// Hash over the cluster's initial member list.
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
    /// It was written by a newer version.
    #[error("the snapshot has format {found}, this version reads {FORMAT}")]
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

/// Writes a snapshot to any stream. Call [`finish`](Self::finish), or the result is refused by every reader.
pub struct SnapshotWriter<W> {
    out: W,
    chunk: Vec<u8>,
    body: crc32fast::Hasher,
    body_bytes: u64,
}

impl<W: Write> SnapshotWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, header: &SnapshotHeader) -> io::Result<Self> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&header.position.index.to_le_bytes());
        bytes.extend_from_slice(&header.position.term.to_le_bytes());
        bytes.extend_from_slice(&header.fingerprint.to_le_bytes());
        put_members(&mut bytes, &header.members);
        out.write_all(&MAGIC)?;
        write_chunk(&mut out, &bytes)?;
        Ok(Self {
            out,
            chunk: Vec::with_capacity(CHUNK_BYTES),
            body: crc32fast::Hasher::new(),
            body_bytes: 0,
        })
    }

    /// Writes what is buffered and the trailer, and returns the stream.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_buffered()?;
        self.out.write_all(&0_u32.to_le_bytes())?;
        self.out.write_all(&self.body_bytes.to_le_bytes())?;
        self.out.write_all(&self.body.finalize().to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_buffered(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            self.body.update(&self.chunk);
            self.body_bytes += self.chunk.len() as u64;
            write_chunk(&mut self.out, &self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for SnapshotWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK_BYTES {
            self.write_buffered()?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Chunks are cut by size alone, so that the same state gives the same file.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_chunk(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads a snapshot from any stream; as `Read`, yields the state without headers and checksums.
pub struct SnapshotReader<R> {
    input: R,
    chunk: io::Cursor<Vec<u8>>,
    body: crc32fast::Hasher,
    body_bytes: u64,
    ended: bool,
}

impl<R: Read> SnapshotReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is damaged or of another format.
    pub fn new(mut input: R) -> Result<(SnapshotHeader, Self), SnapshotError> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(refused)?;
        if magic != MAGIC {
            return Err(SnapshotError::Damaged {
                what: "it does not begin like a snapshot".into(),
            });
        }
        let bytes = read_chunk(&mut input, MAX_HEADER_BYTES)
            .map_err(refused)?
            .ok_or_else(|| malformed(Malformed("header")))?;
        let mut fields = Input(&bytes);
        let format = fields.u16().map_err(malformed)?;
        if format != FORMAT {
            return Err(SnapshotError::Format { found: format });
        }
        let header = read_header(fields).map_err(malformed)?;
        let reader = Self {
            input,
            chunk: io::Cursor::default(),
            body: crc32fast::Hasher::new(),
            body_bytes: 0,
            ended: false,
        };
        Ok((header, reader))
    }

    /// Reads to the end, checking everything.
    ///
    /// # Errors
    /// When anything does not check.
    pub fn verify(mut self) -> Result<(), SnapshotError> {
        io::copy(&mut self, &mut io::sink()).map(drop).map_err(refused)
    }

    fn check_trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 12];
        self.input.read_exact(&mut trailer)?;
        let mut fields = Input(&trailer);
        let bytes = fields.u64().map_err(invalid)?;
        let crc = fields.u32().map_err(invalid)?;
        if bytes != self.body_bytes || crc != self.body.clone().finalize() {
            return Err(invalid(Malformed("trailer")));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(invalid(Malformed("end")));
        }
        Ok(())
    }
}

impl<R: Read> Read for SnapshotReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.chunk.read(out)?;
            if read > 0 || self.ended || out.is_empty() {
                return Ok(read);
            }
            match read_chunk(&mut self.input, CHUNK_BYTES)? {
                Some(bytes) => {
                    self.body.update(&bytes);
                    self.body_bytes += bytes.len() as u64;
                    self.chunk = io::Cursor::new(bytes);
                }
                None => {
                    self.check_trailer()?;
                    self.ended = true;
                }
            }
        }
    }
}

/// `None` where the trailer begins.
fn read_chunk(input: &mut impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut number = [0; 4];
    input.read_exact(&mut number)?;
    let len = usize::try_from(u32::from_le_bytes(number)).unwrap_or(usize::MAX);
    if len == 0 {
        return Ok(None);
    }
    if len > limit {
        return Err(invalid(Malformed("chunk length")));
    }
    input.read_exact(&mut number)?;
    let mut bytes = vec![0; len];
    input.read_exact(&mut bytes)?;
    if crc32fast::hash(&bytes) != u32::from_le_bytes(number) {
        return Err(invalid(Malformed("chunk checksum")));
    }
    Ok(Some(bytes))
}

fn read_header(mut fields: Input<'_>) -> Result<SnapshotHeader, Malformed> {
    let position = LogPosition {
        index: fields.u64()?,
        term: fields.u64()?,
    };
    let fingerprint = fields.u64()?;
    let members = take_members(&mut fields)?;
    fields.finish()?;
    Ok(SnapshotHeader {
        position,
        members,
        fingerprint,
    })
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn malformed(error: Malformed) -> SnapshotError {
    SnapshotError::Damaged {
        what: error.to_string(),
    }
}

/// Tells a damaged file from a disk that fails.
pub(super) fn refused(error: io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::InvalidData => SnapshotError::Damaged {
            what: error.to_string(),
        },
        io::ErrorKind::UnexpectedEof => SnapshotError::Damaged {
            what: "it ends early".into(),
        },
        _ => SnapshotError::Io {
            doing: "read the snapshot",
            source: error,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            position: LogPosition { index: 9, term: 2 },
            members: MembersAt::default(),
            fingerprint: 7,
        }
    }

    fn written(body: &[u8]) -> Vec<u8> {
        let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
        writer.write_all(body).unwrap();
        writer.finish().unwrap()
    }

    fn read(file: &[u8]) -> Result<Vec<u8>, SnapshotError> {
        let (found, mut reader) = SnapshotReader::new(file)?;
        assert_eq!(found, header());
        let mut body = Vec::new();
        reader.read_to_end(&mut body).map_err(refused)?;
        Ok(body)
    }

    #[test]
    fn any_size_reads_back_as_written() {
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5] {
            let body: Vec<u8> = (0..=250_u8).cycle().take(size).collect();
            assert_eq!(read(&written(&body)).unwrap(), body, "{size}");
        }
    }

    proptest! {
        #[test]
        fn a_file_that_is_cut_or_changed_anywhere_is_refused(body: Vec<u8>, at: usize, flip in 1..=255_u8) {
            let file = written(&body);
            let at = at % file.len();
            prop_assert!(read(&file[..at]).is_err());
            let mut changed = file;
            changed[at] ^= flip;
            prop_assert!(read(&changed).is_err());
            changed[at] ^= flip;
            changed.push(0);
            prop_assert!(read(&changed).is_err());
        }
    }
}
