//! Webhooks: whom the control plane tells of events, and how far it has come.

use std::collections::BTreeMap;
use std::fmt;

use crate::{EventSequence, Revision, Severity, TenantName, UnixMillis, WebhookName};

/// Which events somebody wants. Every part that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only these kinds, as [`EventDetail::kind`](crate::EventDetail::kind) names them; empty for all.
    pub kinds: Vec<String>,
    /// Only about these tenants; empty for all, and for what is about no tenant.
    pub tenants: Vec<TenantName>,
    /// Only about tenants that have all these labels now.
    pub labels: BTreeMap<String, String>,
    /// Only this severity and above.
    pub min_severity: Option<Severity>,
}

/// The key that a webhook's messages are signed with: 24 to 64 bytes that no log line shows.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Box<[u8]>);

/// Bytes that are no secret for a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret has 24 to 64 bytes, not {0}")]
pub struct InvalidWebhookSecret(pub usize);

impl WebhookSecret {
    /// # Errors
    /// When there are fewer than 24 or more than 64 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidWebhookSecret> {
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(bytes.into()))
        } else {
            Err(InvalidWebhookSecret(bytes.len()))
        }
    }

    /// The bytes, for signing and for the replicated log.
    #[must_use]
    pub const fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(hidden)")
    }
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSpec {
    /// Where messages go. May hold secrets of its own, so it is shown to operators only.
    pub url: String,
    /// Which events.
    pub filter: EventFilter,
    /// Signs messages; two of them while one takes over from the other, the newer first.
    pub secrets: Vec<WebhookSecret>,
}

/// How delivery to a webhook stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookState {
    /// The last message arrived, or there was none yet.
    Delivering,
    /// The last attempt failed; the same event is tried again.
    Failing {
        /// Since when.
        since: UnixMillis,
        /// What went wrong last.
        failure: String,
    },
    /// Nothing is delivered until an operator enables it.
    Disabled {
        /// Since when.
        since: UnixMillis,
        /// Who wanted it so.
        by: DisabledBy,
    },
}

/// Who wants a webhook to be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisabledBy {
    /// An operator.
    Operator,
    /// The receiver, by answering 410.
    Receiver,
}

/// A webhook: spec and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Unique.
    pub name: WebhookName,
    /// What was asked for.
    pub spec: WebhookSpec,
    /// How it goes.
    pub state: WebhookState,
    /// All events up to here are dealt with: delivered, not wanted, or among the dead letters.
    pub done: EventSequence,
    /// When it was created.
    pub created_at: UnixMillis,
    /// The revision of the last change that an operator made: the etag.
    pub revision: Revision,
}

/// An event that could not be delivered, and is not tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The first event.
    pub first: EventSequence,
    /// The last one: the same, but where the log had dropped events before they were delivered.
    pub last: EventSequence,
    /// When it was given up.
    pub at: UnixMillis,
    /// How many attempts were made.
    pub attempts: u32,
    /// What the last one came to.
    pub failure: String,
}
