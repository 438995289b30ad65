//! Hrana over HTTP, versions 2 and 3 with JSON: the protocol of the libSQL SDKs.
//!
//! [`HranaService`] answers version probes and pipelines. It reads the body (only here, and bounded), takes the stream that
//! the baton names, runs the pipeline on a database thread and writes rows straight into the answer. It must not decide who
//! may call or how often: layers did that before.

mod batch;
mod baton;
mod json;
mod pipeline;
mod problems;
mod request;
mod service;
mod streams;

pub use service::{HranaConfig, HranaService};
