//! Group commit: writes of one tenant that come at the same time share a transaction, and so one sync of the disk.
//!
//! A statement that is its own transaction may run inside a common one, as long as nobody can tell: it does not see that it is not alone,
//! its failure undoes nothing of the others, and nothing is answered before the commit. So a group is made of single INSERT, UPDATE,
//! DELETE and REPLACE statements of streams without a transaction. SQLite undoes a statement that fails inside a transaction by itself;
//! where a failure undoes the whole transaction (`ON CONFLICT ROLLBACK`, an interrupt, a full disk) or the commit fails (deferred
//! foreign keys), nothing of the group was done, and each member runs alone afterwards.

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::connection::TenantConnection;
use super::tenant::TenantDatabase;
use super::{
    ActiveSession, Cancellation, DatabaseError, Session, StatementError, StatementLimits, TenantLease, WriteHistory,
    WriteTurn,
};

/// Members of one group. More only add to how long the first waits.
const LARGEST_GROUP: usize = 128;

/// What runs in a group, and can take it back.
pub trait GroupedWork: Any + Send {
    /// Runs on as far as the session lets it. In a group that is one statement; called again after the commit, it goes on alone.
    fn advance(&mut self, session: &mut ActiveSession<'_>);

    /// Forgets what [`Self::advance`] did in the group: it has not happened.
    fn undo(&mut self);
}

/// What became of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupOutcome {
    /// It ran, and what it wrote is durable.
    Ran,
    /// Nothing of it happened: it has to run alone.
    Undone,
    /// It was not its turn in time: nothing of it happened.
    NotInTime,
}

/// The writes that wait for the next group of a tenant.
#[derive(Default)]
pub(super) struct WriteQueue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Member>,
    last_number: u64,
    /// Whether a job takes the waiting ones, or is about to.
    has_leader: bool,
}

struct Member {
    number: u64,
    session: Session,
    /// That of the session before the group.
    history: WriteHistory,
    work: Box<dyn GroupedWork>,
    limits: StatementLimits,
    cancellation: Cancellation,
    answer: oneshot::Sender<Answered>,
}

struct Answered {
    session: Session,
    work: Box<dyn GroupedWork>,
    outcome: Result<GroupOutcome, DatabaseError>,
}

impl Session {
    /// Runs `work`, whose next statement is a write on its own, together with others of the tenant. Waits for its turn at most for the
    /// query time of the tenant. Where it could not go on after the group, or alone could not begin, that stands in the place of the
    /// outcome; what it did in the group is done.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_in_group<W: GroupedWork>(
        self,
        work: W,
        limits: StatementLimits,
        cancellation: Cancellation,
    ) -> Result<(Self, W, Result<GroupOutcome, DatabaseError>), DatabaseError> {
        let lease = self.lease().clone();
        let queue = &lease.tenant().writes;
        let (answer, mut answered) = oneshot::channel();
        let member = Member {
            number: 0,
            history: self.history(),
            session: self,
            work: Box::new(work),
            limits,
            cancellation,
            answer,
        };
        let (number, leads) = queue.push(member);
        if leads {
            lead(lease.clone(), None, Handle::current());
        }
        let patience = limits.quota.query_time();
        let answered = match tokio::time::timeout(patience, &mut answered).await {
            Ok(answered) => answered,
            Err(_late) => match queue.take_back(number) {
                Some(member) => Ok(Answered {
                    session: member.session,
                    work: member.work,
                    outcome: Ok(GroupOutcome::NotInTime),
                }),
                // It is running just now.
                None => answered.await,
            },
        };
        let Answered { session, work, outcome } = answered.map_err(|_dropped| DatabaseError::Crashed)?;
        let work: Box<dyn Any> = work;
        let work = work.downcast::<W>().map_err(|_other| DatabaseError::Crashed)?;
        Ok((session, *work, outcome))
    }
}

impl WriteQueue {
    /// The member's number, and whether the caller has to find a leader for the group.
    fn push(&self, mut member: Member) -> (u64, bool) {
        let mut state = self.state.lock();
        state.last_number += 1;
        let number = state.last_number;
        member.number = number;
        state.waiting.push(member);
        (number, !std::mem::replace(&mut state.has_leader, true))
    }

    fn take_back(&self, number: u64) -> Option<Member> {
        let mut state = self.state.lock();
        let index = state.waiting.iter().position(|member| member.number == number)?;
        Some(state.waiting.remove(index))
    }

    fn take_group(&self) -> Vec<Member> {
        let mut state = self.state.lock();
        let size = state.waiting.len().min(LARGEST_GROUP);
        state.waiting.drain(..size).collect()
    }

    /// Whether the leader may go because nobody waits.
    fn dismiss_leader(&self) -> bool {
        let mut state = self.state.lock();
        state.has_leader = !state.waiting.is_empty();
        !state.has_leader
    }
}

