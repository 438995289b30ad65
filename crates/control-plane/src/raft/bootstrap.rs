//! The member list that a cluster begins with: what it must satisfy, and the fingerprint that every member derives.
//!
//! The list counts at the first start alone. Later the members are those in the replicated log.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sha2::{Digest as _, Sha256};
use tenantry_types::MemberId;

/// The checked initial members: id → `host:port` as other members reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialMembers(BTreeMap<MemberId, String>);

/// Why a member list cannot start a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMembers {
    /// The list does not contain the member that reads it.
    #[error(
        "the initial members do not include this member, {member}; a member that is added later is started with --join \
         instead"
    )]
    WithoutSelf {
        /// This member.
        member: MemberId,
    },
    /// Two entries have one id.
    #[error("member {member} is listed twice")]
    DuplicateId {
        /// The id.
        member: MemberId,
    },
    /// Two members have one address.
    #[error("members {first} and {second} have the same address, {address}")]
    DuplicateAddress {
        /// The first of them.
        first: MemberId,
        /// The other.
        second: MemberId,
        /// The address.
        address: String,
    },
    /// Not `id=host:port`.
    #[error("`{entry}` is not of the form id=host:port")]
    Malformed {
        /// What was given.
        entry: String,
    },
    /// An address that no other machine can connect to.
    #[error("member {member} has the address {address}: {reason}")]
    Unreachable {
        /// The member.
        member: MemberId,
        /// Its address.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How a member came to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is one of the first members: its log begins with the cluster.
    Founded(InitialMembers),
    /// It was added later: its log is empty until the cluster sends it a snapshot.
    Joined {
        /// The cluster's fingerprint, as its members show it.
        fingerprint: u64,
    },
}

impl Origin {
    /// Which cluster it is.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Founded(initial) => initial.fingerprint(),
            Self::Joined { fingerprint } => *fingerprint,
        }
    }
}

impl From<InitialMembers> for Origin {
    fn from(initial: InitialMembers) -> Self {
        Self::Founded(initial)
    }
}

impl InitialMembers {
    /// Checks a list for the member `own`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(own: MemberId, members: BTreeMap<MemberId, String>) -> Result<Self, InvalidMembers> {
        if !members.contains_key(&own) {
            return Err(InvalidMembers::WithoutSelf { member: own });
        }
        let mut owners: BTreeMap<String, MemberId> = BTreeMap::new();
        for (&member, address) in &members {
            check_address(address).map_err(|reason| InvalidMembers::Unreachable {
                member,
                address: address.clone(),
                reason,
            })?;
            if let Some(first) = owners.insert(address.to_ascii_lowercase(), member) {
                return Err(InvalidMembers::DuplicateAddress {
                    first,
                    second: member,
                    address: address.clone(),
                });
            }
        }
        Ok(Self(members))
    }

    /// Reads `1=host:port,2=host:port,…`, where a map could not tell that an id comes twice.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for what cannot be read.
    pub fn parse(own: MemberId, list: &str) -> Result<Self, InvalidMembers> {
        let mut members = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let malformed = || InvalidMembers::Malformed {
                entry: entry.to_owned(),
            };
            let (id, address) = entry.split_once('=').ok_or_else(malformed)?;
            let member: MemberId = id.trim().parse().map_err(|_| malformed())?;
            if !seen.insert(member) {
                return Err(InvalidMembers::DuplicateId { member });
            }
            members.insert(member, address.trim().to_owned());
        }
        Self::new(own, members)
    }

    /// The members and their addresses.
    #[must_use]
    pub fn addresses(&self) -> &BTreeMap<MemberId, String> {
        &self.0
    }

    /// Equal on members that were given the same list, and on no others.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        for (member, address) in &self.0 {
            hash.update(member.get().to_le_bytes());
            hash.update(u64::try_from(address.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(address.to_ascii_lowercase().as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        digest
            .first_chunk()
            .map_or(0, |head: &[u8; 8]| u64::from_le_bytes(*head))
    }
}

/// Says what is wrong with an address that no other machine can connect to.
pub(super) fn check_address(address: &str) -> Result<(), &'static str> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err("a port is missing");
    };
    match port.parse::<u16>() {
        Ok(0) => return Err("port 0 is chosen anew at each start"),
        Ok(_) => {}
        Err(_) => return Err("the port is not a number from 1 to 65535"),
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err("an IPv6 address belongs in brackets");
    }
    let bare = bare.unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        if ip.is_unspecified() {
            return Err("it says where to listen, not where to connect");
        }
        return Ok(());
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if bare.is_empty() || bare == "*" || !bare.chars().all(is_name) {
        return Err("the host is not a name or an IP address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u64) -> MemberId {
        MemberId::new(id).unwrap()
    }

    #[test]
    fn lists_are_accepted_or_refused_with_the_reason() {
        let good = "1=a:7401,2=b:7401,3=[::1]:7401";
        for (own, list, expected) in [
            (1, good, None),
            (3, " 1=127.0.0.1:1 , 3=127.0.0.1:2 ,", None),
            (4, good, Some("do not include this member, 4")),
            (1, "", Some("do not include this member, 1")),
            (1, "1=a:1,1=b:1", Some("member 1 is listed twice")),
            (1, "1=a:1,2=A:1", Some("members 1 and 2 have the same address")),
            (1, "1=0.0.0.0:7401", Some("where to listen, not where to connect")),
            (1, "1=[::]:7401", Some("where to listen, not where to connect")),
            (1, "1=::1:7401", Some("belongs in brackets")),
            (1, "1=*:7401", Some("not a name or an IP address")),
            (1, "1=:7401", Some("not a name or an IP address")),
            (1, "1=a/b:7401", Some("not a name or an IP address")),
            (1, "1=a:0", Some("port 0")),
            (1, "1=a:70000", Some("not a number from 1 to 65535")),
            (1, "1=a", Some("a port is missing")),
            (1, "0=a:1", Some("not of the form id=host:port")),
            (1, "a:1", Some("not of the form id=host:port")),
        ] {
            let outcome = InitialMembers::parse(id(own), list).map_err(|error| error.to_string());
            match expected {
                None => assert!(outcome.is_ok(), "{list}: {outcome:?}"),
                Some(reason) => assert!(outcome.clone().unwrap_err().contains(reason), "{list}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn members_agree_on_the_fingerprint_exactly_when_they_have_the_same_list() {
        let print = |own, list| InitialMembers::parse(id(own), list).unwrap().fingerprint();
        assert_eq!(print(1, "1=a:1,2=b:1"), print(2, "2=b:1,1=A:1"));
        assert_ne!(print(1, "1=a:1,2=b:1"), print(1, "1=a:1,2=b:2"));
        assert_ne!(print(1, "1=a:1,2=b:1"), print(1, "1=a:1,3=b:1"));
    }
}
