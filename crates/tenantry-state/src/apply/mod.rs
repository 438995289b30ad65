//! From one state to the next. Accepts or rejects, never chooses, never fails.

mod announce;
mod cluster_facts;
mod conditions;
mod events;
mod nodes;
mod tenants;
mod tokens;
mod webhooks;

#[cfg(test)]
mod cluster_facts_tests;
#[cfg(test)]
mod condition_properties;
#[cfg(test)]
mod conditions_tests;
#[cfg(test)]
mod earlier_rules_tests;
#[cfg(test)]
mod event_log_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reactions_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod webhooks_tests;

use tenantry_types::{ClusterEpoch, MemberId, Revision, UnixMillis};

use crate::state::StoredRequest;
use crate::{Answer, Applied, Change, ClusterInfo, Command, Envelope, Outcome, Rejection, Rules, State};

/// What a command may know of its circumstances.
struct Context {
    rules: Rules,
    revision: Revision,
    now: UnixMillis,
    member: MemberId,
}

/// Applies the command at `revision`, the index of its log entry. Every member that applies the same entries in the same
/// order ends in the same state and sees the same outcomes. A request that was answered before is answered the same
/// again and changes nothing; one that came before the cluster had an identity was not answered.
pub fn apply(state: &mut State, revision: Revision, envelope: Envelope) -> Applied {
    let mut changes = Vec::new();
    if revision <= state.revision() {
        let applied = state.revision();
        return Applied {
            outcome: Err(Rejection::RevisionNotNew { applied }),
            changes,
            evicted_answers: 0,
        };
    }
    let Envelope {
        rules,
        now,
        proposed_by,
        request,
        command,
    } = envelope;
    state.observe_time(now);
    state.expire_requests();
    if rules >= Rules::Conditions {
        state.expire_events(now);
    }
    let last_event = state.last_event();
    let mut evicted_answers = 0;
    let answered = request.and_then(|request| state.answered(&request));
    let outcome = answered.unwrap_or_else(|| {
        let context = Context {
            rules,
            revision,
            now,
            member: proposed_by,
        };
        let outcome = run(state, &context, command, &mut changes);
        // Before the cluster has an identity a caller is told to try again, and must then be heard.
        if let Some(request) = request.filter(|_| state.cluster().is_some()) {
            evicted_answers = state.evict_requests();
            state.put_request(StoredRequest {
                request,
                revision,
                answered_at: state.clock(),
                outcome: outcome.clone(),
            });
        }
        outcome
    });
    if state.last_event() > last_event {
        changes.push(Change::EventsAppended {
            first: last_event.next(),
            last: state.last_event(),
        });
    }
    state.advance(revision);
    Applied {
        outcome,
        changes,
        evicted_answers,
    }
}

fn run(state: &mut State, context: &Context, command: Command, changes: &mut Vec<Change>) -> Outcome {
    if state.cluster().is_none() && !matches!(command, Command::InitializeCluster { .. }) {
        return Err(Rejection::NotInitialized);
    }
    match command {
        Command::InitializeCluster {
            uid,
            tiers,
            signing_key,
        } => {
            if let Some(cluster) = state.cluster() {
                return Err(Rejection::AlreadyInitialized { uid: cluster.uid });
            }
            let cluster = ClusterInfo {
                uid,
                created_at: context.now,
                epoch: ClusterEpoch::FIRST,
            };
            state.set_cluster(cluster);
            state.set_tiers(*tiers);
            state.put_key(signing_key);
            changes.extend([Change::TiersChanged, Change::KeysChanged]);
            Ok(Answer::Cluster(cluster))
        }
        Command::CreateTenant { uid, name, spec, node } => {
            tenants::create(state, context, tenants::New { uid, name, spec, node }, changes)
        }
        Command::UpdateTenant { uid, expected, spec } => tenants::update(state, context, uid, expected, spec, changes),
        Command::DeleteTenant {
            uid,
            expected,
            purge_at,
        } => tenants::delete(state, context, uid, expected, purge_at, changes),
        Command::UndeleteTenant { uid } => tenants::undelete(state, context, uid, changes),
        Command::PlaceTenant {
            uid,
            node,
            expected_epoch,
        } => tenants::place(state, context, uid, node, expected_epoch, changes),
        Command::UpdateTier { definition } => Ok(tenants::update_tier(state, definition, changes)),
        Command::RegisterNode {
            id,
            incarnation,
            spec,
            record_since,
        } => {
            let outcome = nodes::register(state, context, id.clone(), incarnation, spec, changes)?;
            if let Some(since) = record_since {
                conditions::end_lost(state, context, &id, since);
            }
            Ok(outcome)
        }
        Command::SetNodeScheduling { id, scheduling } => nodes::set_scheduling(state, context, id, scheduling, changes),
        Command::RecordEvents {
            node,
            incarnation,
            events,
            tier_changes,
            moves,
        } => events::record(
            state,
            context,
            events::Batch {
                node,
                incarnation,
                events,
                tier_changes,
                moves,
            },
            changes,
        ),
        Command::RecordAvailability { changes } => Ok(cluster_facts::record_availability(state, context, changes)),
        Command::RecordMembers(members) => Ok(cluster_facts::record_members(state, context, members)),
        Command::UpdateReactions { reactions } => {
            state.set_reactions(reactions);
            Ok(Answer::Reactions(reactions))
        }
        Command::CreateWebhook { name, spec } => webhooks::create(state, context, name, spec),
        Command::UpdateWebhook {
            name,
            expected,
            spec,
            delivery,
        } => webhooks::update(state, context, name, expected, spec, delivery),
        Command::DeleteWebhook { name } => webhooks::delete(state, name),
        Command::AdvanceWebhook {
            name,
            expected_revision,
            expected_done,
            done,
            dead_letters,
            outcome,
        } => {
            let advance = webhooks::Advance {
                name,
                expected_revision,
                expected_done,
                done,
                dead_letters,
                outcome,
            };
            Ok(webhooks::advance(state, context, advance))
        }
        Command::RewindWebhook { name, after } => webhooks::rewind(state, context, name, after),
        Command::RevokeTokens { uid } => tokens::revoke(state, context, uid, changes),
        Command::AddSigningKey { key } => tokens::add_key(state, context, key, changes),
        Command::RetireSigningKey { key_id } => tokens::retire_key(state, context, key_id, changes),
    }
}
