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

/// What was given, or the default that the options were filled with.
///
/// # Errors
/// When there is neither.
pub fn required<T>(option: &'static str, value: Option<T>) -> Result<T, InvalidOption> {
    value.ok_or_else(|| InvalidOption::missing(option))
}

/// A number of at least 1.
///
/// # Errors
/// For zero, and for none.
pub fn positive<N: Default + PartialEq>(option: &'static str, value: Option<N>) -> Result<N, InvalidOption> {
    let value = required(option, value)?;
    if value == N::default() {
        return Err(InvalidOption::new(option, "must be at least 1"));
    }
    Ok(value)
}

/// A time of at least 1 ms, given in milliseconds.
///
/// # Errors
/// For zero, and for none.
pub fn millis(option: &'static str, value: Option<u64>) -> Result<Duration, InvalidOption> {
    positive(option, value).map(Duration::from_millis)
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
    fn zero_and_nothing_are_refused_by_name() {
        assert_eq!(
            positive("n", Some(0_u64)).unwrap_err().to_string(),
            "n: must be at least 1"
        );
        assert_eq!(
            positive::<usize>("n", None).unwrap_err().to_string(),
            "n: must be given, by flag, environment or file"
        );
        assert_eq!(millis("t", Some(20)).unwrap(), Duration::from_millis(20));
    }

    #[test]
    fn an_address_that_others_could_reach_is_named() {
        let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1);
        assert!(all_on_loopback(&[("listen", loopback(1))]).is_ok());
        let refused = all_on_loopback(&[("listen", loopback(1)), ("ops-listen", everywhere)]);
        assert_eq!(refused.unwrap_err().option, "ops-listen");
    }
}
