//! Which addresses a request may be sent to. Against server-side request forgery: whoever can set a webhook must not reach
//! through us what only we can reach.
//!
//! Judged are addresses, after the lookup of a name. A name tells nothing, and must not be judged here.

use std::net::{IpAddr, Ipv6Addr};

use crate::Network;

/// Globally reachable unicast addresses, and what the operator allows besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Every address in these may be sent to, also unencrypted.
    pub allowed: Vec<Network>,
}

/// An address that no request may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is forbidden: {kind}")]
pub struct Forbidden {
    /// The address.
    pub address: IpAddr,
    /// What kind of address it is.
    pub kind: &'static str,
}

impl AddressPolicy {
    /// Whether a request may be sent to `address`.
    ///
    /// # Errors
    /// The address is neither globally reachable unicast nor in an allowed network.
    pub fn judge(&self, address: IpAddr) -> Result<(), Forbidden> {
        match forbidden_kind(address.to_canonical()) {
            Some(kind) if !self.lists(address) => Err(Forbidden { address, kind }),
            _ => Ok(()),
        }
    }

    /// Whether the operator has allowed a network that `address` is in. Only there unencrypted requests may go.
    #[must_use]
    pub fn lists(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(address))
    }
}

const TRANSLATED: &str = "a network that translates from IPv4";
const DOCUMENTATION: &str = "documentation";
const PRIVATE: &str = "private";
const LINK_LOCAL: &str = "link-local";

/// IANA's registry of special IPv4 addresses, as far as they are not globally reachable; multicast, and one more.
const FORBIDDEN_V4: &[(Network, &str)] = &[
    (Network::v4([0, 0, 0, 0], 8), "this host"),
    (Network::v4([10, 0, 0, 0], 8), PRIVATE),
    (Network::v4([100, 64, 0, 0], 10), "shared behind a provider's NAT"),
    (Network::v4([127, 0, 0, 0], 8), "loopback"),
    // A host inside Azure that tells a machine its settings, at an address that looks public.
    (Network::v4([168, 63, 129, 16], 32), "a cloud's metadata"),
    (Network::v4([169, 254, 0, 0], 16), LINK_LOCAL),
    (Network::v4([172, 16, 0, 0], 12), PRIVATE),
    (Network::v4([192, 0, 0, 0], 24), "protocol assignments"),
    (Network::v4([192, 0, 2, 0], 24), DOCUMENTATION),
    (Network::v4([192, 88, 99, 0], 24), "relays of 6to4"),
    (Network::v4([192, 168, 0, 0], 16), PRIVATE),
    (Network::v4([198, 18, 0, 0], 15), "benchmarks"),
    (Network::v4([198, 51, 100, 0], 24), DOCUMENTATION),
    (Network::v4([203, 0, 113, 0], 24), DOCUMENTATION),
    (Network::v4([224, 0, 0, 0], 4), "multicast"),
    (Network::v4([255, 255, 255, 255], 32), "broadcast"),
    (Network::v4([240, 0, 0, 0], 4), "reserved"),
];

/// What IPv6 addresses are called that are not globally reachable unicast. The last five lie in `GLOBAL_V6`.
const FORBIDDEN_V6: &[(Network, &str)] = &[
    (Network::v6([0, 0, 0], 96), "IPv4 in IPv6"),
    (Network::v6([0x64, 0xff9b, 1], 48), TRANSLATED),
    (Network::v6([0x100, 0, 0], 64), "discarded"),
    (Network::v6([0x5f00, 0, 0], 16), "segment routing"),
    (Network::v6([0xfc00, 0, 0], 7), PRIVATE),
    (Network::v6([0xfe80, 0, 0], 10), LINK_LOCAL),
    (Network::v6([0xfec0, 0, 0], 10), "site-local"),
    (Network::v6([0xff00, 0, 0], 8), "multicast"),
    (Network::v6([0x2001, 0, 0], 32), "Teredo, which carries an IPv4 address"),
    (Network::v6([0x2001, 0, 0], 23), "protocol assignments"),
    (Network::v6([0x2001, 0xdb8, 0], 32), DOCUMENTATION),
    (Network::v6([0x3fff, 0, 0], 20), DOCUMENTATION),
    (Network::v6([0x2002, 0, 0], 16), "6to4, which carries an IPv4 address"),
];

/// All that is handed out for unicast so far.
const GLOBAL_V6: Network = Network::v6([0x2000, 0, 0], 3);
/// By these, hosts without IPv4 reach all of IPv4, so what counts is the address at the end.
const NAT64: Network = Network::v6([0x64, 0xff9b, 0], 96);

