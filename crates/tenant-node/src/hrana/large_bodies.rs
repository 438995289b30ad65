//! Lets the large bodies of one tenant in by turns, so that they cannot fill the node's memory.
//!
//! A body takes several times its own length while it is parsed and until its last statement has run. Each tenant may have so many bytes of
//! large bodies under way; further ones are not read until one before has ended, so the client's connection waits, and nobody else. Small
//! bodies take no turn. Must not know what a body means.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tenantry_types::TenantUid;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::receiving::{Lines, NodeLine};
use crate::http::body::{Body, BoxError};

/// Bodies up to this length, in bytes, take no turn.
const SMALL_BYTES: u64 = 256 << 10;
/// Bytes of large bodies that one tenant may have under way. A longer body has its turn alone.
const MOST_BYTES: u64 = 32 << 20;
/// Bytes that one permit stands for.
const UNIT_BYTES: u64 = 64 << 10;
/// After so many tenants had turns, those that have none are forgotten.
const FORGET_AT: usize = 256;

/// Whose large bodies are under way.
#[derive(Debug, Default)]
pub(super) struct LargeBodies {
    tenants: Mutex<HashMap<TenantUid, Weak<OfTenant>>>,
    node_line: NodeLine,
}

/// The large bodies of one tenant.
#[derive(Debug)]
struct OfTenant {
    /// In units: what may be under way yet.
    bytes: Arc<Semaphore>,
    lines: Lines,
}

/// The room that a large body takes: how long its turn is waited for depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyRoom {
    units: u32,
}

/// Until it is dropped, a large body is under way.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    /// Known for as long as one of its bodies is under way.
    tenant: Arc<OfTenant>,
}

/// The tenant's other large bodies took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoTurn {
    /// Bytes that may be under way.
    pub(super) limit_bytes: u64,
}

impl BodyRoom {
    /// What a body of this length needs; one of unknown length counts as `most` bytes. `None` for a small one, and for one that is refused without
    /// being read.
    pub(super) fn needed(length: &SizeHint, most: u64) -> Option<Self> {
        let bytes = length.upper().unwrap_or(most).min(most).min(MOST_BYTES);
        let is_large = length.lower() <= most && bytes > SMALL_BYTES;
        is_large.then(|| Self {
            units: u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX),
        })
    }
}

impl LargeBodies {
    /// Waits for a turn for a body that takes `room`.
    ///
    /// # Errors
    /// After `patience`.
    pub(super) async fn turn(&self, tenant: TenantUid, room: BodyRoom, patience: Duration) -> Result<Turn, NoTurn> {
        let tenant = self.of(tenant);
        let waiting = Arc::clone(&tenant.bytes).acquire_many_owned(room.units);
        match tokio::time::timeout(patience, waiting).await {
            Ok(Ok(permit)) => Ok(Turn {
                _permit: permit,
                tenant,
            }),
            // The semaphore is never closed: only the time can have passed.
            Ok(Err(_)) | Err(_) => Err(NoTurn {
                limit_bytes: MOST_BYTES,
            }),
        }
    }

    fn of(&self, tenant: TenantUid) -> Arc<OfTenant> {
        let mut tenants = self.tenants.lock();
        if let Some(known) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return known;
        }
        if tenants.len() >= FORGET_AT {
            tenants.retain(|_, turns| turns.strong_count() > 0);
        }
        let units = usize::try_from(MOST_BYTES / UNIT_BYTES).unwrap_or(usize::MAX);
        let turns = Arc::new(OfTenant {
            bytes: Arc::new(Semaphore::new(units)),
            lines: self.node_line.lines_of_a_tenant(),
        });
        tenants.insert(tenant, Arc::downgrade(&turns));
        turns
    }
}

impl Turn {
    /// Where the body stands in line.
    pub(super) fn lines(&self) -> Lines {
        self.tenant.lines.clone()
    }

    /// An answer that is still made while it is read keeps the turn to its end.
    pub(super) fn until_the_end_of(self, body: Body) -> Body {
        Kept { body, _turn: self }.boxed_unsync()
    }
}

struct Kept {
    body: Body,
    _turn: Turn,
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn turn(bodies: &LargeBodies, tenant: u128, length: SizeHint) -> Result<Turn, NoTurn> {
        let room = BodyRoom::needed(&length, 16 << 20).unwrap();
        bodies.turn(TenantUid::from_u128(tenant), room, PATIENCE).await
    }

    #[test]
    fn small_bodies_need_no_turn_nor_do_those_that_are_refused() {
        let needed = |length, most| BodyRoom::needed(&length, most).map(|room| room.units);
        assert_eq!(needed(SizeHint::with_exact(256 << 10), 16 << 20), None);
        assert_eq!(needed(SizeHint::with_exact((256 << 10) + 1), 16 << 20), Some(5));
        assert_eq!(needed(SizeHint::with_exact((16 << 20) + 1), 16 << 20), None);
        assert_eq!(needed(SizeHint::default(), 16 << 20), Some(256));
        assert_eq!(needed(SizeHint::default(), 1 << 30), Some(512), "alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_third_body_of_full_length_waits_for_one_before_and_other_tenants_do_not() {
        let bodies = LargeBodies::default();
        let full = || SizeHint::with_exact(16 << 20);
        let first = turn(&bodies, 1, full()).await.unwrap();
        let _second = turn(&bodies, 1, full()).await.unwrap();
        assert_eq!(turn(&bodies, 1, full()).await.unwrap_err().limit_bytes, 32 << 20);
        assert!(turn(&bodies, 2, full()).await.is_ok());
        let mut third = Box::pin(turn(&bodies, 1, full()));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(first);
        assert!(third.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_unknown_length_counts_as_the_longest() {
        let bodies = LargeBodies::default();
        let _first = turn(&bodies, 1, SizeHint::default()).await.unwrap();
        let _second = turn(&bodies, 1, SizeHint::default()).await.unwrap();
        assert!(turn(&bodies, 1, SizeHint::default()).await.is_err());
    }

    #[tokio::test]
    async fn tenants_without_a_turn_are_forgotten() {
        let bodies = LargeBodies::default();
        for tenant in 0..10_000 {
            turn(&bodies, tenant, SizeHint::default()).await.unwrap();
        }
        assert!(bodies.tenants.lock().len() <= FORGET_AT);
    }
}
