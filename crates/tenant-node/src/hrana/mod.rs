//! Hrana over HTTP, versions 2 and 3, in JSON and protobuf: the protocol of the libSQL SDKs.
//!
//! [`HranaService`] answers pipelines and cursors. It reads the body (only here, and bounded), takes the stream that
//! the baton names, runs the request on a database thread and writes rows straight into the answer, in the encoding that the
//! path asks for. It must not decide who may call or how often: layers did that before.

mod answers;
mod arriving;
mod batch;
mod baton;
mod chunks;
mod cursor;
mod encoding;
mod incoming;
mod json;
mod large_bodies;
mod pipeline;
mod pipeline_answer;
mod problems;
mod protobuf;
mod receiving;
mod remembered;
mod request;
mod request_body;
mod run;
mod service;
mod slot;
mod stored_bytes;
mod stored_sql;
mod streams;

pub use baton::BatonKey;
pub use service::{HranaConfig, HranaService};
