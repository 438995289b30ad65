//! Webhooks: `webhook_service.proto`, and as they are stored.

use tenantry_types::{
    DeadLetter, DisabledBy, EventSequence, InvalidWebhookSecret, Revision, UnixMillis, Webhook, WebhookName,
    WebhookSecret, WebhookSpec, WebhookState,
};

use super::event_filter::event_filter_from_wire;
use super::field::{InvalidField, Within, read};
use super::names;
use super::node::etag;
use super::time::timestamp;
use crate::internal::v1 as wire;
use crate::v1;

/// What a webhook is shown as, beside what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookBacklog {
    /// Events that the log has after the last one that was dealt with.
    pub waiting: u64,
    /// How many dead letters there are.
    pub dead_letters: u64,
}

/// A webhook as operators see it: without its secrets.
#[must_use]
pub fn webhook_to_proto(webhook: &Webhook, backlog: WebhookBacklog) -> v1::Webhook {
    let (state, since, failure) = state_to_wire(&webhook.state);
    v1::Webhook {
        name: names::webhook(&webhook.name),
        url: webhook.spec.url.clone(),
        filter: Some((&webhook.spec.filter).into()),
        disabled: matches!(webhook.state, WebhookState::Disabled { .. }),
        status: Some(v1::WebhookStatus {
            state: state.into(),
            since_time: since.map(timestamp),
            failure,
            done_sequence: webhook.done.get(),
            waiting: backlog.waiting,
            dead_letters: backlog.dead_letters,
        }),
        create_time: Some(timestamp(webhook.created_at)),
        etag: etag(webhook.revision),
    }
}

fn state_to_wire(state: &WebhookState) -> (v1::WebhookState, Option<UnixMillis>, String) {
    match state {
        WebhookState::Delivering => (v1::WebhookState::Delivering, None, String::new()),
        WebhookState::Failing { since, failure } => (v1::WebhookState::Failing, Some(*since), failure.clone()),
        WebhookState::Disabled { since, by } => {
            let state = match by {
                DisabledBy::Operator => v1::WebhookState::Disabled,
                DisabledBy::Receiver => v1::WebhookState::Gone,
            };
            (state, Some(*since), String::new())
        }
    }
}

fn state_from_wire(stored: &wire::StoredWebhook) -> Result<WebhookState, InvalidField> {
    let since = UnixMillis(stored.since_ms);
    let disabled = |by| Ok(WebhookState::Disabled { since, by });
    match v1::WebhookState::try_from(stored.state) {
        Ok(v1::WebhookState::Delivering) => Ok(WebhookState::Delivering),
        Ok(v1::WebhookState::Failing) => Ok(WebhookState::Failing {
            since,
            failure: stored.failure.clone(),
        }),
        Ok(v1::WebhookState::Disabled) => disabled(DisabledBy::Operator),
        Ok(v1::WebhookState::Gone) => disabled(DisabledBy::Receiver),
        Ok(v1::WebhookState::Unspecified) | Err(_) => Err(InvalidField::missing("state")),
    }
}

/// A webhook with its secrets.
#[must_use]
pub fn stored_webhook(webhook: &Webhook) -> wire::StoredWebhook {
    let Webhook {
        name,
        spec,
        state,
        done,
        created_at,
        revision,
    } = webhook;
    let (state, since, failure) = state_to_wire(state);
    wire::StoredWebhook {
        webhook_id: name.to_string(),
        spec: Some(spec_to_wire(spec)),
        state: state.into(),
        since_ms: since.unwrap_or_default().0,
        failure,
        done: done.get(),
        created_at_ms: created_at.0,
        revision: revision.get(),
    }
}

/// A webhook from storage.
///
/// # Errors
/// Names the field that was wrong.
pub fn webhook_from_stored(stored: wire::StoredWebhook) -> Result<Webhook, InvalidField> {
    let state = state_from_wire(&stored)?;
    let spec = stored.spec.ok_or_else(|| InvalidField::missing("spec"))?;
    Ok(Webhook {
        name: read("webhook_id", WebhookName::new(&stored.webhook_id))?,
        spec: spec_from_wire(spec).within("spec")?,
        state,
        done: EventSequence(stored.done),
        created_at: UnixMillis(stored.created_at_ms),
        revision: Revision(stored.revision),
    })
}

/// A spec with its secrets.
#[must_use]
pub fn spec_to_wire(spec: &WebhookSpec) -> wire::WebhookSpec {
    let WebhookSpec { url, filter, secrets } = spec;
    wire::WebhookSpec {
        url: url.clone(),
        filter: Some(filter.into()),
        secrets: secrets
            .iter()
            .map(|secret| bytes::Bytes::copy_from_slice(secret.reveal()))
            .collect(),
    }
}

/// A spec from storage.
///
/// # Errors
/// Names the field that was wrong.
pub fn spec_from_wire(spec: wire::WebhookSpec) -> Result<WebhookSpec, InvalidField> {
    let secrets: Result<Vec<_>, InvalidWebhookSecret> =
        spec.secrets.iter().map(|bytes| WebhookSecret::new(bytes)).collect();
    let filter = spec.filter.ok_or_else(|| InvalidField::missing("filter"))?;
    Ok(WebhookSpec {
        url: spec.url,
        filter: event_filter_from_wire(filter).within("filter")?,
        secrets: read("secrets", secrets)?,
    })
}

/// A dead letter.
#[must_use]
pub fn dead_letter_to_wire(letter: &DeadLetter) -> wire::DeadLetter {
    let DeadLetter {
        first,
        last,
        at,
        attempts,
        failure,
    } = letter;
    wire::DeadLetter {
        first_sequence: first.get(),
        last_sequence: last.get(),
        at_ms: at.0,
        attempts: *attempts,
        failure: failure.clone(),
    }
}

/// A dead letter from storage. Cannot fail: any numbers and any text make one.
#[must_use]
pub fn dead_letter_from_wire(letter: wire::DeadLetter) -> DeadLetter {
    DeadLetter {
        first: EventSequence(letter.first_sequence),
        last: EventSequence(letter.last_sequence),
        at: UnixMillis(letter.at_ms),
        attempts: letter.attempts,
        failure: letter.failure,
    }
}
