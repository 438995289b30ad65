//! Answers kept for callers that ask again: each for 24 hours of the replicated clock, [`MAX_REQUESTS`] at most. When there
//! are more, the oldest go before their time, and [`Applied::evicted_answers`](crate::Applied) says how many: a caller that
//! retries later than that is taken for a new one.
//!
//! What goes, and when, follows from the commands alone, so it is the same on every member. A command pays for at most
//! [`EXPIRED_AT_ONCE`] others' answers, however many ran out since the last one.

use std::sync::Arc;
use std::time::Duration;

use tenantry_types::{Revision, UnixMillis};

use super::State;
use crate::{Outcome, Rejection, Request};

/// How long an answer is kept, by the time that commands carry.
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How many answers are kept; with more, the oldest go before their time.
pub const MAX_REQUESTS: usize = 50_000;

/// How many answers that are past their time one command drops: after a quiet day the first command must not pay for all.
/// More than the one that it may add, so that they never pile up.
const EXPIRED_AT_ONCE: usize = 16;

/// A request and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRequest {
    /// Which.
    pub request: Request,
    /// The revision of its command.
    pub revision: Revision,
    /// When it was answered, by the replicated clock.
    pub answered_at: UnixMillis,
    /// What it was answered.
    pub outcome: Outcome,
}

impl State {
    /// The answer for a request that was answered before, or the rejection of one that reuses another's id. `None`: it
    /// is new. Ask before resolving names and making decisions: what the first call changed may stand in the way.
    #[must_use]
    pub fn answered(&self, request: &Request) -> Option<Outcome> {
        let stored = self
            .requests
            .get(&request.id)
            .filter(|stored| !self.is_expired(stored))?;
        if stored.request.fingerprint == request.fingerprint {
            Some(stored.outcome.clone())
        } else {
            Some(Err(Rejection::RequestIdReused { id: request.id }))
        }
    }

    /// How many answers are kept.
    #[must_use]
    pub fn kept_answers(&self) -> usize {
        self.requests.len()
    }

    fn is_expired(&self, stored: &StoredRequest) -> bool {
        self.clock.since(stored.answered_at) >= REQUEST_LIFETIME
    }

    /// Adds an answer, in the place of one under the same id that is past its time.
    pub(crate) fn put_request(&mut self, stored: StoredRequest) {
        self.content.toggle(&stored);
        self.requests_by_age.insert(stored.revision, stored.request.id);
        if let Some(before) = self.requests.insert(stored.request.id, Arc::new(stored)) {
            self.content.toggle(&*before);
            self.requests_by_age.remove(&before.revision);
        }
    }

    /// Drops some of what is past its time.
    pub(crate) fn expire_requests(&mut self) {
        for _ in 0..EXPIRED_AT_ONCE {
            match self.oldest_request() {
                Some(oldest) if self.is_expired(oldest) => self.drop_oldest_request(),
                _ => return,
            }
        }
    }

    /// Makes room for one more answer, and says how many were dropped before their time for it.
    pub(crate) fn evict_requests(&mut self) -> u64 {
        let mut evicted = 0;
        while self.requests.len() >= MAX_REQUESTS
            && let Some(oldest) = self.oldest_request()
        {
            evicted += u64::from(!self.is_expired(oldest));
            self.drop_oldest_request();
        }
        evicted
    }

    fn oldest_request(&self) -> Option<&Arc<StoredRequest>> {
        let (_, id) = self.requests_by_age.get_min()?;
        self.requests.get(id)
    }

    fn drop_oldest_request(&mut self) {
        let Some((revision, id)) = self.requests_by_age.get_min().cloned() else {
            return;
        };
        self.requests_by_age.remove(&revision);
        if let Some(stored) = self.requests.remove(&id) {
            self.content.toggle(&*stored);
        }
    }
}
