//! The two threads beside the raft thread: one writes the log, one applies what is committed. Each takes its jobs in
//! order and reports back by control messages; neither decides anything.
//!
//! Their queues have no length of their own. What waits in them is in the log in memory as well, and that is bounded: by
//! what a leader may have uncommitted, by what it sends ahead of answers, and by what a snapshot leaves behind.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use super::StateMachine;
use super::applier::{Applier, ApplyJob, SnapshotJob};
use super::driver::panic_text;
use super::error::ReplicaError;
use super::handle::{Control, ControlSender};
use super::log_writer::{LogWriter, WriteJob};
use super::proposals::Proposals;
use crate::storage::{LogStore, SnapshotError};

/// Jobs written in one step at most.
const MAX_GROUP: usize = 1024;

/// What the writing thread is asked for.
pub(super) enum WriteOrder {
    Write(Box<WriteJob>),
    /// Open the store anew and say what it holds.
    Reload,
}

/// The threads and their queues. Dropping the queues ends the threads.
pub(super) struct Workers {
    pub(super) writes: Sender<WriteOrder>,
    pub(super) applies: Sender<ApplyJob>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn start<L: LogStore, M: StateMachine>(
        writer: LogWriter<L>,
        applier: Applier<M>,
        proposals: Proposals<M::Answer>,
        control: ControlSender,
    ) -> io::Result<Self> {
        let (writes, jobs) = channel();
        let report = control.clone();
        let write = move || watched("log writer", &report, || write_all(writer, &jobs, &report));
        let writer = Builder::new().name("raft-log".into()).spawn(write)?;
        let (applies, jobs) = channel();
        let apply = move || watched("applier", &control, || apply_all(applier, &jobs, &proposals, &control));
        let applier = Builder::new().name("raft-apply".into()).spawn(apply)?;
        Ok(Self {
            writes,
            applies,
            threads: vec![writer, applier],
        })
    }

    /// Lets both finish what they have been given, and waits for them: then the store is closed.
    pub(super) fn finish(self) {
        let Self {
            writes,
            applies,
            threads,
        } = self;
        drop((writes, applies));
        for thread in threads {
            // Its panics were caught and reported.
            let _ = thread.join();
        }
    }
}

/// A thread that is gone must not go unnoticed: its member would look alive and do nothing.
fn watched(name: &'static str, control: &ControlSender, work: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        let reason = panic_text(name, panic.as_ref());
        control.send(Control::WorkerFailed(ReplicaError::Raft(reason)));
    }
}

fn write_all<L: LogStore>(mut writer: LogWriter<L>, jobs: &Receiver<WriteOrder>, control: &ControlSender) {
    let mut failed = false;
    while let Ok(first) = jobs.recv() {
        let mut group = Vec::new();
        let mut reload = false;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                WriteOrder::Write(job) => group.push(*job),
                WriteOrder::Reload => {
                    reload = true;
                    break;
                }
            }
            next = if group.len() < MAX_GROUP {
                jobs.try_recv().ok()
            } else {
                None
            };
        }
        // After a failure only a reload makes sense of what is on the disk.
        if !failed && !group.is_empty() {
            let generation = group.first().map_or(0, |job| job.generation);
            control.send(match writer.write(group) {
                Ok(written) => Control::Written(written, writer.log_bytes()),
                Err(error) => {
                    failed = true;
                    Control::WriteFailed { generation, error }
                }
            });
        }
        if reload {
            let reloaded = writer.reload();
            failed = reloaded.is_err();
            control.send(Control::Reloaded(reloaded));
        }
    }
}

fn apply_all<M: StateMachine>(
    mut applier: Applier<M>,
    jobs: &Receiver<ApplyJob>,
    proposals: &Proposals<M::Answer>,
    control: &ControlSender,
) {
    let mut snapshot_thread: Option<JoinHandle<()>> = None;
    while let Ok(job) = jobs.recv() {
        match applier.run(job, &mut |applied| proposals.answer(applied)) {
            Ok(None) => control.send(Control::Applied(applier.progress())),
            Ok(Some(job)) => {
                if let Some(thread) = snapshot_thread.take() {
                    // The one before has reported already, or this one would not be due.
                    let _ = thread.join();
                }
                snapshot_thread = start_snapshot(job, control);
            }
            Err(error) => {
                control.send(Control::WorkerFailed(error));
                break;
            }
        }
    }
    if let Some(thread) = snapshot_thread {
        let _ = thread.join();
    }
}

fn start_snapshot<M: StateMachine>(job: SnapshotJob<M>, control: &ControlSender) -> Option<JoinHandle<()>> {
    let report = control.clone();
    let work = move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| job.run()));
        report.send(Control::SnapshotWritten(outcome.unwrap_or_else(|_| {
            Err(not_written(io::Error::other("writing the snapshot panicked")))
        })));
    };
    match Builder::new().name("raft-snapshot".into()).spawn(work) {
        Ok(thread) => Some(thread),
        Err(error) => {
            control.send(Control::SnapshotWritten(Err(not_written(error))));
            None
        }
    }
}

fn not_written(source: io::Error) -> SnapshotError {
    SnapshotError::Io {
        doing: "write a snapshot",
        source,
    }
}
