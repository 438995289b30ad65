//! What a request brings: whose it is, what it asks for, and the stream that it goes on with.

use bytes::Bytes;
use http::Request;
use tenantry_types::TenantUid;

use super::problems;
use super::request::{Leaves, Malformed};
use super::request_body::UnreadBody;
use super::service::HranaService;
use super::slot::{OldBaton, StreamSlot};
use super::stored_sql::StoredSql;
use super::streams::{Parked, Transaction};
use crate::database::{DatabaseError, Session, StatementLimits, is_errand, runs_long};
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::layers::TenantContext;

/// Larger bodies are parsed on a database thread, to keep the async workers free.
const PARSED_IN_PLACE_BYTES: usize = 64 << 10;

/// Those that are larger than this go behind the others there from the beginning: to parse them takes milliseconds.
const PARSED_BEHIND_BYTES: usize = 1 << 20;

/// Whose request it is, and what holds for it.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) tenant: TenantUid,
    /// Its share of the node.
    pub(super) weight: u32,
    pub(super) limits: StatementLimits,
}

/// A request of which the head was read.
pub(super) struct Arrived {
    caller: Caller,
    body: UnreadBody,
}

/// A stream as a request finds it.
pub(super) struct Resumed {
    pub(super) slot: StreamSlot,
    pub(super) session: Session,
    pub(super) sqls: StoredSql,
    pub(super) transaction: Transaction,
}

impl HranaService {
    /// Whose request it is, and where its body comes from.
    pub(super) fn arrive(&self, request: Request<Body>) -> Result<Arrived, Problem> {
        let context = request
            .extensions()
            .get::<TenantContext>()
            .ok_or_else(problems::without_tenant)?;
        let caller = Caller {
            tenant: context.uid,
            weight: context.weight,
            limits: StatementLimits {
                access: context.access,
                quota: context.quota,
            },
        };
        let body = UnreadBody::of(request, caller.limits.quota.request_bytes, self.shared.allowance)?;
        Ok(Arrived { caller, body })
    }

    /// Reads what a request asks for.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        arrived: Arrived,
        parse: fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<(Caller, T), Problem> {
        let Arrived { caller, body } = arrived;
        let body = body.read().await?;
        let parsed = if body.len() <= PARSED_IN_PLACE_BYTES {
            parse(&body)
        } else {
            Box::pin(self.parse_on_thread(caller, body, parse)).await?
        };
        let parsed = parsed.map_err(|malformed| problems::of_body(&malformed))?;
        Ok((caller, parsed))
    }

    async fn parse_on_thread<T: Send + 'static>(
        &self,
        caller: Caller,
        body: Bytes,
        parse: fn(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Result<T, Malformed>, Problem> {
        let parsing = self
            .shared
            .databases
            .run_blocking(caller.tenant, caller.weight, move || {
                is_errand();
                if body.len() > PARSED_BEHIND_BYTES {
                    runs_long();
                }
                parse(&body)
            });
        parsing.await.map_err(|error| database_problem(caller.tenant, &error))
    }

    /// The stream that a request goes on with, or a new one.
    pub(super) async fn stream(&self, caller: Caller, baton: Option<&str>, leaves: Leaves) -> Result<Resumed, Problem> {
        let Caller { tenant, weight, .. } = caller;
        let resumed = match baton {
            Some(baton) => {
                let now = || self.shared.databases.now();
                let streams = &self.shared.streams;
                let resuming = streams.resume_when_free(tenant, baton, leaves, now, self.shared.patience.stall);
                Box::pin(resuming).await
            }
            None => self
                .shared
                .streams
                .open(tenant, leaves)
                .map(|slot| (slot, Parked::default())),
        };
        let (slot, parked) = resumed.map_err(problems::of_stream)?;
        let transaction = parked.transaction;
        let (session, sqls) = match parked.session {
            Some(session) => (session, parked.sqls),
            None => match self.shared.databases.lease(tenant, weight).await {
                Ok(lease) => (Session::resumed(lease, parked.history), parked.sqls),
                Err(error) => {
                    slot.refuse(parked, self.shared.databases.now());
                    return Err(database_problem(tenant, &error));
                }
            },
        };
        Ok(Resumed {
            slot,
            session,
            sqls,
            transaction,
        })
    }

    /// Leaves the stream for its next request.
    pub(super) fn park(&self, slot: StreamSlot, session: Session, sqls: StoredSql) -> Option<String> {
        slot.park(parked(session, sqls, Transaction::AsKnown), self.shared.databases.now())
    }

    /// Leaves the stream as good as can be after a request that was refused, whose answer's baton clients do not see. The baton
    /// that it came with, if that is still good.
    pub(super) fn refuse(
        &self,
        slot: StreamSlot,
        session: Session,
        sqls: StoredSql,
        transaction: Transaction,
        baton: Option<String>,
    ) -> Option<String> {
        let old = slot.refuse(parked(session, sqls, transaction), self.shared.databases.now());
        baton.filter(|_| old == OldBaton::Good)
    }
}

fn parked(session: Session, sqls: StoredSql, transaction: Transaction) -> Parked {
    Parked {
        history: session.history(),
        session: session.holds_connection().then_some(session),
        sqls,
        transaction,
    }
}

pub(super) fn log_database_error(tenant: TenantUid, error: &DatabaseError) {
    match error {
        // Who is in quarantine was told at the start.
        DatabaseError::Overloaded { .. } | DatabaseError::Stopping | DatabaseError::Quarantined { .. } => {
            tracing::debug!(%tenant, %error, "a request was refused");
        }
        DatabaseError::Damaged(_)
        | DatabaseError::Open(_)
        | DatabaseError::Folder(_)
        | DatabaseError::Log(_)
        | DatabaseError::Mark(_)
        | DatabaseError::Crashed => {
            tracing::error!(%tenant, %error, "a tenant's database cannot be served");
        }
    }
}

pub(super) fn database_problem(tenant: TenantUid, error: &DatabaseError) -> Problem {
    log_database_error(tenant, error);
    problems::of_database(error)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tenantry_types::{Epoch, TenantName, TierDefinition};

    use super::*;
    use crate::database::{Databases, DatabasesConfig};
    use crate::hrana::HranaConfig;
    use crate::http::body::full;
    use crate::layers::{Access, TenantContext};

    fn thread(_body: &[u8]) -> Result<String, Malformed> {
        Ok(std::thread::current().name().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn a_large_body_is_read_on_a_database_thread_and_a_small_one_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let databases = Databases::open(DatabasesConfig::new(folder.path().to_owned())).unwrap();
        let service = HranaService::new(databases, &HranaConfig::default());
        let here = std::thread::current().name().unwrap_or_default().to_owned();
        for (bytes, expected) in [(100, here.as_str()), (100 << 10, "database-"), (2 << 20, "database-")] {
            let mut request = Request::new(full(vec![b' '; bytes]));
            request.extensions_mut().insert(TenantContext {
                uid: TenantUid::from_u128(1),
                name: TenantName::new("acme").unwrap(),
                epoch: Epoch(1),
                weight: 1,
                quota: TierDefinition::defaults()[2].quota,
                access: Access::Full,
            });
            let arrived = service.arrive(request).ok().unwrap();
            let (_, thread) = service.read(arrived, thread).await.ok().unwrap();
            assert!(thread.starts_with(expected), "{bytes} bytes were read on {thread}");
        }
    }
}
