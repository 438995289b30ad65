//! Numbers that identify things. Each is its own type, so that an epoch is never passed for a revision.

use std::fmt;
use std::str::FromStr;

/// An id that does not have the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected}, got `{got}`")]
pub struct InvalidId {
    /// Which id was being read.
    pub what: &'static str,
    /// The form it must have.
    pub expected: &'static str,
    /// What was given instead.
    pub got: String,
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The first value: nothing has happened yet.
            pub const ZERO: Self = Self(0);

            /// The value after this one. Stays at the maximum, which is out of reach in practice.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Grows with every change of a tenant's serving node; fences old writers.
    Epoch
}
counter! {
    /// Which life of a cluster: 1 from its birth on, raised each time that it is restored from a snapshot. Zero is
    /// "none seen yet".
    ClusterEpoch
}

impl Epoch {
    /// The placement's number in its life of the cluster: a restore raises all epochs, and moves nobody.
    #[must_use]
    pub const fn within_life(self) -> u64 {
        self.0 % ClusterEpoch::PLACEMENT_EPOCHS
    }
}

impl ClusterEpoch {
    /// The life that begins with the cluster.
    pub const FIRST: Self = Self(1);

    /// Placement epochs that are set aside for one life of a cluster.
    pub const PLACEMENT_EPOCHS: u64 = 1 << 20;

    /// The placement epoch that lies just before all those of this life, and after those of every earlier one: so that no
    /// placement made after a restore can be taken for one that was made before it and is not in the snapshot.
    #[must_use]
    pub const fn placement_floor(self) -> Epoch {
        Epoch(self.0.saturating_sub(1).saturating_mul(Self::PLACEMENT_EPOCHS))
    }

    /// Token generations that are set aside for one life of a cluster.
    pub const TOKEN_GENERATIONS: u64 = 1 << 20;

    /// The token generation that lies before all those that a revocation of this life gives, and not before any of an
    /// earlier life: so that it also reaches tokens of generations that the restored snapshot did not know.
    #[must_use]
    pub const fn token_generation_floor(self) -> TokenGeneration {
        TokenGeneration(self.0.saturating_sub(1).saturating_mul(Self::TOKEN_GENERATIONS))
    }
}

counter! {
    /// Which tokens of a tenant are good: those of this generation and later ones. Grows when all its tokens are revoked.
    TokenGeneration
}
counter! {
    /// The Raft index of an applied change.
    Revision
}
counter! {
    /// One per start of a node: a restarted node has a larger one.
    Incarnation
}
counter! {
    /// The position of an event in the replicated event log.
    EventSequence
}
counter! {
    /// The position of an event in one incarnation of one node's outbox.
    ReportSequence
}

/// A control-plane member. Never zero: Raft keeps zero for "nobody".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(std::num::NonZeroU64);

impl MemberId {
    /// # Errors
    /// When `id` is zero.
    pub fn new(id: u64) -> Result<Self, InvalidId> {
        std::num::NonZeroU64::new(id).map(Self).ok_or_else(|| InvalidId {
            what: "member id",
            expected: "a whole number from 1",
            got: id.to_string(),
        })
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MemberId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse::<u64>()
            .ok()
            .and_then(|id| Self::new(id).ok())
            .ok_or_else(|| InvalidId {
                what: "member id",
                expected: "a whole number from 1",
                got: text.to_owned(),
            })
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Wraps 128 bits that the caller drew at random.
            #[must_use]
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// The 128 bits.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Reads 32 hexadecimal digits; hyphens, as in a UUID, are allowed.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId {
                    what: $what,
                    expected: "32 hexadecimal digits",
                    got: text.chars().take(64).collect(),
                };
                let digits: String = text.chars().filter(|c| *c != '-').collect();
                if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(invalid());
                }
                u128::from_str_radix(&digits, 16).map(Self).map_err(|_| invalid())
            }
        }
    };
}

random_id! {
    /// Identifies a tenant for ever; never reused, unlike its name.
    TenantUid, "tenant uid"
}
random_id! {
    /// Identifies one cluster, drawn when it first elects a leader.
    ClusterUid, "cluster uid"
}
random_id! {
    /// Chosen by a caller per mutation, so that a retry is answered like the first call.
    RequestId, "request id"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_reads_back_what_it_prints() {
        let uid = TenantUid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(uid.to_string().parse::<TenantUid>(), Ok(uid));
        assert_eq!("01234567-89ab-cdef-0123-456789abcdef".parse::<TenantUid>(), Ok(uid));
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "12",
            "zz234567-89ab-cdef-0123-456789abcdef",
            "+1234567890123456789012345678901",
        ] {
            assert!(text.parse::<TenantUid>().is_err(), "{text}");
        }
        for text in ["", "0", "-1", "x"] {
            assert!(text.parse::<MemberId>().is_err(), "{text}");
        }
    }
}
