//! What is printed of events and of what follows from them.

use serde::Serialize;
use serde_json::Value;
use tenantry_proto::event_json;
use tenantry_proto::v1::{self, event_detail::Kind, event_origin::Origin};

use super::table::{fields, given, or_none, render};
use super::units::{NONE, bytes, count};
use super::{protocol_names as word, units};
use crate::resource_name::short;

/// A line of `events watch`, or an entry of `events list`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum EventLine {
    /// In the form that webhooks are sent.
    Event(Value),
    /// Events before `oldest_sequence` are no longer kept.
    Gap { oldest_sequence: u64 },
}

impl EventLine {
    pub(crate) fn event(event: &v1::Event) -> Self {
        Self::Event(event_json::event(event))
    }

    pub(crate) const fn gap(oldest_sequence: u64) -> Self {
        Self::Gap { oldest_sequence }
    }
}

/// An event on a line, in columns of fixed width since the next ones are not known yet.
pub(crate) fn event_line(event: &v1::Event) -> String {
    let detail = event.detail.as_ref().and_then(|detail| detail.kind.as_ref());
    let detail = detail.map_or_else(String::new, detail_of);
    let line = format!(
        "{:<24}  {:>6}  {:<8}  {:<21}  {:<20}  {}",
        or_none(units::time(event.occur_time.as_ref())),
        event.sequence,
        or_none(word::severity(event.severity)),
        event.kind,
        given(&event.tenant),
        match event.origin.as_ref().and_then(|origin| origin.origin.as_ref()) {
            // Of a node itself: which one.
            Some(Origin::Node(node)) if event.tenant.is_empty() => format!("{}: {detail}", short(&node.node)),
            _ => detail,
        },
    );
    line.replace(char::is_control, " ").trim_end().to_owned()
}

fn detail_of(kind: &Kind) -> String {
    match kind {
        Kind::HotspotRaised(hotspot) => score(hotspot.score, hotspot.terms.as_ref()),
        Kind::HotspotCleared(cleared) => ended(cleared.end, || score(cleared.score, cleared.terms.as_ref())),
        Kind::SpikeRaised(raised) => spike(raised.figures.as_ref()),
        Kind::SpikeCleared(cleared) => ended(cleared.end, || spike(cleared.figures.as_ref())),
        Kind::NodeExceededRaised(raised) => node_share(raised.figures.as_ref()),
        Kind::NodeExceededCleared(cleared) => ended(cleared.end, || node_share(cleared.figures.as_ref())),
        Kind::ClassChanged(change) => format!(
            "{} (database {}, {} requests in 24 h)",
            tiers(change.from, change.to),
            bytes(change.database_bytes),
            count(change.requests_last_day)
        ),
        Kind::TierChanged(change) => tiers(change.from, change.to),
        Kind::QuotaCrossed(crossing) => {
            let figure = |value| match crossing.quota() {
                v1::QuotaKind::Database => bytes(value),
                _ => count(value),
            };
            format!(
                "{} at {} %: {} of {}",
                or_none(word::quota_kind(crossing.quota)),
                crossing.percent,
                figure(crossing.used),
                figure(crossing.limit)
            )
        }
        Kind::MoveProposed(proposed) => match proposed.hot_tenant_uid.as_str() {
            "" => format!("off {}: it is hot", short(&proposed.node)),
            uid => format!("off {}: tenant {uid} beside it is hot", short(&proposed.node)),
        },
        Kind::MoveWithdrawn(withdrawn) => format!("off {}", short(&withdrawn.node)),
        Kind::DedicatedNodeWanted(wanted) => {
            format!("shares {} with {}", short(&wanted.node), count(wanted.neighbours))
        }
        Kind::NodeRegistered(node) => format!("incarnation {}", node.incarnation),
        Kind::NodeAvailabilityChanged(change) => {
            let from = or_none(word::availability(change.from));
            format!("{} was {from}", short(&change.node))
        }
        Kind::NodeSchedulingChanged(change) => short(&change.node).to_owned(),
        Kind::EventsDropped(dropped) => format!("{} events", count(dropped.count)),
        Kind::ConfigRefused(refused) => format!("{} records, such as {}", count(refused.records), refused.example),
        Kind::ConfigAccepted(v1::ConfigAccepted {}) => String::new(),
        Kind::TokensRevoked(revoked) => format!("tokens before generation {}", revoked.generation),
        Kind::TokenKeyAdded(added) => {
            let signs_from = or_none(units::time(added.sign_time.as_ref()));
            format!("{} signs from {signs_from}", added.key_id)
        }
        Kind::TokenKeyRetired(retired) => retired.key_id.clone(),
        Kind::LeaderChanged(change) => match change.from_member_id {
            0 => format!("member {} in term {}", change.to_member_id, change.term),
            from => format!("member {from} -> {} in term {}", change.to_member_id, change.term),
        },
        Kind::MemberChanged(change) => {
            let (from, to) = (word::member_kind(change.from), word::member_kind(change.to));
            format!("member {}: {} -> {}", change.member_id, or_none(from), or_none(to))
        }
        Kind::MemberRemoved(removed) => format!("member {}", removed.member_id),
        Kind::ClusterRestored(restored) => format!("epoch {}", restored.cluster_epoch),
        Kind::WebhookFailing(failing) => format!("{}: {}", short(&failing.webhook), failing.failure),
        Kind::WebhookRecovered(recovered) => short(&recovered.webhook).to_owned(),
        Kind::WebhookDisabled(disabled) => {
            let by = or_none(word::disabled_by(disabled.by));
            format!("{} by its {by}", short(&disabled.webhook))
        }
        Kind::WebhookGaveUp(gave_up) => format!(
            "{}: {}",
            short(&gave_up.webhook),
            sequences(gave_up.first_sequence, gave_up.last_sequence)
        ),
    }
}

