//! Checks that both daemons' options share. Each names the option that cannot be used, and why.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// An option that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct InvalidOption {
    /// The flag, without dashes.
    pub option: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidOption {
    /// `option` cannot be used for `reason`.
    #[must_use]
    pub fn new(option: &'static str, reason: impl Into<String>) -> Self {
        Self {
            option,
            reason: reason.into(),
        }
    }

    /// `option` has no default and was not given.
    #[must_use]
    pub fn missing(option: &'static str) -> Self {
        Self::new(option, "must be given, by flag, environment or file")
    }
}

/// A number of at least 1.
///
/// # Errors
/// For zero.
pub fn positive(option: &'static str, value: Option<u64>, default: u64) -> Result<u64, InvalidOption> {
    match value {
        Some(0) => Err(InvalidOption::new(option, "must be at least 1")),
        value => Ok(value.unwrap_or(default)),
    }
}

/// A time of at least 1 ms, given in milliseconds.
///
/// # Errors
/// For zero.
pub fn millis(option: &'static str, value: Option<u64>, default: u64) -> Result<Duration, InvalidOption> {
    positive(option, value, default).map(Duration::from_millis)
}

/// `port` on this machine alone.
#[must_use]
pub const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Refuses addresses that other machines could reach, for a daemon that speaks plain text and asks nobody who they are.
///
/// # Errors
/// Names the first such option.
pub fn all_on_loopback(addresses: &[(&'static str, SocketAddr)]) -> Result<(), InvalidOption> {
    match addresses.iter().find(|(_, address)| !address.ip().is_loopback()) {
        None => Ok(()),
        Some((option, address)) => Err(InvalidOption::new(
            option,
            format!("{address} is not on loopback, as insecure-dev demands"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_refused_by_name_and_an_absent_value_has_its_default() {
        assert_eq!(positive("n", Some(0), 7).unwrap_err().option, "n");
        assert_eq!(positive("n", None, 7).unwrap(), 7);
        assert_eq!(millis("t", Some(20), 7).unwrap(), Duration::from_millis(20));
    }

    #[test]
    fn an_address_that_others_could_reach_is_named() {
        let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1);
        assert!(all_on_loopback(&[("listen", loopback(1))]).is_ok());
        let refused = all_on_loopback(&[("listen", loopback(1)), ("ops-listen", everywhere)]);
        assert_eq!(refused.unwrap_err().option, "ops-listen");
    }
}
