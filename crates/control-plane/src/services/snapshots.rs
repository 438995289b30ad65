//! `ClusterService.SaveSnapshot`: a fresh snapshot's file, streamed to an operator.
//!
//! Served by the member that was asked, from a file: the log writes the snapshot as always, and a reader that is slow makes
//! nobody wait but itself. Must not hold a file's bytes beyond a few pieces.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenantry_proto::v1::save_snapshot_response::Part;
use tenantry_proto::v1::{SaveSnapshotResponse, SnapshotFileChunk, SnapshotFileEnd, SnapshotFileStart};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::control_plane::ControlPlane;
use super::deadline::Deadline;
use super::status;
use crate::storage::{LogPosition, SnapshotError, SnapshotFolder, measure};

/// Files that are streamed at a time; a further caller is asked to come back.
const AT_ONCE: usize = 2;
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Bytes of the file in one message.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for the reader.
const READ_AHEAD: usize = 4;
/// A reader that takes no piece for longer is cut off, so that it does not keep others out.
const STALL_LIMIT: Duration = Duration::from_secs(60);

type Message = Result<SaveSnapshotResponse, Status>;

/// What saves have in common: where the files are, and how many go on.
#[derive(Clone)]
pub struct SnapshotSaves {
    control_plane: Arc<ControlPlane>,
    folder: SnapshotFolder,
    free: Arc<Semaphore>,
    stop: CancellationToken,
}

impl SnapshotSaves {
    /// Reads snapshots from `path`; streams end at `stop`.
    #[must_use]
    pub fn new(control_plane: Arc<ControlPlane>, path: &Path, stop: CancellationToken) -> Self {
        Self {
            control_plane,
            folder: SnapshotFolder::of_running_member(path),
            free: Arc::new(Semaphore::new(AT_ONCE)),
            stop,
        }
    }

    /// Takes a snapshot that covers all that was acknowledged before the call, and begins to stream it.
    pub(super) async fn save(&self, deadline: Deadline) -> Result<ReceiverStream<Message>, Status> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let message = "other snapshots are being saved from this member";
            status::with_retry(Code::ResourceExhausted, message, "BUSY", RETRY_AFTER)
        })?;
        let least = self.control_plane.read(deadline).await?.revision;
        let taken = self.control_plane.log.take_snapshot().await;
        let index = taken.map_err(|error| status::control_failed(&error))?.max(least);
        let saved = self.open(index.get()).await?;
        let start = SnapshotFileStart {
            answered_by: self.control_plane.member.get(),
            index: saved.position.index,
            term: saved.position.term,
            size_bytes: saved.size_bytes,
        };
        tracing::info!(
            index = start.index,
            size_bytes = start.size_bytes,
            "a snapshot is being saved"
        );
        let (out, stream) = mpsc::channel(READ_AHEAD);
        let stop = self.stop.clone();
        // Owned by the stream: it ends when the reader leaves or stalls, or this member stops.
        tokio::spawn(async move { stop.run_until_cancelled(send(start, saved, out, permit)).await });
        Ok(ReceiverStream::new(stream))
    }

    async fn open(&self, index: u64) -> Result<Saved, Status> {
        let folder = self.folder.clone();
        match tokio::task::spawn_blocking(move || newest(&folder, index)).await {
            Ok(Ok(Some(saved))) => Ok(saved),
            Ok(Ok(None)) => Err(status::internal("the snapshot that was just written is not there")),
            Ok(Err(error)) => Err(status::storage_failed(&error.to_string())),
            Err(_) => Err(status::internal("opening a snapshot panicked")),
        }
    }
}

/// A snapshot's file, which stays readable though it be removed meanwhile.
struct Saved {
    file: Arc<File>,
    position: LogPosition,
    size_bytes: u64,
    crc32: u32,
}

/// The newest snapshot that covers `index`. It is looked for again when one was removed between listing and opening: there is a
/// newer one then.
fn newest(folder: &SnapshotFolder, index: u64) -> Result<Option<Saved>, SnapshotError> {
    let mut last_error = None;
    for _ in 0..3 {
        let Some(position) = folder.list()?.into_iter().next().filter(|found| found.index >= index) else {
            return Ok(None);
        };
        let mut file = match folder.open_raw(position) {
            Ok(file) => file,
            Err(error) => {
                last_error = Some(error);
                continue;
            }
        };
        let (size_bytes, crc32) = measure(&mut file).map_err(|source| SnapshotError::Io {
            doing: "read the snapshot",
            source,
        })?;
        return Ok(Some(Saved {
            file: Arc::new(file),
            position,
            size_bytes,
            crc32,
        }));
    }
    last_error.map_or(Ok(None), Err)
}

/// Feeds `out` until the end, or until the reader leaves or stalls.
async fn send(start: SnapshotFileStart, saved: Saved, out: mpsc::Sender<Message>, _permit: OwnedSemaphorePermit) {
    let mut part = Part::Start(start);
    let mut offset = 0;
    loop {
        let is_end = matches!(part, Part::End(_));
        let message = SaveSnapshotResponse { part: Some(part) };
        if !give(&out, Ok(message)).await || is_end {
            return;
        }
        part = match read(&saved, offset).await {
            Ok(chunk) => {
                offset += chunk.bytes.len() as u64;
                Part::Chunk(chunk)
            }
            Err(Unread::End) => Part::End(SnapshotFileEnd {
                size_bytes: saved.size_bytes,
                crc32: saved.crc32,
            }),
            Err(Unread::Failed(status)) => {
                give(&out, Err(status)).await;
                return;
            }
        };
    }
}

/// Whether the reader took it.
async fn give(out: &mpsc::Sender<Message>, message: Message) -> bool {
    match tokio::time::timeout(STALL_LIMIT, out.send(message)).await {
        Ok(sent) => sent.is_ok(),
        Err(_) => {
            tracing::warn!("a snapshot's reader stalled and was cut off");
            false
        }
    }
}

/// Why there is no further piece.
enum Unread {
    End,
    Failed(Status),
}

async fn read(saved: &Saved, offset: u64) -> Result<SnapshotFileChunk, Unread> {
    let file = Arc::clone(&saved.file);
    let reading = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; PIECE_BYTES];
        let read = file.read_at(&mut buffer, offset)?;
        buffer.truncate(read);
        Ok::<_, std::io::Error>(buffer)
    });
    match reading.await {
        Ok(Ok(bytes)) if bytes.is_empty() => Err(Unread::End),
        Ok(Ok(bytes)) => Ok(SnapshotFileChunk {
            offset,
            crc32: crc32fast::hash(&bytes),
            bytes: bytes.into(),
        }),
        Ok(Err(error)) => Err(Unread::Failed(status::storage_failed(&error.to_string()))),
        Err(_) => Err(Unread::Failed(status::internal("reading a snapshot panicked"))),
    }
}
