//! Delivers events to webhooks: from the leader alone, to each webhook one message at a time in the order of the log, each
//! at least once. How one request is made safely is the crate `webhook-delivery`'s.
//!
//! How far each webhook has come is in the replicated state, so that the next leader goes on there. Must not decide which
//! webhooks there are: that is the operators', by `services/webhooks.rs`.

mod courier;
#[cfg(test)]
mod courier_tests;
mod deliverer;
mod payload;
mod secret;
#[cfg(test)]
mod test_receiver;

pub use deliverer::{Deliverer, DeliveryOptions};
pub use secret::{check_url, new_secret, parse_secret, show_secret};
