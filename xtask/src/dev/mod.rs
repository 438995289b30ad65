//! The development cluster of `up`, `down` and `status`: what it consists of, and how its processes are kept.

pub(crate) mod binaries;
pub(crate) mod cluster;
pub(crate) mod demo;
pub(crate) mod http;
pub(crate) mod interrupt;
pub(crate) mod preflight;
pub(crate) mod process;
pub(crate) mod readiness;
pub(crate) mod state_file;
