//! The Hrana service over real database files, driven by requests without sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    unreachable_pub,
    reason = "a test that cannot go on says so by panicking, in its helpers too"
)]
mod bounds;
mod cursor;
mod differential;
mod grouped_writes;
mod harness;
mod hostile;
mod large_pipelines;
mod lifecycle;
mod limit_fields;
mod node;
mod overload;
mod power_loss;
mod protobuf;
mod protobuf_messages;
mod quarantine;
mod quotas;
mod requests;
mod sockets;
mod stack;
mod stateless;
mod stored_texts;
mod transactions;
mod v1;
