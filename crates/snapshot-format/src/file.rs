//! The frame of a snapshot file: a magic word, a header, chunks with their checksums, and a trailer over the whole.
//!
//! Written and read as a stream; no state is ever held in memory whole. A reader yields no byte of a chunk that does
//! not check, and no end of file without a trailer that does.

use std::io::{self, Read, Write};

use prost::Message as _;
use tenantry_proto::internal::v1::SnapshotFileHeader;

const MAGIC: [u8; 8] = *b"TNTYSNAP";
/// The version of the frame that this binary writes, and the only one that it reads.
pub const FORMAT: u16 = 2;
/// No chunk is larger, in bytes.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// No header is larger, in bytes.
const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// Length, and checksum over the body.
const TRAILER_BYTES: usize = 12;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk failed.
    #[error("cannot read the snapshot")]
    Io(#[source] io::Error),
    /// The file is cut short or damaged.
    #[error("the snapshot is damaged: {what}")]
    Damaged {
        /// What does not check.
        what: String,
    },
    /// It was written by another version.
    #[error("the snapshot has format {found}, this version reads {FORMAT}")]
    Format {
        /// The format found.
        found: u16,
    },
}

impl From<io::Error> for FileError {
    /// Tells a damaged file from a disk that fails.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Damaged {
                what: error.to_string(),
            },
            io::ErrorKind::UnexpectedEof => Self::Damaged {
                what: "it ends early".into(),
            },
            _ => Self::Io(error),
        }
    }
}

/// Writes a snapshot to any stream. Call [`finish`](Self::finish), or the result is refused by every reader.
pub struct FileWriter<W> {
    out: W,
    chunk: Vec<u8>,
    body: crc32fast::Hasher,
    body_bytes: u64,
}

impl<W: Write> FileWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, header: &SnapshotFileHeader) -> io::Result<Self> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        header.encode_raw(&mut bytes);
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

impl<W: Write> Write for FileWriter<W> {
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
pub struct FileReader<R> {
    input: R,
    chunk: io::Cursor<Vec<u8>>,
    body: crc32fast::Hasher,
    body_bytes: u64,
    ended: bool,
}

impl<R: Read> FileReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is damaged or of another format.
    pub fn new(mut input: R) -> Result<(SnapshotFileHeader, Self), FileError> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(damaged("it does not begin like a snapshot").into());
        }
        let bytes = read_chunk(&mut input, MAX_HEADER_BYTES)?.ok_or_else(|| damaged("no header"))?;
        let (format, fields) = bytes.split_first_chunk().ok_or_else(|| damaged("header"))?;
        let format = u16::from_le_bytes(*format);
        if format != FORMAT {
            return Err(FileError::Format { found: format });
        }
        let header = SnapshotFileHeader::decode(fields).map_err(|_| damaged("header"))?;
        if header.encoded_len() != fields.len() {
            return Err(damaged("its header has fields that this version does not know").into());
        }
        let reader = Self {
            input,
            chunk: io::Cursor::default(),
            body: crc32fast::Hasher::new(),
            body_bytes: 0,
            ended: false,
        };
        Ok((header, reader))
    }

    /// Bytes of state that were read so far and checked.
    #[must_use]
    pub const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Reads to the end, checking everything.
    ///
    /// # Errors
    /// When anything does not check.
    pub fn verify(mut self) -> Result<(), FileError> {
        Ok(io::copy(&mut self, &mut io::sink()).map(drop)?)
    }

    fn check_trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; TRAILER_BYTES];
        self.input.read_exact(&mut trailer)?;
        let crc = self.body.clone().finalize();
        let expected = [&self.body_bytes.to_le_bytes()[..], &crc.to_le_bytes()[..]].concat();
        if trailer != *expected {
            return Err(damaged("trailer"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(damaged("it goes on after its end"));
        }
        Ok(())
    }
}

impl<R: Read> Read for FileReader<R> {
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
        return Err(damaged("chunk length"));
    }
    input.read_exact(&mut number)?;
    let mut bytes = vec![0; len];
    input.read_exact(&mut bytes)?;
    if crc32fast::hash(&bytes) != u32::from_le_bytes(number) {
        return Err(damaged("chunk checksum"));
    }
    Ok(Some(bytes))
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> SnapshotFileHeader {
        SnapshotFileHeader {
            index: 9,
            term: 2,
            cluster_fingerprint: 7,
            members: None,
        }
    }

    fn written(body: &[u8]) -> Vec<u8> {
        let mut writer = FileWriter::new(Vec::new(), &header()).unwrap();
        writer.write_all(body).unwrap();
        writer.finish().unwrap()
    }

    fn read(file: &[u8]) -> Result<Vec<u8>, FileError> {
        let (found, mut reader) = FileReader::new(file)?;
        assert_eq!(found, header());
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        Ok(body)
    }

    #[test]
    fn any_size_reads_back_as_written() {
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5] {
            let body: Vec<u8> = (0..=250_u8).cycle().take(size).collect();
            assert_eq!(read(&written(&body)).unwrap(), body, "{size}");
        }
    }

    #[test]
    fn another_format_is_named() {
        let mut bytes = (FORMAT + 1).to_le_bytes().to_vec();
        header().encode_raw(&mut bytes);
        let mut file = MAGIC.to_vec();
        write_chunk(&mut file, &bytes).unwrap();
        let error = read(&file).unwrap_err();
        assert!(matches!(error, FileError::Format { found } if found == FORMAT + 1));
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
