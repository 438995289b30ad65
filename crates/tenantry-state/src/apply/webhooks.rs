//! Webhooks: what operators ask for, and how far delivery has come.

use std::sync::Arc;

use tenantry_types::{
    DeadLetter, DisabledBy, EventDetail, EventSequence, Revision, Webhook, WebhookName, WebhookSpec, WebhookState,
};

use super::Context;
use super::announce::announce;
use crate::{Answer, Delivery, DeliveryOutcome, MAX_WEBHOOKS, Outcome, Rejection, State};

pub(super) fn create(state: &mut State, context: &Context, name: WebhookName, spec: WebhookSpec) -> Outcome {
    if state.webhook(&name).is_some() {
        return Err(Rejection::WebhookNameTaken { name });
    }
    if state.webhooks().count() >= MAX_WEBHOOKS {
        return Err(Rejection::TooManyWebhooks {
            limit: MAX_WEBHOOKS as u64,
        });
    }
    state.put_webhook(Webhook {
        name: name.clone(),
        spec,
        state: WebhookState::Delivering,
        done: state.last_event(),
        created_at: context.now,
        revision: context.revision,
    });
    Ok(Answer::Webhook(name))
}

pub(super) fn update(
    state: &mut State,
    context: &Context,
    name: WebhookName,
    expected: Option<Revision>,
    spec: WebhookSpec,
    delivery: Delivery,
) -> Outcome {
    let webhook = Webhook::clone(known(state, &name)?);
    if let Some(expected) = expected
        && expected != webhook.revision
    {
        let actual = webhook.revision;
        return Err(Rejection::WebhookChanged { expected, actual });
    }
    let disabled = matches!(webhook.state, WebhookState::Disabled { .. });
    let next = match (delivery, disabled) {
        (Delivery::Enabled, true) => WebhookState::Delivering,
        (Delivery::Disabled, false) => WebhookState::Disabled {
            since: context.now,
            by: DisabledBy::Operator,
        },
        (Delivery::Enabled, false) | (Delivery::Disabled, true) => webhook.state.clone(),
    };
    if next == webhook.state && spec == webhook.spec {
        return Ok(Answer::Webhook(name));
    }
    if delivery == Delivery::Disabled && !disabled {
        let by = DisabledBy::Operator;
        let webhook = name.clone();
        announce(state, context, None, EventDetail::WebhookDisabled { webhook, by });
    }
    state.put_webhook(Webhook {
        spec,
        state: next,
        revision: context.revision,
        ..webhook
    });
    Ok(Answer::Webhook(name))
}

pub(super) fn delete(state: &mut State, name: WebhookName) -> Outcome {
    known(state, &name)?;
    state.remove_webhook(&name);
    Ok(Answer::Webhook(name))
}

pub(super) fn rewind(state: &mut State, context: &Context, name: WebhookName, after: EventSequence) -> Outcome {
    let webhook = Webhook::clone(known(state, &name)?);
    // As far as the log still has it: what it has dropped was dealt with before.
    let after = after.max(EventSequence(state.oldest_event().get().saturating_sub(1)));
    let forgotten: Vec<_> = state
        .dead_letters(&name)
        .map(|letter| letter.first)
        .filter(|first| *first > after)
        .collect();
    forgotten
        .into_iter()
        .for_each(|first| state.remove_dead_letter(&name, first));
    state.put_webhook(Webhook {
        done: webhook.done.min(after),
        revision: context.revision,
        ..webhook
    });
    Ok(Answer::Webhook(name))
}

/// What a leader has come to with a webhook.
pub(super) struct Advance {
    pub(super) name: WebhookName,
    pub(super) expected_revision: Revision,
    pub(super) expected_done: EventSequence,
    pub(super) done: EventSequence,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) outcome: DeliveryOutcome,
}

/// Takes what a leader has come to, if the webhook is still as the leader saw it.
pub(super) fn advance(state: &mut State, context: &Context, advance: Advance) -> Answer {
    let Advance {
        name,
        expected_revision,
        expected_done,
        done,
        dead_letters,
        outcome,
    } = advance;
    let Some(webhook) = state.webhook(&name).map(|webhook| Webhook::clone(webhook)) else {
        return Answer::Recorded;
    };
    let as_seen = webhook.revision == expected_revision && webhook.done == expected_done;
    let silent = matches!(webhook.state, WebhookState::Disabled { .. });
    let within_log = (webhook.done..=state.last_event()).contains(&done);
    if !as_seen || silent || !within_log {
        return Answer::Recorded;
    }
    for letter in dead_letters {
        let gave_up = EventDetail::WebhookGaveUp {
            webhook: name.clone(),
            first: letter.first,
            last: letter.last,
        };
        let is_told = !is_news_of_a_webhook(state, &letter);
        state.put_dead_letter(&name, letter);
        if is_told {
            announce(state, context, None, gave_up);
        }
    }
    let failing = matches!(webhook.state, WebhookState::Failing { .. });
    let (next, told) = match outcome {
        DeliveryOutcome::Arrived => {
            let recovered = EventDetail::WebhookRecovered { webhook: name.clone() };
            (WebhookState::Delivering, failing.then_some(recovered))
        }
        DeliveryOutcome::Failed { failure } => {
            let since = match &webhook.state {
                WebhookState::Failing { since, .. } => *since,
                _ => context.now,
            };
            let told = EventDetail::WebhookFailing {
                webhook: name.clone(),
                failure: failure.clone(),
            };
            (WebhookState::Failing { since, failure }, (!failing).then_some(told))
        }
        DeliveryOutcome::Gone => {
            let (since, by) = (context.now, DisabledBy::Receiver);
            let webhook = name.clone();
            (
                WebhookState::Disabled { since, by },
                Some(EventDetail::WebhookDisabled { webhook, by }),
            )
        }
    };
    if let Some(told) = told {
        announce(state, context, None, told);
    }
    state.put_webhook(Webhook {
        state: next,
        done,
        ..webhook
    });
    Answer::Recorded
}

/// Whether what was given up is itself news of a webhook, of which there is no news.
fn is_news_of_a_webhook(state: &State, letter: &DeadLetter) -> bool {
    let before = EventSequence(letter.first.get().saturating_sub(1));
    let event = state.events_after(before).next();
    event.is_some_and(|event| {
        let given_up = event.sequence == letter.first && letter.last == letter.first;
        given_up && event.detail.webhook().is_some()
    })
}

fn known<'a>(state: &'a State, name: &WebhookName) -> Result<&'a Arc<Webhook>, Rejection> {
    state
        .webhook(name)
        .ok_or_else(|| Rejection::WebhookNotFound { name: name.clone() })
}
