//! `tenantctl cluster snapshot`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use control_client::ControlClient;
use snapshot_format::{Summary, inspect};
use tenantry_proto::v1::save_snapshot_response::Part;
use tenantry_proto::v1::{self, SaveSnapshotResponse, SnapshotFileEnd, SnapshotFileStart};

use crate::failure::Failure;
use crate::output::snapshot::{SavedFile, SnapshotFile};
use crate::output::{Printer, json};

/// The member sends the next piece within this time, or it will not come.
const SILENCE: Duration = Duration::from_secs(30);
/// The file holds the keys that sign tenants' tokens.
const PRIVATE: u32 = 0o600;

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Make the answering member write a snapshot and compact its log behind it
    Take,
    /// Take a snapshot and save it to a file. The file holds secrets: the keys that sign tenants' tokens
    Save {
        /// Must not exist yet
        file: PathBuf,
    },
    /// Verify a saved file and show what is in it. Asks no control plane
    Inspect { file: PathBuf },
}

pub(crate) async fn run(command: SnapshotCommand, client: &ControlClient, printer: &Printer) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Take => {
            let request = v1::TakeSnapshotRequest {};
            let v1::TakeSnapshotResponse { index } = client.cluster().take_snapshot(request).await?;
            printer.print(&json::Snapshot { index }, || format!("snapshot up to index {index}"))
        }
        SnapshotCommand::Save { file } => {
            let (start, summary) = save(client, &file).await?;
            let saved = SavedFile::new(&file, &start, &summary);
            printer.print(&saved, || saved.to_string())
        }
        SnapshotCommand::Inspect { file } => {
            let summary = verify(&file)?;
            let size_bytes = fs::metadata(&file).map_err(|error| failed(&file, &error))?.len();
            let shown = SnapshotFile::new(&summary, size_bytes);
            printer.print(&shown, || shown.to_table())
        }
    }
}

/// Reads a file to its end, checking everything.
fn verify(path: &Path) -> Result<Summary, Failure> {
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    inspect(BufReader::new(file)).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Failure::File {
            path: path.to_owned(),
            what: format!("{error}{cause}"),
        }
    })
}

/// The file appears under its name only when it is whole, durable and verified.
async fn save(client: &ControlClient, path: &Path) -> Result<(SnapshotFileStart, Summary), Failure> {
    if path.exists() {
        return Err(Failure::usage(format!("{} exists already", path.display())));
    }
    // Before anything is asked for: a place that cannot be written to is known at once.
    let partial = Partial::create(path)?;
    let mut stream = client.cluster().save_snapshot(v1::SaveSnapshotRequest {}).await?;
    let mut arriving = Arriving::default();
    let start = loop {
        let message = tokio::time::timeout(SILENCE, stream.message())
            .await
            .map_err(|_| broken(path, "the member stopped sending"))?
            .map_err(|status| broken(path, status.message()))?
            .ok_or_else(|| broken(path, "the member ended the stream too early"))?;
        match arriving.take(message).map_err(|what| broken(path, what))? {
            Arrived::Bytes(bytes) => (&partial.file)
                .write_all(&bytes)
                .map_err(|error| failed(&partial.path, &error))?,
            Arrived::Nothing => {}
            Arrived::All(start) => break start,
        }
    };
    partial.file.sync_all().map_err(|error| failed(&partial.path, &error))?;
    let summary = verify(&partial.path)?;
    if (summary.header.index, summary.header.term) != (start.index, start.term) {
        return Err(broken(path, "the file is not the snapshot that was announced"));
    }
    partial.publish(path)?;
    Ok((start, summary))
}

/// What has come of the stream so far.
#[derive(Debug, Default)]
struct Arriving {
    start: Option<SnapshotFileStart>,
    bytes: u64,
    crc32: crc32fast::Hasher,
}

/// What a message brought.
enum Arrived {
    Nothing,
    Bytes(Vec<u8>),
    All(SnapshotFileStart),
}

