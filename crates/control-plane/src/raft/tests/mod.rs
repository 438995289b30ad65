//! Whole members against each other: in a message bag with faults as verbs, and over real loopback connections.

mod bag;
mod bag_cluster;
mod driver;
mod key_values;
mod loopback;
mod membership;
mod membership_rules;
mod snapshot_transfer;
