//! Drives what a client asked for over a session: on a database thread while it runs, on none while it waits for its turn
//! to write.

use crate::database::{ActiveSession, Cancellation, DatabaseError, Session, StatementLimits, WriteTurn};

/// How far a run has come when it leaves its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// To its end.
    Done,
    /// The next statement writes, and another stream of the tenant is writing.
    NeedsWriter,
    /// There is more to do, and so much to say already that it should be sent.
    Large,
}

/// Why a driven run came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Done,
    Large,
}

/// Something that runs statements, can stop in the middle and be continued. Blocks: for database threads only.
pub(super) trait Run: Send + 'static {
    /// Runs until the end, or until there is a reason to leave the thread.
    fn advance(&mut self, session: &mut ActiveSession<'_>) -> Progress;
}

/// Stops what runs on a database thread when nobody waits for it any more.
#[derive(Default)]
pub(super) struct CancelOnDrop(pub(super) Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs on; where a statement has to wait for its turn to write, no thread is occupied meanwhile.
///
/// # Errors
/// When the database or a thread cannot be had. Session and run are gone then.
pub(super) async fn drive<R: Run>(
    mut session: Session,
    mut run: R,
    limits: StatementLimits,
    cancellation: &Cancellation,
) -> Result<(Session, R, Stop), DatabaseError> {
    let mut turn = WriteTurn::Ask;
    loop {
        let advance = move |active: &mut ActiveSession<'_>| {
            let progress = run.advance(active);
            (progress, run)
        };
        let (next_session, (progress, next_run)) = session.run(limits, turn, cancellation.clone(), advance).await?;
        (session, run) = (next_session, next_run);
        match progress {
            Progress::Done => return Ok((session, run, Stop::Done)),
            Progress::Large => return Ok((session, run, Stop::Large)),
            Progress::NeedsWriter => {
                if !session.wait_for_writer(limits.quota.query_time()).await {
                    turn = WriteTurn::GiveUp;
                }
            }
        }
    }
}
