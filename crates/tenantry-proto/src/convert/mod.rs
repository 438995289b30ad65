//! Between messages and domain types, one file per proto file.
//!
//! From the wire: `TryFrom`, with an error that names the field that was wrong. To the wire: `From`. Where a message needs
//! more than its domain type holds, there is a function instead. A field that is read by nobody is not checked.

mod condition;
pub mod digest;
mod event;
mod event_detail;
mod event_filter;
mod explained_quota;
mod field;
pub mod names;
mod node;
mod notification_service;
mod placement_service;
mod quota;
mod reaction;
pub mod tenant;
#[cfg(test)]
mod tests;
pub mod tier;
mod time;
pub mod update_mask;
mod usage;
pub mod webhook;

pub use condition::condition_from_wire;
pub use event::severity_from_wire;
pub use event_detail::{member_kind, reachability_from_wire, reachability_to_wire};
pub use event_filter::event_filter_from_wire;
pub use explained_quota::{explained_quota_to_proto, explained_weight_to_proto};
pub use field::{InvalidField, Within};
pub use node::{NodeView, etag, node_to_proto, node_view_to_proto, parse_etag, scheduling_from_wire};
pub use placement_service::{key_bytes, key_id};
pub use tenant::{stored_to_proto, tenant_to_proto};
pub use tier::{required_tier, tier_from_wire};
pub use time::{timestamp, unix_millis};
pub use update_mask::apply_update_mask;
pub use usage::usage_order_from_wire;
