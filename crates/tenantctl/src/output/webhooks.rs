//! What is printed of webhooks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tenantry_proto::{event_json, v1};

use super::events::sequences;
use super::table::{or_none, render};
use super::units::count;
use super::{protocol_names as word, units};
use crate::resource_name::short;

/// A webhook.
#[derive(Debug, Serialize)]
pub(crate) struct Webhook {
    webhook: String,
    url: String,
    kinds: Vec<String>,
    tenants: Vec<String>,
    labels: BTreeMap<String, String>,
    min_severity: Option<&'static str>,
    state: Option<&'static str>,
    since_time: Option<String>,
    failure: Option<String>,
    done_sequence: u64,
    waiting: u64,
    dead_letters: u64,
    create_time: Option<String>,
    etag: String,
}

impl From<&v1::Webhook> for Webhook {
    fn from(webhook: &v1::Webhook) -> Self {
        let filter = webhook.filter.clone().unwrap_or_default();
        let status = webhook.status.clone().unwrap_or_default();
        Self {
            webhook: short(&webhook.name).to_owned(),
            url: webhook.url.clone(),
            kinds: filter.kinds,
            tenants: filter.tenants.iter().map(|name| short(name).to_owned()).collect(),
            labels: filter.labels,
            min_severity: word::severity(filter.min_severity),
            state: word::webhook_state(status.state),
            since_time: units::time(status.since_time.as_ref()),
            failure: Some(status.failure).filter(|failure| !failure.is_empty()),
            done_sequence: status.done_sequence,
            waiting: status.waiting,
            dead_letters: status.dead_letters,
            create_time: units::time(webhook.create_time.as_ref()),
            etag: webhook.etag.clone(),
        }
    }
}

impl Webhook {
    fn events(&self) -> String {
        let mut parts = vec![if self.kinds.is_empty() {
            "all".to_owned()
        } else {
            self.kinds.join(", ")
        }];
        parts.extend((!self.tenants.is_empty()).then(|| format!("about {}", self.tenants.join(", "))));
        parts.extend(self.labels.iter().map(|(key, value)| format!("{key}={value}")));
        parts.extend(self.min_severity.map(|least| format!("from {least}")));
        parts.join("; ")
    }
}

/// A table of webhooks.
pub(crate) fn webhooks(webhooks: &[Webhook]) -> String {
    let header = ["WEBHOOK", "STATE", "WAITING", "DEAD", "URL", "EVENTS", "FAILURE"];
    let rows = webhooks.iter().map(|webhook| {
        vec![
            webhook.webhook.clone(),
            or_none(webhook.state),
            count(webhook.waiting),
            count(webhook.dead_letters),
            webhook.url.clone(),
            webhook.events(),
            or_none(webhook.failure.clone()),
        ]
    });
    render(&header, rows)
}

/// A new webhook with the secret that is shown once.
#[derive(Debug, Serialize)]
pub(crate) struct Created {
    #[serde(flatten)]
    pub(crate) webhook: Webhook,
    pub(crate) secret: String,
}

impl Created {
    pub(crate) fn to_table(&self) -> String {
        format!(
            "{}\nsecret: {}\nIt is not shown again. Receivers check signatures with it.",
            webhooks(std::slice::from_ref(&self.webhook)),
            self.secret
        )
    }
}

/// An event that was given up.
#[derive(Debug, Serialize)]
pub(crate) struct DeadLetter {
    first_sequence: u64,
    last_sequence: u64,
    give_up_time: Option<String>,
    attempts: u32,
    failure: String,
    event: Option<Value>,
}

impl From<&v1::DeadLetter> for DeadLetter {
    fn from(letter: &v1::DeadLetter) -> Self {
        Self {
            first_sequence: letter.first_sequence,
            last_sequence: letter.last_sequence,
            give_up_time: units::time(letter.give_up_time.as_ref()),
            attempts: letter.attempts,
            failure: letter.failure.clone(),
            event: letter.event.as_ref().map(event_json::event),
        }
    }
}

/// A table of dead letters.
pub(crate) fn dead_letters(letters: &[v1::DeadLetter]) -> String {
    let rows = letters.iter().map(|letter| {
        vec![
            sequences(letter.first_sequence, letter.last_sequence),
            letter
                .event
                .as_ref()
                .map_or_else(String::new, |event| event.kind.clone()),
            or_none(units::time(letter.give_up_time.as_ref())),
            letter.attempts.to_string(),
            letter.failure.clone(),
        ]
    });
    render(&["EVENTS", "KIND", "GIVEN UP", "ATTEMPTS", "FAILURE"], rows)
}
