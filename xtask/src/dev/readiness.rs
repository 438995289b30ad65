//! Whether a daemon is ready, as its ops port says.

use std::net::SocketAddr;

use super::http;

/// What a daemon's `/readyz` says.
pub(crate) enum Readiness {
    Ready,
    /// With the reason.
    NotYet(String),
}

pub(crate) fn readiness(ops: SocketAddr) -> Readiness {
    match http::get(ops, "/readyz") {
        Ok(answer) if answer.status == 200 => Readiness::Ready,
        Ok(answer) => Readiness::NotYet(answer.body.trim().replace('\n', ", ")),
        Err(error) => Readiness::NotYet(format!("no answer at http://{ops}/readyz ({error})")),
    }
}
