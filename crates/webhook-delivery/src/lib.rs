//! Sends one signed request to one webhook, safely, and says what came of it.
//!
//! [`Client::attempt`] is one request, from the lookup of the name to the [`Outcome`]; [`Schedule`] says when the next one is
//! due. Requests are signed after the [Standard Webhooks](https://www.standardwebhooks.com) specification. This crate must
//! not know what the messages are about, keep anything between two attempts, or wait between them: that is the caller's.
#![forbid(unsafe_code)]

mod address;
mod answer;
mod attempt;
mod connect;
mod endpoint;
mod excerpt;
mod message;
mod network;
mod outcome;
mod resolve;
mod schedule;
mod signature;
mod tls;

pub use address::{AddressPolicy, Forbidden};
pub use attempt::{Client, ClientOptions};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use message::{InvalidMessage, Message};
pub use network::{InvalidNetwork, Network};
pub use outcome::{Failure, Outcome};
pub use schedule::{Next, Schedule};
pub use signature::{InvalidSecret, Secret, sign, sign_all, verify};
pub use tls::InvalidRoots;
