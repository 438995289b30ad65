//! The Hrana service over real database files, driven by requests without sockets.

mod differential;
mod harness;
mod hostile;
mod lifecycle;
mod quotas;
mod requests;
mod transactions;
