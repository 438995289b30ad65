//! Tenants' tokens: revocation, and the keys that sign them.

use tenantry_types::{ClusterEpoch, EventDetail, Tenant, TenantUid, TokenGeneration, UnixMillis};

use super::announce::announce;
use super::{Context, tenants};
use crate::{Answer, Change, KeyPhase, MAX_KEYS, Outcome, Rejection, SigningKey, State};

/// Tokens carry the generation that their tenant had when they were signed; nodes refuse those of earlier ones.
pub(super) fn revoke(state: &mut State, context: &Context, uid: TenantUid, changes: &mut Vec<Change>) -> Outcome {
    let tenant = state.tenant(uid).ok_or(Rejection::TenantNotFound { uid })?;
    let floor = state.cluster().map_or(TokenGeneration::ZERO, |cluster| {
        ClusterEpoch::token_generation_floor(cluster.epoch)
    });
    let generation = tenant.token_generation.max(floor).next();
    let revoked = Tenant {
        token_generation: generation,
        ..Tenant::clone(tenant)
    };
    let stored = tenants::store(state, context, tenants::stamped(revoked, context), changes);
    announce(state, context, Some(&stored), EventDetail::TokensRevoked { generation });
    Ok(Answer::Tenant(stored))
}

pub(super) fn add_key(state: &mut State, context: &Context, key: SigningKey, changes: &mut Vec<Change>) -> Outcome {
    let mut count = 0;
    for (known, _) in state.signing_keys(context.now) {
        count += 1;
        if known.key_id == key.key_id {
            return Err(Rejection::KeyIdTaken { key_id: key.key_id });
        }
    }
    if count >= MAX_KEYS {
        return Err(Rejection::TooManyKeys { limit: MAX_KEYS as u64 });
    }
    let (key_id, signs_from) = (key.key_id.clone(), key.signs_from);
    state.put_key(key);
    changes.push(Change::KeysChanged);
    let added = EventDetail::TokenKeyAdded {
        key_id: key_id.clone(),
        signs_from,
    };
    announce(state, context, None, added);
    Ok(Answer::SigningKey { key_id, signs_from })
}

pub(super) fn retire_key(state: &mut State, context: &Context, key_id: String, changes: &mut Vec<Change>) -> Outcome {
    let known = state.signing_keys(context.now).find(|(key, _)| key.key_id == key_id);
    let signs_from: UnixMillis = match known {
        None => return Err(Rejection::KeyNotFound { key_id }),
        Some((_, KeyPhase::Signing)) => return Err(Rejection::KeySigns { key_id }),
        Some((key, KeyPhase::Waiting | KeyPhase::Superseded { .. })) => key.signs_from,
    };
    state.remove_key(&key_id);
    changes.push(Change::KeysChanged);
    let retired = EventDetail::TokenKeyRetired { key_id: key_id.clone() };
    announce(state, context, None, retired);
    Ok(Answer::SigningKey { key_id, signs_from })
}

#[cfg(test)]
mod tests {
    use tenantry_types::{Event, EventSequence, Revision};

    use super::*;
    use crate::strategies::{at, every_command_once, replay, signing_key};
    use crate::{Command, apply};

    struct Cluster(State);

    impl Cluster {
        fn new() -> Self {
            Self(replay(&every_command_once()))
        }

        fn run(&mut self, now: u64, command: Command) -> Outcome {
            let revision = self.0.revision().next();
            let outcome = apply(&mut self.0, revision, at(now, command)).outcome;
            assert_eq!(self.0.check(), Ok(()));
            outcome
        }

        fn signing(&self, now: u64) -> String {
            self.0.signing_key(UnixMillis(now)).unwrap().key_id.clone()
        }

        fn last_event(&self) -> Event {
            let before = EventSequence(self.0.last_event().get() - 1);
            Event::clone(self.0.events_after(before).next().unwrap())
        }
    }

    fn retire(key_id: &str) -> Command {
        Command::RetireSigningKey {
            key_id: key_id.to_owned(),
        }
    }

