//! How kept answers and signing keys are hashed.

use super::{Feed, Hasher};
use crate::{Answer, Rejection, Request, SigningKey, StoredRequest};

const REQUEST: u8 = 5;
const KEY: u8 = 6;

impl Feed for SigningKey {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            key_id,
            public,
            secret,
            signs_from,
        } = self;
        hasher.byte(KEY);
        hasher.text(key_id);
        hasher.bytes(public);
        hasher.bytes(secret.reveal());
        hasher.later_word(signs_from.0);
    }
}

impl Feed for StoredRequest {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            request: Request { id, fingerprint },
            revision,
            answered_at,
            outcome,
        } = self;
        hasher.byte(REQUEST);
        hasher.wide(id.as_u128());
        hasher.word(fingerprint.0);
        hasher.word(revision.get());
        hasher.word(answered_at.0);
        match outcome {
            Ok(answer) => {
                hasher.byte(0);
                answer.feed(hasher);
            }
            Err(rejection) => {
                hasher.byte(1);
                rejection.feed(hasher);
            }
        }
    }
}

impl Feed for Answer {
    fn feed(&self, hasher: &mut Hasher) {
        match self {
            Self::Cluster(cluster) => {
                hasher.byte(1);
                cluster.feed(hasher);
            }
            Self::Tenant(tenant) => {
                hasher.byte(2);
                tenant.feed(hasher);
            }
            Self::Tier(tier) => {
                hasher.byte(3);
                tier.feed(hasher);
            }
            Self::Node(node) => {
                hasher.byte(4);
                node.feed(hasher);
            }
            Self::Events {
                acknowledged,
                appended,
                duplicates,
                unknown_tenants,
                superseded,
            } => {
                hasher.byte(5);
                for count in [acknowledged.get(), *appended, *duplicates, *unknown_tenants] {
                    hasher.word(count);
                }
                hasher.later_word(*superseded);
            }
            Self::SigningKey { key_id, signs_from } => {
                hasher.byte(6);
                hasher.text(key_id);
                hasher.word(signs_from.0);
            }
            Self::Webhook(name) => {
                hasher.byte(7);
                hasher.text(name.as_str());
            }
            Self::Reactions(reactions) => {
                hasher.byte(8);
                reactions.feed(hasher);
            }
            Self::Recorded => hasher.byte(9),
        }
    }
}

impl Feed for Rejection {
    fn feed(&self, hasher: &mut Hasher) {
        match self {
            Self::AlreadyInitialized { uid } => {
                hasher.byte(1);
                hasher.wide(uid.as_u128());
            }
            Self::NotInitialized => hasher.byte(2),
            Self::TenantNotFound { uid } => {
                hasher.byte(3);
                hasher.wide(uid.as_u128());
            }
            Self::UidTaken { uid } => {
                hasher.byte(4);
                hasher.wide(uid.as_u128());
            }
            Self::NameTaken { name, by } => {
                hasher.byte(5);
                hasher.text(name.as_str());
                hasher.wide(by.as_u128());
            }
            Self::UndeleteNameTaken { name, by } => {
                hasher.byte(6);
                hasher.text(name.as_str());
                hasher.wide(by.as_u128());
            }
            Self::DomainTaken { domain, by } => {
                hasher.byte(7);
                hasher.text(domain.as_str());
                hasher.wide(by.as_u128());
            }
            Self::EtagMismatch { expected, actual } => {
                hasher.byte(8);
                hasher.word(expected.get());
                hasher.word(actual.get());
            }
            Self::TenantDeleted { uid } => {
                hasher.byte(9);
                hasher.wide(uid.as_u128());
            }
            Self::TenantNotDeleted { uid } => {
                hasher.byte(10);
                hasher.wide(uid.as_u128());
            }
            Self::PurgeTimePassed { uid, purge_at } => {
                hasher.byte(11);
                hasher.wide(uid.as_u128());
                hasher.word(purge_at.0);
            }
            Self::EpochMismatch { expected, actual } => {
                hasher.byte(12);
                hasher.word(expected.get());
                hasher.word(actual.get());
            }
            Self::NodeUnknown { node } => {
                hasher.byte(13);
                hasher.text(node.as_str());
            }
            Self::StaleIncarnation { node, given, known } => {
                hasher.byte(14);
                hasher.text(node.as_str());
                hasher.word(given.get());
                hasher.word(known.get());
            }
            Self::IncarnationUnknown { node, given, known } => {
                hasher.byte(15);
                hasher.text(node.as_str());
                hasher.word(given.get());
                hasher.word(known.get());
            }
            Self::RequestIdReused { id } => {
                hasher.byte(16);
                hasher.wide(id.as_u128());
            }
            Self::RevisionNotNew { applied } => {
                hasher.byte(17);
                hasher.word(applied.get());
            }
            Self::KeyIdTaken { key_id } => {
                hasher.byte(18);
                hasher.text(key_id);
            }
            Self::KeyNotFound { key_id } => {
                hasher.byte(19);
                hasher.text(key_id);
            }
            Self::KeySigns { key_id } => {
                hasher.byte(20);
                hasher.text(key_id);
            }
            Self::TooManyKeys { limit } => {
                hasher.byte(21);
                hasher.word(*limit);
            }
            Self::WebhookNameTaken { name } => {
                hasher.byte(22);
                hasher.text(name.as_str());
            }
            Self::WebhookNotFound { name } => {
                hasher.byte(23);
                hasher.text(name.as_str());
            }
            Self::WebhookChanged { expected, actual } => {
                hasher.byte(24);
                hasher.word(expected.get());
                hasher.word(actual.get());
            }
            Self::TooManyWebhooks { limit } => {
                hasher.byte(25);
                hasher.word(*limit);
            }
        }
    }
}