impl Arriving {
    fn take(&mut self, message: SaveSnapshotResponse) -> Result<Arrived, &'static str> {
        match (message.part, self.start) {
            (Some(Part::Start(start)), None) => {
                self.start = Some(start);
                Ok(Arrived::Nothing)
            }
            (Some(Part::Chunk(chunk)), Some(_)) => {
                if chunk.offset != self.bytes {
                    return Err("a piece is missing");
                }
                if crc32fast::hash(&chunk.bytes) != chunk.crc32 {
                    return Err("a piece does not match its checksum");
                }
                self.bytes += chunk.bytes.len() as u64;
                self.crc32.update(&chunk.bytes);
                Ok(Arrived::Bytes(chunk.bytes.into()))
            }
            (Some(Part::End(SnapshotFileEnd { size_bytes, crc32 })), Some(start)) => {
                if size_bytes != self.bytes || crc32 != self.crc32.clone().finalize() {
                    return Err("the file does not match its checksum");
                }
                Ok(Arrived::All(start))
            }
            _ => Err("a message out of place"),
        }
    }
}

/// The file while it is not whole: beside its later place, and gone when it does not become whole.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(path: &Path) -> Result<Self, Failure> {
        let name = path
            .file_name()
            .ok_or_else(|| Failure::usage(format!("{} is not a file's name", path.display())))?;
        let partial = folder_of(path).join(format!(".{}.{}.partial", name.display(), std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&partial)
            .map_err(|error| failed(&partial, &error))?;
        Ok(Self { path: partial, file })
    }

    fn publish(self, path: &Path) -> Result<(), Failure> {
        fs::rename(&self.path, path)
            .and_then(|()| File::open(folder_of(path))?.sync_all())
            .map_err(|error| failed(path, &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Not there any more once it was published.
        let _ = fs::remove_file(&self.path);
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::File {
        path: path.to_owned(),
        what: error.to_string(),
    }
}

fn broken(path: &Path, what: &str) -> Failure {
    Failure::File {
        path: path.to_owned(),
        what: format!("not saved: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use tenantry_proto::v1::SnapshotFileChunk;

    use super::*;

    fn chunk(offset: u64, bytes: &'static [u8]) -> Part {
        Part::Chunk(SnapshotFileChunk {
            offset,
            crc32: crc32fast::hash(bytes),
            bytes: bytes.into(),
        })
    }

    fn end(bytes: &[u8]) -> Part {
        Part::End(SnapshotFileEnd {
            size_bytes: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
        })
    }

    fn start() -> Part {
        Part::Start(SnapshotFileStart::default())
    }

    fn arrives(parts: Vec<Part>) -> Result<Vec<u8>, &'static str> {
        let mut arriving = Arriving::default();
        let mut all = Vec::new();
        for part in parts {
            match arriving.take(SaveSnapshotResponse { part: Some(part) })? {
                Arrived::Bytes(bytes) => all.extend(bytes),
                Arrived::Nothing => {}
                Arrived::All(_) => return Ok(all),
            }
        }
        Err("no end")
    }

    #[test]
    fn only_a_stream_that_is_whole_and_in_order_makes_a_file() {
        let damaged = match chunk(0, b"ab") {
            Part::Chunk(chunk) => Part::Chunk(SnapshotFileChunk {
                bytes: b"aB".as_slice().into(),
                ..chunk
            }),
            other => other,
        };
        for (parts, expected) in [
            (
                vec![start(), chunk(0, b"ab"), chunk(2, b"c"), end(b"abc")],
                Ok(b"abc".to_vec()),
            ),
            (vec![chunk(0, b"ab")], Err("a message out of place")),
            (vec![start(), start()], Err("a message out of place")),
            (vec![start(), chunk(1, b"ab")], Err("a piece is missing")),
            (vec![start(), damaged], Err("a piece does not match its checksum")),
            (
                vec![start(), chunk(0, b"ab"), end(b"abc")],
                Err("the file does not match its checksum"),
            ),
            (
                vec![start(), chunk(0, b"ab"), end(b"xy")],
                Err("the file does not match its checksum"),
            ),
            (vec![start(), chunk(0, b"ab")], Err("no end")),
        ] {
            assert_eq!(arrives(parts), expected);
        }
        let nothing = Arriving::default().take(SaveSnapshotResponse { part: None });
        assert!(nothing.is_err());
    }

    #[test]
    fn a_file_that_does_not_become_whole_leaves_nothing_and_one_that_does_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.snap");
        drop(Partial::create(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        Partial::create(&path).unwrap().publish(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