    #[test]
    fn a_revocation_raises_the_generation_in_the_route_and_is_an_event() {
        let mut cluster = Cluster::new();
        let route = cluster.0.tenant_routes().next().unwrap();
        let before = route.token_generation;
        cluster.run(5_000, Command::RevokeTokens { uid: route.uid }).unwrap();
        let after = cluster.0.tenant_route(route.uid).unwrap();
        assert_eq!(after.token_generation, before.next());
        let event = cluster.last_event();
        assert_eq!(event.tenant.unwrap().0, route.uid);
        let generation = after.token_generation;
        assert_eq!(event.detail, EventDetail::TokensRevoked { generation });
        let uid = TenantUid::from_u128(0xbad);
        let unknown = cluster.run(5_001, Command::RevokeTokens { uid });
        assert_eq!(unknown, Err(Rejection::TenantNotFound { uid }));
    }

    /// The snapshot may lack revocations that the life before had seen, and tokens that it signed after them.
    #[test]
    fn a_revocation_after_a_restore_reaches_tokens_that_the_snapshot_does_not_know() {
        let state = replay(&every_command_once());
        let uid = state.tenant_routes().next().unwrap().uid;
        let kept = state.tenant(uid).unwrap().token_generation;
        let mut restored = Cluster(state.in_new_epoch(ClusterEpoch(2), Revision(1 << 33)).unwrap());
        assert_eq!(restored.0.tenant(uid).unwrap().token_generation, kept);
        restored.run(5_000, Command::RevokeTokens { uid }).unwrap();
        let raised = restored.0.tenant(uid).unwrap().token_generation;
        assert_eq!(raised, TokenGeneration(ClusterEpoch::TOKEN_GENERATIONS + 1));
    }

    #[test]
    fn a_key_that_signs_cannot_be_retired_and_one_that_does_not_is_gone_with_its_secret() {
        let mut cluster = Cluster::new();
        let first = cluster.signing(5_000);
        let signs = |key_id: &str| {
            Err(Rejection::KeySigns {
                key_id: key_id.to_owned(),
            })
        };
        assert_eq!(cluster.run(5_000, retire(&first)), signs(&first));
        let key = signing_key("next", 6_000);
        cluster.run(5_000, Command::AddSigningKey { key }).unwrap();
        assert!(
            cluster.0.token_keys().any(|key| key.id == "next"),
            "nodes know it at once"
        );
        assert_eq!(cluster.signing(5_999), first);
        assert_eq!(cluster.run(5_999, retire(&first)), signs(&first));
        assert_eq!(cluster.run(6_000, retire("next")), signs("next"));
        cluster.run(6_000, retire(&first)).unwrap();
        assert_eq!(cluster.last_event().detail.kind(), "token-key-retired");
        assert!(
            cluster
                .0
                .records()
                .all(|record| !matches!(record, crate::Record::Key(key) if key.key_id == first))
        );
        assert_eq!(
            cluster.run(6_001, retire(&first)),
            Err(Rejection::KeyNotFound { key_id: first })
        );
    }

    #[test]
    fn a_key_that_does_not_sign_yet_can_be_taken_back() {
        let mut cluster = Cluster::new();
        let first = cluster.signing(5_000);
        let key = signing_key("next", 6_000);
        cluster.run(5_000, Command::AddSigningKey { key }).unwrap();
        cluster.run(5_001, retire("next")).unwrap();
        assert_eq!(cluster.signing(9_000), first);
    }

    #[test]
    fn keys_are_bounded_and_an_id_is_not_given_twice() {
        let mut cluster = Cluster::new();
        let known = cluster.0.token_keys().count();
        for number in known..MAX_KEYS {
            let key = signing_key(&format!("more-{number}"), 6_000);
            cluster.run(5_000, Command::AddSigningKey { key }).unwrap();
        }
        let limit = MAX_KEYS as u64;
        let key = signing_key("too-many", 6_000);
        let refused = cluster.run(5_000, Command::AddSigningKey { key });
        assert_eq!(refused, Err(Rejection::TooManyKeys { limit }));
        let key = signing_key(&cluster.signing(5_000), 6_000);
        let key_id = key.key_id.clone();
        let refused = cluster.run(5_000, Command::AddSigningKey { key });
        assert_eq!(refused, Err(Rejection::KeyIdTaken { key_id }));
    }
}
