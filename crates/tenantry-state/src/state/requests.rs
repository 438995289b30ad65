//! Answers kept for callers that ask again.

use std::sync::Arc;
use std::time::Duration;

use tenantry_types::{Revision, UnixMillis};

use super::State;
use crate::{Outcome, Rejection, Request};

/// How long an answer is kept, by the time that commands carry.
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How many answers are kept; with more, the oldest go before their time.
pub const MAX_REQUESTS: usize = 50_000;

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
        let stored = self.requests.get(&request.id)?;
        if stored.request.fingerprint == request.fingerprint {
            Some(stored.outcome.clone())
        } else {
            Some(Err(Rejection::RequestIdReused { id: request.id }))
        }
    }

    pub(crate) fn put_request(&mut self, stored: StoredRequest) {
        self.content.toggle(&stored);
        self.requests_by_age.insert(stored.revision, stored.request.id);
        self.requests.insert(stored.request.id, Arc::new(stored));
    }

    /// Drops what is past its time or past `keep` in number, oldest first.
    pub(crate) fn expire_requests(&mut self, keep: usize) {
        while let Some((_, id)) = self.requests_by_age.get_min() {
            let expired = self
                .requests
                .get(id)
                .is_none_or(|stored| self.clock.since(stored.answered_at) >= REQUEST_LIFETIME);
            if !expired && self.requests.len() <= keep {
                return;
            }
            if let Some(stored) = self.requests.remove(&id.clone()) {
                self.content.toggle(&*stored);
            }
            self.requests_by_age = self.requests_by_age.without_min().1;
        }
    }
}