/// Sees to it that the waiting writes are run: by a job on a database thread, when nobody else of the tenant writes.
fn lead(lease: TenantLease, permit: Option<OwnedSemaphorePermit>, runtime: Handle) {
    let permit = permit.or_else(|| Arc::clone(&lease.tenant().writer).try_acquire_owned().ok());
    let shared = Arc::clone(lease.shared());
    match permit {
        Some(permit) => {
            let account = lease.tenant().account();
            shared.threads.run_unattended(account, move || {
                let leader = Leader {
                    lease: Some(lease),
                    runtime,
                };
                leader.run(permit);
            });
        }
        None => {
            let waiting_on = runtime.clone();
            let waiting = async move {
                // The semaphore is never closed. An interactive transaction that has it ends by itself, or expires.
                if let Ok(permit) = Arc::clone(&lease.tenant().writer).acquire_owned().await {
                    lead(lease, Some(permit), runtime);
                }
            };
            shared.tasks.spawn_on(waiting, &waiting_on);
        }
    }
}

/// Runs one group; when dropped, also by a panic, the next one gets its leader as soon as this one's commit is durable. Those who come
/// meanwhile make a larger group, instead of many small ones that wait for the next sync of the disk each with a commit of its own.
struct Leader {
    lease: Option<TenantLease>,
    runtime: Handle,
}

impl Leader {
    fn run(&self, permit: OwnedSemaphorePermit) {
        let Some(lease) = &self.lease else { return };
        let tenant = lease.tenant();
        let mut group = tenant.writes.take_group();
        group.retain(|member| !member.cancellation.is_cancelled());
        if group.len() > 1 {
            run_group(tenant, group, permit);
        } else if let Some(member) = group.pop() {
            run_alone(member, permit);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let (durability, runtime) = (Arc::clone(&lease.tenant().durability), self.runtime.clone());
        durability.when_settled(move || {
            if !lease.tenant().writes.dismiss_leader() {
                lead(lease, None, runtime);
            }
        });
    }
}

fn run_alone(mut member: Member, permit: OwnedSemaphorePermit) {
    member.session.give_turn(permit);
    member.go_on();
}

impl Member {
    /// Runs on alone, and answers.
    fn go_on(mut self) {
        let outcome = self
            .session
            .work(self.limits, WriteTurn::Ask, &self.cancellation, |session| {
                self.work.advance(session)
            })
            .map(|()| GroupOutcome::Ran);
        self.answer(outcome);
    }

    fn answer(self, outcome: Result<GroupOutcome, DatabaseError>) {
        let answered = Answered {
            session: self.session,
            work: self.work,
            outcome,
        };
        let durability = Arc::clone(&answered.session.lease().tenant().durability);
        let answer = self.answer;
        durability.when_settled(move || {
            if let Err(unheard) = answer.send(answered) {
                // Its lease may be the last of its tenant, whose database is then closed: not on the thread of the log.
                let lease = unheard.session.lease().clone();
                let account = lease.tenant().account();
                let shared = Arc::clone(lease.shared());
                shared.threads.clean_up(account, move || drop((unheard, lease)));
            }
        });
    }
}

fn run_group(tenant: &TenantDatabase, mut group: Vec<Member>, permit: OwnedSemaphorePermit) {
    let committed = {
        let _memory = tenant.account_memory();
        commit_together(tenant, &mut group)
    };
    drop(permit);
    match committed {
        Ok(()) => group.into_iter().for_each(Member::go_on),
        Err(error) => {
            tracing::debug!(%error, members = group.len(), "a group of writes was undone; each runs alone");
            for mut member in group {
                member.work.undo();
                member.session.forget_group(member.history);
                member.answer(Ok(GroupOutcome::Undone));
            }
        }
    }
}

/// Why nothing of a group was done. Whoever runs alone afterwards is told with its own words.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("no connection: {0}")]
    Connection(#[from] DatabaseError),
    #[error("not admitted: {0}")]
    Admission(#[from] StatementError),
    #[error("the transaction could not begin or commit: {0}")]
    Transaction(#[from] rusqlite::Error),
    #[error("a statement undid the whole transaction")]
    Undone,
}

/// Runs every member's statement in one transaction and commits it.
fn commit_together(tenant: &TenantDatabase, group: &mut [Member]) -> Result<(), Failed> {
    let mut connection = tenant.check_out()?;
    let outcome = run_together(tenant, &mut connection, group);
    if connection.reset() {
        if outcome.is_ok() {
            tenant.after_commit(&connection);
        }
        tenant.give_back(connection);
    }
    outcome
}

fn run_together(
    tenant: &TenantDatabase,
    connection: &mut TenantConnection,
    group: &mut [Member],
) -> Result<(), Failed> {
    if let Some(member) = group.last() {
        let quota = member.limits.quota;
        tenant.counters.memory().set_limit(quota.memory_bytes);
        tenant.prepare_write(connection, quota.database_bytes)?;
    }
    connection.run_internal("BEGIN IMMEDIATE")?;
    for member in group {
        let work = &mut member.work;
        member
            .session
            .run_inside_group(connection, member.limits, |session| work.advance(session));
        if connection.sqlite().is_autocommit() {
            return Err(Failed::Undone);
        }
    }
    connection.run_internal("COMMIT")?;
    Ok(())
}

#[cfg(test)]
#[path = "write_group_tests.rs"]
mod tests;
