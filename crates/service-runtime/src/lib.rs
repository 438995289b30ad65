//! What every daemon does at start and stop: read options, log, lock its data folder, answer probes, stop in time.
//!
//! A daemon's `main` reads top to bottom: [`config::load`], [`telemetry::init`], [`data_dir::DataDir::open`], a
//! [`readiness::Readiness`] with its latches, [`ops::serve`], the daemon's own tasks in a [`shutdown::TaskGroup`], and
//! [`shutdown::cancel_on_signals`]. This crate must not know tenants, consensus or any service of the two daemons.
#![forbid(unsafe_code)]

pub mod config;
pub mod data_dir;
pub mod disk;
pub mod dry_run;
pub mod exit;
pub mod health;
pub mod ops;
pub mod option_pages;
pub mod options;
pub mod readiness;
pub mod security;
pub mod shutdown;
pub mod systemd;
pub mod telemetry;
