//! How events, and what follows from them, are hashed. Kinds that are older than the others keep the hash that they had.

use tenantry_types::{
    ActiveCondition, Cleared, Condition, ConditionFigures, DeadLetter, DisabledBy, EndReason, Event, EventDetail,
    EventFilter, EventOrigin, MemberId, MemberKind, MoveCause, MoveProposal, NodeId, QuotaKind, Reachability,
    Reactions, Scheduling, ScoreTerms, Severity, TenantUid, Webhook, WebhookName, WebhookSpec, WebhookState,
};

use super::{Feed, Hasher};
use crate::RecordedMembers;

const EVENT: u8 = 3;
const CONDITION: u8 = 7;
const MOVE: u8 = 8;
const AVAILABILITY: u8 = 9;
const MEMBERS: u8 = 10;
const WEBHOOK: u8 = 11;
const DEAD_LETTER: u8 = 12;

impl Feed for Event {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            sequence,
            occurred_at,
            origin,
            tenant,
            detail,
        } = self;
        hasher.byte(EVENT);
        hasher.word(sequence.get());
        hasher.word(occurred_at.0);
        match origin {
            EventOrigin::Node {
                node,
                incarnation,
                sequence,
            } => {
                hasher.byte(0);
                hasher.text(node.as_str());
                hasher.word(incarnation.get());
                hasher.word(sequence.get());
            }
            EventOrigin::ControlPlane { member } => {
                hasher.byte(1);
                hasher.word(member.get());
            }
        }
        hasher.option(tenant.as_ref(), |hasher, (uid, name)| {
            hasher.wide(uid.as_u128());
            hasher.text(name.as_str());
        });
        detail.feed(hasher);
    }
}

impl Feed for ScoreTerms {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            database,
            requests,
            cpu,
            memory,
        } = self;
        [database, requests, cpu, memory]
            .into_iter()
            .for_each(|term| hasher.float(*term));
    }
}

impl Feed for ConditionFigures {
    fn feed(&self, hasher: &mut Hasher) {
        match self {
            Self::Hotspot { score, terms } => {
                hasher.float(score.get());
                terms.feed(hasher);
            }
            Self::Spike {
                requests_per_minute,
                norm_per_minute,
            } => {
                hasher.word(*requests_per_minute);
                hasher.float(*norm_per_minute);
            }
            Self::NodeExceeded {
                cpu_millicores,
                node_millicores,
            } => {
                hasher.word(*cpu_millicores);
                hasher.word(*node_millicores);
            }
        }
    }
}

impl Feed for EventDetail {
    fn feed(&self, hasher: &mut Hasher) {
        hasher.text(self.kind());
        match self {
            Self::Raised(figures) | Self::Cleared(Cleared::Subsided(figures)) => figures.feed(hasher),
            Self::Cleared(Cleared::Ended(_, reason)) => hasher.byte(match reason {
                EndReason::TenantDeleted => 1,
                EndReason::TenantMoved => 2,
                EndReason::RecordLost => 3,
            }),
            Self::ClassChanged {
                from,
                to,
                database_bytes,
                requests_last_day,
            } => {
                from.feed(hasher);
                to.feed(hasher);
                hasher.word(*database_bytes);
                hasher.word(*requests_last_day);
            }
            Self::TierChanged { from, to } => {
                from.feed(hasher);
                to.feed(hasher);
            }
            Self::QuotaCrossed {
                quota,
                percent,
                used,
                limit,
            } => {
                hasher.byte(match quota {
                    QuotaKind::RequestsPerDay => 0,
                    QuotaKind::Database => 1,
                });
                hasher.word(u64::from(*percent));
                hasher.word(*used);
                hasher.word(*limit);
            }
            Self::MoveProposed { node, cause } => {
                hasher.text(node.as_str());
                cause.feed(hasher);
            }
            Self::MoveWithdrawn { node } => hasher.text(node.as_str()),
            Self::DedicatedNodeWanted { node, neighbours } => {
                hasher.text(node.as_str());
                hasher.word(*neighbours);
            }
            Self::NodeRegistered { incarnation } => hasher.word(incarnation.get()),
            Self::NodeAvailability { node, from, to: _ } => {
                hasher.text(node.as_str());
                hasher.option(from.as_ref(), |hasher, from| hasher.byte(reachability(*from)));
            }
            // The kind says which of the two it is.
            Self::NodeScheduling {
                node,
                scheduling: Scheduling::Open | Scheduling::Cordoned,
            } => hasher.text(node.as_str()),
            Self::EventsDropped { count } => hasher.word(*count),
            Self::ConfigRefused { records, example } => {
                hasher.word(*records);
                hasher.text(example);
            }
            Self::ConfigAccepted => {}
            Self::TokensRevoked { generation } => hasher.word(generation.get()),
            Self::TokenKeyAdded { key_id, signs_from } => {
                hasher.text(key_id);
                hasher.word(signs_from.0);
            }
            Self::TokenKeyRetired { key_id } => hasher.text(key_id),
            Self::LeaderChanged { from, to, term } => {
                hasher.word(from.map_or(0, MemberId::get));
                hasher.word(to.get());
                hasher.word(*term);
            }
            Self::MemberChanged { member, from, to } => {
                hasher.word(member.get());
                hasher.option(from.as_ref(), |hasher, from| hasher.byte(member_kind(*from)));
                hasher.byte(member_kind(*to));
            }
            Self::MemberRemoved { member } => hasher.word(member.get()),
            Self::ClusterRestored { epoch } => hasher.word(epoch.get()),
            Self::WebhookFailing { webhook, failure } => {
                hasher.text(webhook.as_str());
                hasher.text(failure);
            }
            Self::WebhookRecovered { webhook } => hasher.text(webhook.as_str()),
            Self::WebhookDisabled { webhook, by } => {
                hasher.text(webhook.as_str());
                hasher.byte(disabled_by(*by));
            }
            Self::WebhookGaveUp { webhook, first, last } => {
                hasher.text(webhook.as_str());
                hasher.word(first.get());
                hasher.word(last.get());
            }
        }
    }
}

