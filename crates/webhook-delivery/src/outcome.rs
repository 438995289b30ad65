//! What came of an attempt, and which failures last until someone changes something.
//!
//! Texts here are for operators. They must hold no secret of ours, and what a receiver said is printable and short.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::Forbidden;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has taken the message.
    Delivered {
        /// Its status, 200 to 299.
        status: u16,
        /// From the lookup to the answer's head.
        took: Duration,
    },
    /// The receiver has not, as far as is known. It may have all the same, if its answer was lost.
    Failed {
        /// Why.
        reason: Failure,
        /// How long the receiver asked to be left alone; at most an hour.
        retry_after: Option<Duration>,
    },
    /// The endpoint answered 410: it wants no more messages, this one or others.
    Gone,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The lookup gave no address.
    #[error("the name was not resolved: {text}")]
    NameNotResolved {
        /// What the resolver said.
        text: String,
    },
    /// No address of the host may be sent to; this is the first.
    #[error(transparent)]
    AddressForbidden(#[from] Forbidden),
    /// The URL begins with http, and no address of the host is in a network where that is allowed; this is the first.
    #[error("http is for allowed networks alone, and {address} is in none; use https")]
    Unencrypted {
        /// The address.
        address: IpAddr,
    },
    /// No address took a connection; this is the last one tried.
    #[error("{address} took no connection: {text}")]
    ConnectFailed {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        text: String,
    },
    /// No connection, or no end of the TLS handshake, in time.
    #[error("no connection within {limit:?}")]
    ConnectTimedOut {
        /// The time that there was.
        limit: Duration,
    },
    /// The TLS handshake failed: the certificate is not for this host or not by a trusted authority, or there is no common
    /// version.
    #[error("TLS failed: {text}")]
    Tls {
        /// What was wrong.
        text: String,
    },
    /// Connected, and no head of an answer in time.
    #[error("no answer within {limit:?}")]
    NoAnswer {
        /// The time of the whole attempt.
        limit: Duration,
    },
    /// The connection ended before the head of an answer was there.
    #[error("the connection broke off: {text}")]
    BrokenOff {
        /// How.
        text: String,
    },
    /// What the receiver sent is no answer of HTTP/1.1, or has no end.
    #[error("the answer is not HTTP/1.1: {text}")]
    NotHttp {
        /// What was wrong.
        text: String,
    },
    /// Status 300 to 399. Redirects are never followed.
    #[error("redirected with {status} to {location:?}, which is not followed")]
    Redirected {
        /// The status.
        status: u16,
        /// Where to, without the query, shortened; empty if that was not said.
        location: String,
    },
    /// Status 429.
    #[error("too many requests: {excerpt:?}")]
    TooManyRequests {
        /// The beginning of the body.
        excerpt: String,
    },
    /// Another status from 400 to 499.
    #[error("refused with {status}: {excerpt:?}")]
    Refused {
        /// The status.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
    /// Status 500 to 599.
    #[error("the receiver failed with {status}: {excerpt:?}")]
    ServerFailed {
        /// The status.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
}

impl Failure {
    /// Whether the next attempt will most likely fail alike until someone changes the receiver, its DNS or our settings.
    ///
    /// Both kinds are worth retrying: hours are enough for someone to come and mend it. How often is the caller's to say.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::AddressForbidden(_)
            | Self::Unencrypted { .. }
            | Self::Tls { .. }
            | Self::NotHttp { .. }
            | Self::Redirected { .. } => true,
            // Timeout, conflict and too early: the receiver itself takes them for passing.
            Self::Refused { status, .. } => !matches!(status, 408 | 409 | 425),
            Self::NameNotResolved { .. }
            | Self::ConnectFailed { .. }
            | Self::ConnectTimedOut { .. }
            | Self::NoAnswer { .. }
            | Self::BrokenOff { .. }
            | Self::TooManyRequests { .. }
            | Self::ServerFailed { .. } => false,
        }
    }

    /// The kind as a short word that stays the same, for metrics and programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NameNotResolved { .. } => "name-not-resolved",
            Self::AddressForbidden(_) => "address-forbidden",
            Self::Unencrypted { .. } => "unencrypted",
            Self::ConnectFailed { .. } => "connect-failed",
            Self::ConnectTimedOut { .. } => "connect-timed-out",
            Self::Tls { .. } => "tls",
            Self::NoAnswer { .. } => "no-answer",
            Self::BrokenOff { .. } => "broken-off",
            Self::NotHttp { .. } => "not-http",
            Self::Redirected { .. } => "redirected",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::Refused { .. } => "refused",
            Self::ServerFailed { .. } => "server-failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_lasts_unless_the_receiver_takes_it_for_passing() {
        for (status, lasting) in [
            (400, true),
            (401, true),
            (404, true),
            (408, false),
            (409, false),
            (425, false),
        ] {
            let refused = Failure::Refused {
                status,
                excerpt: String::new(),
            };
            assert_eq!(refused.is_lasting(), lasting, "{status}");
        }
    }
}
