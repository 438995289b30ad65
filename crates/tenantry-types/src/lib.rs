//! The words of Tenantry as types: ids, quotas, tiers, tenants, nodes, events.
//!
//! A value of these types is valid once constructed, so the rest of the code never re-checks it.
//! This crate must not know serialization, the network, clocks or async: those live at the edges.
#![forbid(unsafe_code)]

mod byte_size;
mod condition;
mod event;
mod explained_quota;
mod ids;
mod name;
mod node;
mod quota;
mod reaction;
mod route;
mod tenant;
mod tier;
mod time;
mod usage;
mod webhook;

pub use byte_size::{ByteSize, InvalidByteSize};
pub use condition::{ActiveCondition, Cleared, Condition, ConditionFigures, EndReason, HotspotScore, ScoreTerms};
pub use event::{
    Event, EventDetail, EventOrigin, MemberKind, QuotaKind, Reachability, ReportedEvent, Reporter, Severity,
};
pub use explained_quota::{ExplainedLimit, ExplainedQuota};
pub use ids::{
    ClusterEpoch, ClusterUid, Epoch, EventSequence, Incarnation, InvalidId, MemberId, ReportSequence, RequestId,
    Revision, TenantUid, TokenGeneration,
};
pub use name::{DomainName, InvalidName, Labels, NodeId, TenantName, WebhookName};
pub use node::{Availability, Node, NodeCapacity, NodeEndpoints, NodeLoad, NodeSpec, Scheduling};
pub use quota::{Burst, EffectiveQuota, InvalidQuota, QuotaOverrides};
pub use reaction::{MoveCause, MoveProposal, Reactions, Switch};
pub use route::{NodeRoute, TenantRoute, TokenKey};
pub use tenant::{Durability, Placement, Tenant, TenantSpec, TenantState};
pub use tier::{InvalidTier, Tier, TierDefinition, TierPolicy};
pub use time::UnixMillis;
pub use usage::{GrowthRate, TenantUsage, UsageOrder};
pub use webhook::{
    DeadLetter, DisabledBy, EventFilter, InvalidWebhookSecret, Webhook, WebhookSecret, WebhookSpec, WebhookState,
};
