//! Where a webhook is: a URL of which everything is known that can be known without a lookup.
//!
//! URLs are read by `http::Uri`, which also writes the request: with one parser, there are no two that could differ about the
//! host. It knows no international names and no numbers for IPv4 addresses other than the usual; both are refused here. What a
//! name resolves to is not judged here, since it can change until the request is sent. Nor is whether http will do: that
//! depends on the address, and is found when it is dialed.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use http::Uri;
use http::uri::PathAndQuery;
use rustls::pki_types::DnsName;

/// The longest URL, in bytes.
const MAX_URL_BYTES: usize = 2_048;
/// Pieces of a path or query from this length on may be secrets.
const MIN_SECRET_CHARS: usize = 8;

/// The URL of a webhook. `Display` and `Debug` show scheme, host and port alone, since the rest may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    encrypted: bool,
    host: Host,
    port: u16,
    path: PathAndQuery,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Name {
        /// In lower case, without the dot of the root.
        name: DnsName<'static>,
        /// Written with that dot: a lookup appends no search domain.
        rooted: bool,
    },
    Address(IpAddr),
}

/// Text that is no URL of a webhook. It does not repeat the text, which may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no URL of a webhook: {rule}")]
pub struct InvalidEndpoint {
    /// The rule that was broken.
    pub rule: &'static str,
}

impl Endpoint {
    /// The whole URL. Not for logs.
    #[must_use]
    pub fn exposed_url(&self) -> String {
        format!("{self}{}", self.path)
    }