fn score(score: f64, terms: Option<&v1::ScoreTerms>) -> String {
    let terms = terms.copied().unwrap_or_default();
    format!(
        "score {score:.2} (database {:.2}, requests {:.2}, CPU {:.2}, memory {:.2})",
        terms.database, terms.requests, terms.cpu, terms.memory
    )
}

fn spike(figures: Option<&v1::SpikeFigures>) -> String {
    let figures = figures.copied().unwrap_or_default();
    format!(
        "{} requests/min, usually {:.0}",
        count(figures.requests_per_minute),
        figures.norm_per_minute
    )
}

fn node_share(figures: Option<&v1::NodeShare>) -> String {
    let figures = figures.copied().unwrap_or_default();
    format!("{}m of the node's {}m", figures.cpu_millicores, figures.node_millicores)
}

fn ended(end: i32, figures: impl FnOnce() -> String) -> String {
    word::condition_end(end).map_or_else(figures, str::to_owned)
}

fn tiers(from: i32, to: i32) -> String {
    format!("{} -> {}", or_none(word::tier(from)), or_none(word::tier(to)))
}

/// One event, or several in a row.
pub(super) fn sequences(first: u64, last: u64) -> String {
    if first == last {
        format!("event {first}")
    } else {
        format!("events {first} to {last}")
    }
}

/// What is raised, and the moves that are proposed because of it.
#[derive(Debug, Serialize)]
pub(crate) struct Conditions {
    conditions: Vec<Condition>,
    move_proposals: Vec<Proposal>,
}

#[derive(Debug, Serialize)]
struct Condition {
    tenant: String,
    tenant_uid: String,
    condition: Option<&'static str>,
    node: String,
    since_time: Option<String>,
    event_sequence: u64,
}

#[derive(Debug, Serialize)]
struct Proposal {
    tenant: String,
    tenant_uid: String,
    node: String,
    hot_tenant_uid: Option<String>,
    since_time: Option<String>,
}

impl From<&v1::ListConditionsResponse> for Conditions {
    fn from(answer: &v1::ListConditionsResponse) -> Self {
        let condition = |active: &v1::ActiveCondition| Condition {
            tenant: short(&active.tenant).to_owned(),
            tenant_uid: active.tenant_uid.clone(),
            condition: word::condition_kind(active.kind),
            node: short(&active.node).to_owned(),
            since_time: units::time(active.since_time.as_ref()),
            event_sequence: active.event_sequence,
        };
        let proposal = |proposal: &v1::MoveProposal| Proposal {
            tenant: short(&proposal.tenant).to_owned(),
            tenant_uid: proposal.tenant_uid.clone(),
            node: short(&proposal.node).to_owned(),
            hot_tenant_uid: Some(proposal.hot_tenant_uid.clone()).filter(|uid| !uid.is_empty()),
            since_time: units::time(proposal.since_time.as_ref()),
        };
        Self {
            conditions: answer.conditions.iter().map(condition).collect(),
            move_proposals: answer.move_proposals.iter().map(proposal).collect(),
        }
    }
}

impl Conditions {
    pub(crate) fn to_table(&self) -> String {
        let since = |time: &Option<String>| time.clone().unwrap_or_else(|| NONE.to_owned());
        let conditions = self.conditions.iter().map(|active| {
            vec![
                active.tenant.clone(),
                or_none(active.condition),
                active.node.clone(),
                since(&active.since_time),
            ]
        });
        let mut text = render(&["TENANT", "CONDITION", "NODE", "SINCE"], conditions);
        if !self.move_proposals.is_empty() {
            let proposals = self.move_proposals.iter().map(|proposal| {
                let cause = match &proposal.hot_tenant_uid {
                    None => "hot".to_owned(),
                    Some(uid) => format!("beside {uid}"),
                };
                vec![
                    proposal.tenant.clone(),
                    cause,
                    proposal.node.clone(),
                    since(&proposal.since_time),
                ]
            });
            text += "\n";
            text += &render(&["SHOULD MOVE", "CAUSE", "OFF NODE", "SINCE"], proposals);
        }
        text
    }
}

/// What the control plane does by itself.
#[derive(Debug, Serialize)]
pub(crate) struct Reactions {
    tier_changes: bool,
    move_proposals: bool,
    dedicated_nodes: bool,
    quota_warnings: bool,
}

impl From<&v1::Reactions> for Reactions {
    fn from(reactions: &v1::Reactions) -> Self {
        Self {
            tier_changes: !reactions.tier_changes_off,
            move_proposals: !reactions.move_proposals_off,
            dedicated_nodes: !reactions.dedicated_nodes_off,
            quota_warnings: !reactions.quota_warnings_off,
        }
    }
}

impl Reactions {
    pub(crate) fn to_table(&self) -> String {
        let word = |on: bool| if on { "on" } else { "off" }.to_owned();
        fields([
            ("tier changes", word(self.tier_changes)),
            ("move proposals", word(self.move_proposals)),
            ("dedicated nodes", word(self.dedicated_nodes)),
            ("quota warnings", word(self.quota_warnings)),
        ])
    }
}
