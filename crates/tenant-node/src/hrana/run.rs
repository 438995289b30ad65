//! Drives what a client asked for over a session: on a database thread while it runs, on none while it waits for its turn
//! to write. A write on its own is committed together with others of the tenant.

use super::incoming::log_database_error;
use crate::database::{
    ActiveSession, Cancellation, DatabaseError, GroupOutcome, GroupedWork, RefusedStatements, Session, StatementLimits,
    Statements, WriteTurn,
};

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
#[derive(Debug)]
pub(super) enum Stop {
    Done,
    Large,
    /// There was no place for it, and nothing of it was carried out.
    NotBegun(DatabaseError),
}

/// Something that runs statements, can stop in the middle and be continued.
pub(super) trait Run: Send + 'static {
    /// Runs until the end, or until there is a reason to leave the thread. Blocks where the session may.
    fn advance(&mut self, session: &mut dyn Statements) -> Progress;

    /// Whether anything of it may have been carried out.
    fn has_begun(&self) -> bool;

    /// Whether it is about to run a write that is a transaction of its own. Then it can also advance inside a group.
    fn is_before_single_write(&mut self) -> bool {
        false
    }

    /// Goes back to where it was when [`Self::is_before_single_write`] was asked for last: what it did in a group has not happened.
    fn undo_single_write(&mut self) {}
}

/// A run inside a group, and after it.
struct Grouped<R> {
    run: Box<R>,
    /// How far it has come alone, after the commit.
    progress: Option<Progress>,
}

impl<R: Run> GroupedWork for Grouped<R> {
    fn advance(&mut self, session: &mut ActiveSession<'_>) {
        let progress = self.run.advance(session);
        if !session.is_in_group() {
            self.progress = Some(progress);
        }
    }

    fn undo(&mut self) {
        self.run.undo_single_write();
    }
}

/// Stops what runs on a database thread when nobody waits for it any more.
#[derive(Default)]
pub(super) struct CancelOnDrop(pub(super) Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs on; where a statement has to wait for its turn to write, no thread is occupied meanwhile. Where the database or a thread
/// cannot be had for what is left of a run, that is refused in its results: whoever sent it may not send all of it again. The run stays in its box, since it
/// changes hands some ten times on its way to a thread and back.
///
/// # Errors
/// When it broke in the middle. Session and run are gone then.
pub(super) async fn drive<R: Run>(
    mut session: Session,
    mut run: Box<R>,
    limits: StatementLimits,
    cancellation: &Cancellation,
) -> Result<(Session, Box<R>, Stop), DatabaseError> {
    let mut turn = WriteTurn::Ask;
    let mut has_waited_for_turn = false;
    // A group that was undone is not tried again: whoever undid it may do so again.
    let mut alone = false;
    loop {
        if may_join_group(alone, &session, &mut *run) {
            let work = Grouped { run, progress: None };
            // In a box, as all that only some requests need: the others would have to move room for it.
            let ran = Box::pin(session.run_in_group(work, limits, cancellation.clone()));
            let (next_session, grouped, outcome) = ran.await?;
            (session, run) = (next_session, grouped.run);
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(error) => return Ok(Box::pin(refuse_rest(session, run, limits, error)).await),
            };
            has_waited_for_turn = false;
            match (outcome, grouped.progress) {
                (GroupOutcome::Ran, Some(Progress::Done)) => return Ok((session, run, Stop::Done)),
                (GroupOutcome::Ran, Some(Progress::Large)) => return Ok((session, run, Stop::Large)),
                // Whatever comes next waits for its own turn.
                (GroupOutcome::Ran, _) => continue,
                (GroupOutcome::NotInTime, _) => turn = WriteTurn::GiveUp,
                (GroupOutcome::Undone, _) => {}
            }
            alone = true;
        }
        let advance = |run: &mut Box<R>, active: &mut ActiveSession<'_>| run.advance(active);
        let ran = session.run(limits, turn, cancellation.clone(), run, advance);
        let (next_session, next_run, progress) = ran.await?;
        (session, run) = (next_session, next_run);
        match progress {
            Ok(Progress::Done) => return Ok((session, run, Stop::Done)),
            Ok(Progress::Large) => return Ok((session, run, Stop::Large)),
            // Nobody may hold the turn that the group waits for.
            Ok(Progress::NeedsWriter) if may_join_group(alone, &session, &mut *run) => {}
            Ok(Progress::NeedsWriter) => {
                has_waited_for_turn = session.wait_for_writer(limits.quota.query_time()).await;
                if !has_waited_for_turn {
                    turn = WriteTurn::GiveUp;
                }
            }
            Err(error) => {
                if has_waited_for_turn {
                    session.give_back_turn();
                }
                return Ok(Box::pin(refuse_rest(session, run, limits, error)).await);
            }
        }
    }
}

fn may_join_group(alone: bool, session: &Session, run: &mut impl Run) -> bool {
    !alone && !session.holds_connection() && run.is_before_single_write()
}

/// Answers what is left of a run that has begun, which takes no thread. One that has not is left as it is.
async fn refuse_rest<R: Run>(
    mut session: Session,
    mut run: Box<R>,
    limits: StatementLimits,
    error: DatabaseError,
) -> (Session, Box<R>, Stop) {
    if !run.has_begun() {
        return (session, run, Stop::NotBegun(error));
    }
    log_database_error(session.tenant(), &error);
    while run.advance(&mut RefusedStatements::new(&mut session, &error, limits)) != Progress::Done {
        tokio::task::yield_now().await;
    }
    (session, run, Stop::Done)
}
