//! Webhooks and what was given up for them.

use std::sync::Arc;

use tenantry_types::{DeadLetter, EventSequence, Webhook, WebhookName};

use super::State;

/// How many webhooks there may be: the leader runs a courier for each.
pub const MAX_WEBHOOKS: usize = 100;

/// How many dead letters are kept of one webhook; the oldest go first.
pub const MAX_DEAD_LETTERS: usize = 100;

impl State {
    /// The webhook with this name.
    #[must_use]
    pub fn webhook(&self, name: &WebhookName) -> Option<&Arc<Webhook>> {
        self.webhooks.get(name)
    }

    /// All webhooks, by name.
    pub fn webhooks(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.webhooks.values()
    }

    /// What was given up for a webhook, the oldest first.
    pub fn dead_letters(&self, name: &WebhookName) -> impl Iterator<Item = &Arc<DeadLetter>> + use<'_> {
        let name = name.clone();
        self.dead_letters
            .range((name.clone(), EventSequence::ZERO)..)
            .take_while(move |((webhook, _), _)| *webhook == name)
            .map(|(_, letter)| letter)
    }

    pub(crate) fn put_webhook(&mut self, webhook: Webhook) {
        let webhook = Arc::new(webhook);
        if let Some(before) = self.webhooks.insert(webhook.name.clone(), Arc::clone(&webhook)) {
            self.content.toggle(&*before);
        }
        self.content.toggle(&*webhook);
    }

    /// Forgets a webhook and its dead letters.
    pub(crate) fn remove_webhook(&mut self, name: &WebhookName) {
        if let Some(webhook) = self.webhooks.remove(name) {
            self.content.toggle(&*webhook);
        }
        let letters: Vec<_> = self.dead_letters(name).map(|letter| letter.first).collect();
        letters
            .into_iter()
            .for_each(|first| self.remove_dead_letter(name, first));
    }

    /// Keeps a dead letter, and drops the oldest where there are too many.
    pub(crate) fn put_dead_letter(&mut self, name: &WebhookName, letter: DeadLetter) {
        self.remove_dead_letter(name, letter.first);
        let letter = Arc::new(letter);
        self.content.toggle(&(name, &*letter));
        self.dead_letters.insert((name.clone(), letter.first), letter);
        let kept: Vec<_> = self.dead_letters(name).map(|letter| letter.first).collect();
        let excess = kept.len().saturating_sub(MAX_DEAD_LETTERS);
        kept.into_iter()
            .take(excess)
            .for_each(|first| self.remove_dead_letter(name, first));
    }

    pub(crate) fn remove_dead_letter(&mut self, name: &WebhookName, first: EventSequence) {
        if let Some(letter) = self.dead_letters.remove(&(name.clone(), first)) {
            self.content.toggle(&(name, &*letter));
        }
    }
}