    /// Whether the scheme is https. With http, a request goes to [allowed networks](crate::AddressPolicy::lists) alone.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The address, if the URL holds one in place of a name: it can be judged before any attempt.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name { .. } => None,
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// The value of the `host` header: without the root's dot, and without the port that goes without saying.
    pub(crate) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name { name, .. } => name.as_ref().to_owned(),
            Host::Address(address) => in_brackets(*address),
        };
        if self.port == default_port(self.encrypted) {
            return host;
        }
        format!("{host}:{}", self.port)
    }

    /// `text` without the pieces of path and query that may be secrets. Receivers like to repeat a URL that they do not know.
    /// What they encode otherwise stays.
    pub(crate) fn redact(&self, text: &str) -> String {
        let pieces = self.path.as_str().split(['/', '?', '&', '=', ';']);
        let mut secrets: Vec<_> = pieces
            .filter(|piece| piece.chars().count() >= MIN_SECRET_CHARS)
            .collect();
        // A piece can be part of another, which would not be found any more.
        secrets.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        secrets
            .into_iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

fn default_port(encrypted: bool) -> u16 {
    if encrypted { 443 } else { 80 }
}

fn in_brackets(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// Reads `https://HOST`, with a port, a path and a query if need be; or the same with `http`.
    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |rule| InvalidEndpoint { rule };
        if text.len() > MAX_URL_BYTES {
            return Err(invalid("at most 2,048 bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(
                "visible ASCII only; write other characters as %XX, and in the host as xn--",
            ));
        }
        // `Uri` would drop it without a word.
        if text.contains('#') {
            return Err(invalid("without a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| invalid("write https://host/path"))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("it begins with https://")),
        };
        let authority = uri.authority().ok_or(invalid("write https://host/path"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("without a user or password"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => default_port(encrypted),
            _ => authority
                .port_u16()
                .filter(|port| *port != 0)
                .ok_or(invalid("the port is 1 to 65535"))?,
        };
        let host = Host::read(authority.host()).ok_or(invalid(
            "the host is a DNS name, an IPv4 address as four decimal numbers, or an IPv6 address in brackets",
        ))?;
        let path = match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        };
        let path = path.try_into().map_err(|_| invalid("the path cannot be sent"))?;
        Ok(Self {
            encrypted,
            host,
            port,
            path,
        })
    }
}

impl Host {
    fn read(text: &str) -> Option<Self> {
        if let Some(v6) = text.strip_prefix('[') {
            let v6: Ipv6Addr = v6.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(v6.into()));
        }
        if let Ok(v4) = text.parse() {
            return Some(Self::Address(IpAddr::V4(v4)));
        }
        let (name, rooted) = match text.strip_suffix('.') {
            Some(name) if !name.ends_with('.') => (name, true),
            _ => (text, false),
        };
        // TLS verifies this very name. It does not end in a number, such as 127.1, 0x7f000001 or 2130706433, which the lookup
        // would take for an address.
        let name = DnsName::try_from(name.to_ascii_lowercase()).ok()?;
        Some(Self::Name { name, rooted })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.encrypted { "https://" } else { "http://" })?;
        match &self.host {
            Host::Name { name, rooted } => write!(f, "{}{}", name.as_ref(), if *rooted { "." } else { "" })?,
            Host::Address(address) => f.write_str(&in_brackets(*address))?,
        }
        if self.port == default_port(self.encrypted) {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}/…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Endpoint {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn urls_are_read_into_one_form() {
        for (text, url, authority) in [
            ("https://a.example", "https://a.example/", "a.example"),
            (
                "HTTPS://Hooks.Example:443/A?b=C",
                "https://hooks.example/A?b=C",
                "hooks.example",
            ),
            (
                "https://a.example:8443?b",
                "https://a.example:8443/?b",
                "a.example:8443",
            ),
            ("https://a.example:080/", "https://a.example:80/", "a.example:80"),
            ("http://a.example:80/", "http://a.example/", "a.example"),
            ("http://a.example:443/", "http://a.example:443/", "a.example:443"),
            ("https://a.example./x", "https://a.example./x", "a.example"),
            ("https://intranet/", "https://intranet/", "intranet"),
            (
                "https://my_host.example/",
                "https://my_host.example/",
                "my_host.example",
            ),
            (
                "https://xn--bcher-kva.example/",
                "https://xn--bcher-kva.example/",
                "xn--bcher-kva.example",
            ),
            ("https://127.0.0.1/", "https://127.0.0.1/", "127.0.0.1"),
            ("https://[0:0::1]:444/", "https://[::1]:444/", "[::1]:444"),
            (
                "https://a.example//x/../y?u=https://b@c",
                "https://a.example//x/../y?u=https://b@c",
                "a.example",
            ),
        ] {
            let endpoint = read(text);
            assert_eq!(endpoint.exposed_url(), url, "{text}");
            assert_eq!(endpoint.authority(), authority, "{text}");
            assert_eq!(read(url), endpoint);
        }
    }

    #[test]
    fn what_is_no_url_of_a_webhook_is_refused_and_not_repeated() {
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES));
        for bad in [
            "",
            "/",
            "*",
            "a.example",
            "a.example/path",
            "a.example:443",
            "//a.example/",
            "ftp://a.example/",
            "https:/a.example/",
            "https://",
            "https:///path",
            "https://?x",
            "https://:443/",
            "https://a.example:/",
            "https://a.example:0/",
            "https://a.example:65536/",
            "https://a.example:x/",
            "https://user@a.example/",
            "https://user:pass@a.example/",
            "https://@a.example/",
            "https://a.example/#part",
            "https://a.example#part",
            "https://a.example/ x",
            "https://a.example/\r\nx: y",
            "https://a.example\\@b.example/",
            "https://a.example\\.b.example/",
            "https://bücher.example/",
            "https://１２７.0.0.1/",
            "https://a.example/ä",
            "https://a..example/",
            "https://.a.example/",
            "https://a.example../",
            "https://./",
            "https://-a.example/",
            "https://a%2eexample/",
            "https://*.example/",
            "https://a,b.example/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://127.0.0.1./",
            "https://127.0.0.1.1/",
            "https://a.1/",
            "https://a.0x7f/",
            "https://256.0.0.1/",
            "https://[::1/",
            "https://::1/",
            "https://[127.0.0.1]/",
            "https://[fe80::1%25eth0]/",
            "https://[a.example]/",
            "https://[::1]x/",
            long.as_str(),
        ] {
            let error = bad.parse::<Endpoint>().expect_err(bad);
            assert!(!error.to_string().contains("a.example"), "{error}");
        }
    }

    #[test]
    fn logs_show_no_path_and_no_query() {
        let endpoint = read("https://hooks.example:8443/services/T0/SECRETSECRET?token=hush");
        assert_eq!(endpoint.to_string(), "https://hooks.example:8443");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(https://hooks.example:8443/…)");
    }

    #[test]
    fn what_a_receiver_repeats_of_a_url_is_left_out() {
        let endpoint = read("https://a.example/hook/SECRETSECRET/SECRETSECRETSECRET?key=hushhushhush&b=1");
        assert_eq!(
            endpoint.redact("no SECRETSECRET, SECRETSECRETSECRET or hushhushhush in /hook?b=1"),
            "no …, … or … in /hook?b=1"
        );
        assert_eq!(read("https://a.example").redact("nothing here"), "nothing here");
    }

    #[test]
    fn addresses_are_told_from_names() {
        assert_eq!(read("https://[::1]/").address(), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(read("https://localhost/").address(), None);
        assert!(read("https://a.example").is_encrypted() && !read("http://a.example").is_encrypted());
    }
}
