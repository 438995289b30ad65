//! The log thread: takes everything that queued, writes it, syncs it, answers, and begins again. No timer: while one sync runs, the
//! next batch gathers.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::batch::Batch;
use crate::disk::DiskFile;
use crate::shared::Shared;

/// Runs until the log is stopped or has failed.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut segment: Option<Box<dyn DiskFile>> = None;
    let mut due = Vec::new();
    while let Some(batch) = shared.next_batch() {
        let begun = Instant::now();
        if let Err(error) = write(shared, &mut segment, &batch) {
            let path = shared.folder.segment_path(batch.segment);
            shared.fail(format!("cannot write {} durably: {error}", path.display()));
            return;
        }
        shared
            .counters
            .synced(batch.records, batch.bytes.len(), begun.elapsed());
        if !shared.written(batch) {
            return;
        }
        shared.waiters.run_due(&mut due);
    }
}

fn write(shared: &Shared, segment: &mut Option<Box<dyn DiskFile>>, batch: &Batch) -> io::Result<()> {
    if let Some((header, spare)) = &batch.begins {
        *segment = Some(shared.folder.begin(*header, spare)?);
    }
    let Some(file) = segment else {
        return Err(io::Error::other("no segment was begun"));
    };
    file.write_at(&batch.bytes, batch.offset)?;
    file.sync()
}