/// Why `address` is not globally reachable unicast; nothing if it is. `address` is no IPv4 address mapped into IPv6.
fn forbidden_kind(address: IpAddr) -> Option<&'static str> {
    let named = |table: &'static [(Network, &'static str)]| {
        let entry = table.iter().find(|(network, _)| network.contains(address));
        entry.map(|(_, kind)| *kind)
    };
    match address {
        IpAddr::V4(_) => named(FORBIDDEN_V4),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some("unspecified"),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some("loopback"),
        IpAddr::V6(v6) if NAT64.contains(address) => {
            let [.., a, b, c, d] = v6.octets();
            forbidden_kind([a, b, c, d].into())
        }
        IpAddr::V6(_) if GLOBAL_V6.contains(address) => named(FORBIDDEN_V6),
        IpAddr::V6(_) => named(FORBIDDEN_V6).or(Some("not handed out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(policy: &AddressPolicy, address: &str) -> Option<&'static str> {
        policy.judge(address.parse().unwrap()).err().map(|error| error.kind)
    }

    #[test]
    fn globally_reachable_unicast_is_allowed() {
        let policy = AddressPolicy::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2000::1",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2003::1",
            "2606:4700:4700::1111",
            "3ffe::1",
        ] {
            assert_eq!(judge(&policy, address), None, "{address}");
            assert!(!policy.lists(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn everything_else_is_refused_and_named() {
        for (address, kind) in [
            ("0.0.0.0", "this host"),
            ("0.255.255.255", "this host"),
            ("10.0.0.0", PRIVATE),
            ("10.255.255.255", PRIVATE),
            ("100.64.0.0", "shared behind a provider's NAT"),
            ("100.100.100.200", "shared behind a provider's NAT"),
            ("100.127.255.255", "shared behind a provider's NAT"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("168.63.129.16", "a cloud's metadata"),
            ("169.254.0.0", LINK_LOCAL),
            ("169.254.169.254", LINK_LOCAL),
            ("172.16.0.1", PRIVATE),
            ("172.31.255.255", PRIVATE),
            ("192.0.0.8", "protocol assignments"),
            ("192.0.2.1", DOCUMENTATION),
            ("192.88.99.1", "relays of 6to4"),
            ("192.168.1.1", PRIVATE),
            ("198.18.0.0", "benchmarks"),
            ("198.19.255.255", "benchmarks"),
            ("198.51.100.1", DOCUMENTATION),
            ("203.0.113.1", DOCUMENTATION),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::2", "IPv4 in IPv6"),
            ("::127.0.0.1", "IPv4 in IPv6"),
            ("::8.8.8.8", "IPv4 in IPv6"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", LINK_LOCAL),
            ("::ffff:0:127.0.0.1", "not handed out"),
            ("64:ff9b::10.0.0.1", PRIVATE),
            ("64:ff9b::169.254.169.254", LINK_LOCAL),
            ("64:ff9b::127.0.0.1", "loopback"),
            ("64:ff9b:0:1::8.8.8.8", "not handed out"),
            ("64:ff9b:1::8.8.8.8", TRANSLATED),
            ("100::1", "discarded"),
            ("1fff::1", "not handed out"),
            ("2001::1", "Teredo, which carries an IPv4 address"),
            ("2001:0:808:808::1", "Teredo, which carries an IPv4 address"),
            ("2001:2::1", "protocol assignments"),
            ("2001:10::1", "protocol assignments"),
            ("2001:20::1", "protocol assignments"),
            ("2001:db8::1", DOCUMENTATION),
            ("2002:7f00:1::1", "6to4, which carries an IPv4 address"),
            ("2002:808:808::1", "6to4, which carries an IPv4 address"),
            ("3fff::1", DOCUMENTATION),
            ("4000::1", "not handed out"),
            ("5f00::1", "segment routing"),
            ("fc00::1", PRIVATE),
            ("fd00:ec2::254", PRIVATE),
            ("fe80::1", LINK_LOCAL),
            ("febf::1", LINK_LOCAL),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            assert_eq!(judge(&AddressPolicy::default(), address), Some(kind), "{address}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_allowed_and_nothing_beside_it() {
        let policy = AddressPolicy {
            allowed: ["10.1.0.0/16", "::1", "64:ff9b:1::/48"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
        };
        for allowed in [
            "10.1.0.0",
            "10.1.255.255",
            "::ffff:10.1.2.3",
            "::1",
            "64:ff9b:1::10.0.0.1",
        ] {
            assert_eq!(judge(&policy, allowed), None, "{allowed}");
            assert!(policy.lists(allowed.parse().unwrap()), "{allowed}");
        }
        for refused in ["10.2.0.0", "10.0.255.255", "127.0.0.1", "::2", "::10.1.2.3"] {
            assert!(judge(&policy, refused).is_some(), "{refused}");
        }
        // The translator's 10.1.0.0/16 is not the operator's.
        assert_eq!(judge(&policy, "64:ff9b::10.1.2.3"), Some(PRIVATE));
        assert_eq!(judge(&policy, "8.8.8.8"), None, "the global ones stay allowed");
    }
}