impl Feed for MoveCause {
    fn feed(&self, hasher: &mut Hasher) {
        match self {
            Self::Hot => hasher.byte(0),
            Self::BesideHot { hot } => {
                hasher.byte(1);
                hasher.wide(hot.as_u128());
            }
        }
    }
}

impl Feed for (TenantUid, Condition, &ActiveCondition) {
    fn feed(&self, hasher: &mut Hasher) {
        let (
            tenant,
            condition,
            ActiveCondition {
                node,
                incarnation,
                since,
                event,
            },
        ) = self;
        hasher.byte(CONDITION);
        hasher.wide(tenant.as_u128());
        hasher.text(condition.as_str());
        hasher.text(node.as_str());
        hasher.word(incarnation.get());
        hasher.word(since.0);
        hasher.word(event.get());
    }
}

impl Feed for (TenantUid, &MoveProposal) {
    fn feed(&self, hasher: &mut Hasher) {
        let (tenant, MoveProposal { node, cause, since }) = self;
        hasher.byte(MOVE);
        hasher.wide(tenant.as_u128());
        hasher.text(node.as_str());
        cause.feed(hasher);
        hasher.word(since.0);
    }
}

impl Feed for (&NodeId, Reachability) {
    fn feed(&self, hasher: &mut Hasher) {
        let (node, now) = self;
        hasher.byte(AVAILABILITY);
        hasher.text(node.as_str());
        hasher.byte(reachability(*now));
    }
}

impl Feed for RecordedMembers {
    fn feed(&self, hasher: &mut Hasher) {
        let Self { leader, term, members } = self;
        hasher.byte(MEMBERS);
        hasher.word(leader.get());
        hasher.word(*term);
        for (member, kind) in members {
            hasher.word(member.get());
            hasher.byte(member_kind(*kind));
        }
    }
}

impl Feed for Reactions {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            tier_changes,
            move_proposals,
            dedicated_nodes,
            quota_warnings,
        } = self;
        for switch in [tier_changes, move_proposals, dedicated_nodes, quota_warnings] {
            hasher.byte(u8::from(switch.is_on()));
        }
    }
}

impl Feed for EventFilter {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            kinds,
            tenants,
            labels,
            min_severity,
        } = self;
        hasher.word(kinds.len() as u64);
        kinds.iter().for_each(|kind| hasher.text(kind));
        hasher.word(tenants.len() as u64);
        tenants.iter().for_each(|name| hasher.text(name.as_str()));
        super::rows::feed_pairs(labels, hasher);
        hasher.option(min_severity.as_ref(), |hasher, severity| {
            hasher.byte(match severity {
                Severity::Info => 0,
                Severity::Warning => 1,
                Severity::Critical => 2,
            });
        });
    }
}

impl Feed for Webhook {
    fn feed(&self, hasher: &mut Hasher) {
        let Self {
            name,
            spec: WebhookSpec { url, filter, secrets },
            state,
            done,
            created_at,
            revision,
        } = self;
        hasher.byte(WEBHOOK);
        hasher.text(name.as_str());
        hasher.text(url);
        filter.feed(hasher);
        hasher.word(secrets.len() as u64);
        secrets.iter().for_each(|secret| hasher.bytes(secret.reveal()));
        match state {
            WebhookState::Delivering => hasher.byte(0),
            WebhookState::Failing { since, failure } => {
                hasher.byte(1);
                hasher.word(since.0);
                hasher.text(failure);
            }
            WebhookState::Disabled { since, by } => {
                hasher.byte(2);
                hasher.word(since.0);
                hasher.byte(disabled_by(*by));
            }
        }
        hasher.word(done.get());
        hasher.word(created_at.0);
        hasher.word(revision.get());
    }
}

impl Feed for (&WebhookName, &DeadLetter) {
    fn feed(&self, hasher: &mut Hasher) {
        let (
            name,
            DeadLetter {
                first,
                last,
                at,
                attempts,
                failure,
            },
        ) = self;
        hasher.byte(DEAD_LETTER);
        hasher.text(name.as_str());
        hasher.word(first.get());
        hasher.word(last.get());
        hasher.word(at.0);
        hasher.word(u64::from(*attempts));
        hasher.text(failure);
    }
}

const fn reachability(reachability: Reachability) -> u8 {
    match reachability {
        Reachability::Up => 1,
        Reachability::Suspect => 2,
        Reachability::Down => 3,
    }
}

const fn member_kind(kind: MemberKind) -> u8 {
    match kind {
        MemberKind::Voter => 1,
        MemberKind::Learner => 2,
    }
}

const fn disabled_by(by: DisabledBy) -> u8 {
    match by {
        DisabledBy::Operator => 1,
        DisabledBy::Receiver => 2,
    }
}
