//! Benchmarks of the real programs, as processes on loopback, against others on the same disk in the same run.
//!
//! Figures of two sides are taken in turn and compared as ratios, since other work on the machine changes all absolute
//! figures. Everything that is started here is ended here, by its process id, and its folder removed. This crate is never
//! shipped and nothing depends on it.
#![forbid(unsafe_code)]

pub mod control_plane;
pub mod data_plane;
pub mod events;
pub mod isolation;
mod latency;
mod load;
mod machine;
mod measured;
mod operation;
mod pip_program;
mod process;
pub mod quotas;
mod report;
mod subject;
mod suite;

/// The few messages of etcd's protocol.
mod etcd_proto {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the proto file carries the comments"
    )]
    tonic::include_proto!("etcdserverpb");
}
