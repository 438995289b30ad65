//! Tokens whose signature was checked before: checking one takes longer than most requests.
//!
//! An entry says what a token's text proves, which stays true for ever; it does not say that the token is good. Whoever
//! finds one asks the clock, the keys and the tenant's generation. Only texts that one of our keys has signed get in, so
//! that garbage displaces nothing.
//!
//! The lookup is by a hash with a random key, and the text is compared as a whole. Neither needs constant time: nobody
//! outside can choose a text that meets another one's entry, and a text that does not meet it is compared with none.

use std::array;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;

use parking_lot::Mutex;

use super::token::ProvenToken;

/// Locks that requests share.
const SHARDS: usize = 16;
/// Entries of one half of a shard. With all full, 16,384 tokens of some 350 bytes: 8 MiB.
const HALF: usize = 512;

/// Proven tokens by their text. Bounded; what was not used for longest goes first, roughly.
#[derive(Debug)]
pub(super) struct TokenCache {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// Two halves: when the recent one is full it becomes the older one, and what the older one still held is gone.
#[derive(Debug, Default)]
struct Shard {
    recent: HashMap<u64, Entry>,
    older: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    proven: ProvenToken,
}

impl TokenCache {
    /// Empty.
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: array::from_fn(|_| Mutex::default()),
        }
    }

    /// What `text` proves; from here, or else by `prove`, whose success is kept.
    ///
    /// # Errors
    /// Those of `prove`.
    pub(super) fn get_or_prove<E>(
        &self,
        text: &str,
        prove: impl FnOnce() -> Result<ProvenToken, E>,
    ) -> Result<ProvenToken, E> {
        let hash = self.hasher.hash_one(text);
        let shard = self.shard(hash);
        if let Some(proven) = shard.and_then(|shard| shard.lock().find(hash, text)) {
            return Ok(proven);
        }
        // Not under the lock: others go on meanwhile.
        let proven = prove()?;
        if let Some(shard) = shard {
            let text = text.into();
            shard.lock().put(hash, Entry { text, proven });
        }
        Ok(proven)
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        // The map inside uses its own hash of the whole number.
        usize::try_from(hash % SHARDS as u64)
            .ok()
            .and_then(|index| self.shards.get(index))
    }
}

impl Shard {
    fn find(&mut self, hash: u64, text: &str) -> Option<ProvenToken> {
        let same = |entry: &&Entry| *entry.text == *text;
        if let Some(entry) = self.recent.get(&hash).filter(same) {
            return Some(entry.proven);
        }
        self.older.get(&hash).filter(same)?;
        let entry = self.older.remove(&hash)?;
        let proven = entry.proven;
        self.put(hash, entry);
        Some(proven)
    }

    fn put(&mut self, hash: u64, entry: Entry) {
        if self.recent.len() >= HALF {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(hash, entry);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tenantry_types::{TenantUid, TokenGeneration};

    use super::*;
    use crate::layers::Access;

    fn proven(uid: u128) -> ProvenToken {
        ProvenToken {
            subject: TenantUid::from_u128(uid),
            access: Access::Full,
            generation: TokenGeneration::ZERO,
            not_before: 0,
            expires_at: 9,
            signed_by: [0; 32],
        }
    }

    fn entries(cache: &TokenCache) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.recent.len() + shard.older.len()
        };
        cache.shards.iter().map(count).sum()
    }

    #[test]
    fn a_text_is_proved_once_and_answers_for_itself_alone() {
        let cache = TokenCache::new();
        let mut asked = 0;
        for _ in 0..3 {
            let found = cache.get_or_prove("one", || {
                asked += 1;
                Ok::<_, Infallible>(proven(1))
            });
            assert_eq!(found, Ok(proven(1)));
        }
        assert_eq!(asked, 1);
        let other = cache.get_or_prove("two", || Ok::<_, Infallible>(proven(2)));
        assert_eq!(other, Ok(proven(2)));
    }

    #[test]
    fn what_proves_nothing_is_not_kept() {
        let cache = TokenCache::new();
        for number in 0..1_000 {
            assert_eq!(
                cache.get_or_prove(&format!("garbage {number}"), || Err("no")),
                Err("no")
            );
        }
        assert_eq!(entries(&cache), 0);
    }

    #[test]
    fn it_is_bounded_and_a_text_in_use_outlives_those_that_are_not() {
        let cache = TokenCache::new();
        let mut proved_again = 0;
        for number in 0..u128::try_from(4 * 2 * SHARDS * HALF).unwrap() {
            cache
                .get_or_prove(&format!("token {number}"), || Ok::<_, Infallible>(proven(number)))
                .unwrap();
            let used = cache.get_or_prove("in use", || {
                proved_again += 1;
                Ok::<_, Infallible>(proven(0))
            });
            assert_eq!(used, Ok(proven(0)));
        }
        assert_eq!(proved_again, 1);
        assert!(entries(&cache) <= 2 * SHARDS * HALF);
    }

    /// Two texts with one hash: each is proved for itself, and neither is taken for the other.
    #[test]
    fn a_collision_of_hashes_is_no_hit() {
        let mut shard = Shard::default();
        let entry = |text: &str, uid| Entry {
            text: text.into(),
            proven: proven(uid),
        };
        shard.put(7, entry("one", 1));
        assert_eq!(shard.find(7, "two"), None);
        shard.put(7, entry("two", 2));
        assert_eq!((shard.find(7, "one"), shard.find(7, "two")), (None, Some(proven(2))));
    }
}
