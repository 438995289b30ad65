//! Addresses of control-plane members, as people and members write them.

use std::fmt;
use std::str::FromStr;

use tonic::transport::Uri;

/// Where a member takes gRPC: `host:port`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(Box<str>);

/// Text that is no member's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address: {rule}")]
pub struct InvalidEndpoint {
    /// What was given, shortened.
    pub text: String,
    /// The rule that was broken.
    pub rule: &'static str,
}

impl Endpoint {
    /// Reads addresses separated by commas; blanks around them are allowed.
    ///
    /// # Errors
    /// Names the first one that is malformed; an empty item is.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidEndpoint> {
        text.split(',').map(str::parse).collect()
    }

    /// The address as `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it leads to this machine alone.
    #[must_use]
    pub fn is_on_loopback(&self) -> bool {
        let uri = self.uri();
        let host = uri.host().unwrap_or_default();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>();
        address.map_or(host == "localhost" || host.ends_with(".localhost"), |address| {
            address.is_loopback()
        })
    }

    #[expect(clippy::expect_used, reason = "`from_str` parsed this very text as a URI")]
    pub(crate) fn uri(&self) -> Uri {
        format!("http://{}/", self.0).parse().expect("a checked address")
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// Reads `host:port` or `http://host:port`.
    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |rule| InvalidEndpoint {
            text: text.chars().take(80).collect(),
            rule,
        };
        let address = text.trim().to_ascii_lowercase();
        if address.starts_with("https://") {
            return Err(invalid("only http is supported, write host:port"));
        }
        let address = address.strip_prefix("http://").unwrap_or(&address);
        let address = address.strip_suffix('/').unwrap_or(address);
        let shape = "write host:port, such as 127.0.0.1:7401";
        if address.contains(['/', '@', '?', '#']) {
            return Err(invalid(shape));
        }
        let uri: Uri = format!("http://{address}/").parse().map_err(|_| invalid(shape))?;
        let host = uri.host().unwrap_or_default();
        match uri.port_u16() {
            Some(port) if port != 0 && !host.is_empty() => Ok(Self(address.into())),
            _ => Err(invalid(shape)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        let cases = [
            ("127.0.0.1:7401", "127.0.0.1:7401"),
            ("http://Control-0.example:7401/", "control-0.example:7401"),
            (" [::1]:7401 ", "[::1]:7401"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Endpoint>().unwrap().as_str(), expected);
        }
    }

    #[test]
    fn loopback_is_told_from_other_places() {
        for (text, expected) in [
            ("127.0.0.1:7401", true),
            ("127.9.9.9:7401", true),
            ("[::1]:7401", true),
            ("localhost:7401", true),
            ("10.0.0.1:7401", false),
            ("[::]:7401", false),
            ("control-plane-1:7401", false),
            ("localhost.example.com:7401", false),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().is_on_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused_by_name() {
        for bad in [
            "",
            "localhost",
            "localhost:",
            ":7401",
            "localhost:0",
            "localhost:99999",
            "https://localhost:7401",
            "http://localhost:7401/path",
            "user@localhost:7401",
            "http://",
            "a b:1",
            "ä:1",
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
    }

    #[test]
    fn a_list_is_separated_by_commas_and_has_no_holes() {
        assert_eq!(Endpoint::parse_list("a:1, b:2").unwrap().len(), 2);
        assert!(Endpoint::parse_list("a:1,,b:2").is_err());
        assert!(Endpoint::parse_list("a:1,").is_err());
    }
}
