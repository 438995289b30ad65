//! The keys that sign tenants' tokens: which of them signs when, and for how long the others are of use.
//!
//! A key is known to all nodes before it signs, and verifies until it is retired. Which one signs follows from the keys and
//! a time that the caller passes in: nothing has to be carried out at the moment of change, and no leader is needed for it.

use std::sync::Arc;
use std::time::Duration;

use tenantry_types::{TokenKey, UnixMillis};

use super::State;
use crate::SigningKey;

/// How many signing keys there may be. Nodes look through all of them.
pub const MAX_KEYS: usize = 16;

/// No token is signed for longer.
pub const LONGEST_TOKEN_TTL: Duration = Duration::from_secs(366 * DAY_SECONDS);

const DAY_SECONDS: u64 = 86_400;

/// Members' clocks may differ: a key may have signed a little after its successor began to.
const CLOCK_MARGIN: Duration = Duration::from_secs(DAY_SECONDS);

/// What a signing key does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPhase {
    /// Nodes verify with it; it does not sign yet.
    Waiting,
    /// It signs new tokens.
    Signing,
    /// Another one signs; what this one signed is still good.
    Superseded {
        /// The end of the life of every token that it can have signed. Past that, it is retired.
        spent_at: UnixMillis,
    },
}

impl State {
    /// The key that signs new tokens at `now`; `None` before the cluster has an identity.
    #[must_use]
    pub fn signing_key(&self, now: UnixMillis) -> Option<&SigningKey> {
        let mut phases = self.signing_keys(now);
        phases.find_map(|(key, phase)| (phase == KeyPhase::Signing).then_some(key))
    }

    /// All signing keys with what they do at `now`, in the order in which they sign.
    pub fn signing_keys(&self, now: UnixMillis) -> impl Iterator<Item = (&SigningKey, KeyPhase)> {
        let mut keys: Vec<&SigningKey> = self.keys.values().map(Arc::as_ref).collect();
        keys.sort_by(|one, other| (one.signs_from, &one.key_id).cmp(&(other.signs_from, &other.key_id)));
        // A clock that went back may show no key's time: the first one must sign then, whatever it says.
        let begun = keys.partition_point(|key| key.signs_from <= now).max(1);
        let successors: Vec<_> = keys.iter().skip(1).map(|key| key.signs_from).collect();
        keys.into_iter().enumerate().map(move |(index, key)| {
            let phase = match (index + 1).cmp(&begun) {
                std::cmp::Ordering::Greater => KeyPhase::Waiting,
                std::cmp::Ordering::Equal => KeyPhase::Signing,
                std::cmp::Ordering::Less => KeyPhase::Superseded {
                    spent_at: successors.get(index).map_or(UnixMillis(u64::MAX), |since| {
                        since.plus(LONGEST_TOKEN_TTL).plus(CLOCK_MARGIN)
                    }),
                },
            };
            (key, phase)
        })
    }

    /// A key that can be retired without a token noticing: all that it signed have expired by `now`.
    #[must_use]
    pub fn spent_signing_key(&self, now: UnixMillis) -> Option<&SigningKey> {
        let spent = |phase| matches!(phase, KeyPhase::Superseded { spent_at } if spent_at <= now);
        self.signing_keys(now)
            .find_map(|(key, phase)| spent(phase).then_some(key))
    }

    /// The public keys that tokens are verified with, in the order of their ids.
    pub fn token_keys(&self) -> impl Iterator<Item = TokenKey> {
        self.keys.values().map(|key| TokenKey {
            id: key.key_id.clone(),
            public_key: key.public,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    fn state(keys: &[(&str, u64)]) -> State {
        let mut state = State::new();
        for (key_id, signs_from) in keys {
            state.put_key(SigningKey {
                key_id: (*key_id).to_owned(),
                public: [1; 32],
                secret: SecretKey::new([2; 32]),
                signs_from: UnixMillis(*signs_from),
            });
        }
        state
    }

    #[test]
    fn a_key_signs_from_its_time_on_until_the_next_one_does() {
        let state = state(&[("z-first", 0), ("a-second", 100), ("m-third", 200)]);
        let signing = |now| state.signing_key(UnixMillis(now)).map(|key| key.key_id.as_str());
        let cases = [
            (0, "z-first"),
            (99, "z-first"),
            (100, "a-second"),
            (199, "a-second"),
            (200, "m-third"),
        ];
        for (now, expected) in cases {
            assert_eq!(signing(now), Some(expected), "{now}");
        }
        assert_eq!(State::new().signing_key(UnixMillis(5)), None);
    }

    #[test]
    fn a_clock_that_shows_no_keys_time_finds_the_first_one() {
        let state = state(&[("b", 200), ("a", 100)]);
        assert_eq!(state.signing_key(UnixMillis(1)).unwrap().key_id, "a");
    }

    #[test]
    fn a_key_is_spent_when_the_last_token_that_it_can_have_signed_has_expired() {
        let state = state(&[("a", 0), ("b", 1_000), ("c", 5_000)]);
        let spent_at = UnixMillis(1_000).plus(LONGEST_TOKEN_TTL).plus(CLOCK_MARGIN);
        let phases: Vec<_> = state.signing_keys(UnixMillis(2_000)).map(|(_, phase)| phase).collect();
        assert_eq!(
            phases,
            [KeyPhase::Superseded { spent_at }, KeyPhase::Signing, KeyPhase::Waiting]
        );
        assert_eq!(state.spent_signing_key(UnixMillis(spent_at.0 - 1)), None);
        assert_eq!(state.spent_signing_key(spent_at).unwrap().key_id, "a");
    }
}
