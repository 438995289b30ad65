//! A network of IP addresses, as operators write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin with the same bits, written `10.1.0.0/16` or `fd00::/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a network: {rule}")]
pub struct InvalidNetwork {
    /// What was given, shortened.
    pub text: String,
    /// The rule that was broken.
    pub rule: &'static str,
}

impl Network {
    /// Whether `address` is in this network. An IPv4 address that is mapped into IPv6 counts as what it is, IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                same_prefix(base.to_bits().into(), address.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => same_prefix(base.to_bits(), address.to_bits(), 128, self.prefix),
            _ => false,
        }
    }

    /// For tables. The bits of `base` after `prefix` have to be zero.
    pub(crate) const fn v4(base: [u8; 4], prefix: u8) -> Self {
        let [a, b, c, d] = base;
        Self {
            base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            prefix,
        }
    }

    /// For tables, with the first three groups of `base`. The bits after `prefix` have to be zero.
    pub(crate) const fn v6(base: [u16; 3], prefix: u8) -> Self {
        let [a, b, c] = base;
        Self {
            base: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
            prefix,
        }
    }
}

/// Whether the first `prefix` of `width` bits are equal.
fn same_prefix(a: u128, b: u128, width: u32, prefix: u8) -> bool {
    let rest = width.saturating_sub(prefix.into());
    // A shift by all 128 bits leaves nothing to differ.
    (a ^ b).checked_shr(rest).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    /// Reads `ADDRESS/BITS` or `ADDRESS`.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = |rule| InvalidNetwork {
            text: text.chars().take(80).collect(),
            rule,
        };
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let base: IpAddr = address
            .parse()
            .map_err(|_| invalid("write an address and its bits, such as 10.1.0.0/16"))?;
        if base.to_canonical() != base {
            return Err(invalid("write a network of IPv4 addresses as IPv4"));
        }
        let width: u8 = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(prefix) => {
                let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
                let bits = prefix.parse().ok().filter(|bits| digits && *bits <= width);
                bits.ok_or(invalid("0 to 32 bits for IPv4, 0 to 128 for IPv6"))?
            }
        };
        let bits = match base {
            IpAddr::V4(base) => u128::from(base.to_bits()) << 96,
            IpAddr::V6(base) => base.to_bits(),
        };
        // Most likely the address or the bits are wrong, and either guess would open something nobody asked for.
        if bits.checked_shl(prefix.into()).unwrap_or(0) != 0 {
            return Err(invalid("the address goes on after the bits of the network"));
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_with_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.168.0.128/25", "192.168.0.128", "192.168.0.127"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "8.8.8.8", "2000::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("::/0", "ffff::", "1.2.3.4"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!network.contains(outside.parse().unwrap()), "{outside} in {network}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        for bad in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "0.0.0.1/0",
            "10.1/16",
            "010.0.0.0/8",
            "::1/127",
            "::/129",
            "fe80::1%eth0",
            "::ffff:10.0.0.0/104",
            "localhost",
        ] {
            let error = bad.parse::<Network>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
        }
    }
}
