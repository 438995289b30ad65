//! Clients of the cluster: what they ask, how often they repeat themselves, and what they were told.

mod asking;
mod history;
mod reading;
mod wish;

use std::collections::BTreeMap;

use ::control_plane::raft::ProposalId;
use rand::Rng as _;
use rand::rngs::StdRng;
use tenantry_state::{Answer, Command, Fingerprint, Outcome, Request, State};
use tenantry_types::{InvalidName, RequestId, Revision, Tenant, TenantName, UnixMillis};

use history::Key;
pub(super) use reading::{Reader, Reads};

use super::Breach;
use history::{History, Version};
use wish::{KnownTenant, Wish};

/// A client that gives up does so after at most this many attempts.
const MAX_ATTEMPTS: u32 = 4;

/// How long a client keeps asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Ends,
    Endless,
}

#[derive(Debug)]
struct Asked {
    request: Request,
    wish: Wish,
    patience: Patience,
    attempts: u32,
    /// After how many it gives up, if it does.
    max_attempts: u32,
    /// When to ask again; `None` when the client has what it wants or has given up.
    next_attempt: Option<u64>,
    answer: Option<Outcome>,
}

#[derive(Debug, Default)]
pub(super) struct Clients {
    asked: BTreeMap<u64, Asked>,
    waiting: BTreeMap<ProposalId, u64>,
    known_tenants: Vec<KnownTenant>,
    pub(super) history: History,
}

/// What an answer is to the client that waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    First(Request),
    Again(Request),
}

impl Clients {
    /// Thinks of something new to ask.
    pub(super) fn wish(&mut self, now: u64, patience: Patience, rng: &mut StdRng) -> Result<u64, InvalidName> {
        let known = match self.known_tenants.len() {
            0 => None,
            // What was learnt last is the most likely to be there still.
            count => self
                .known_tenants
                .get(rng.random_range(count.saturating_sub(15)..count))
                .cloned(),
        };
        let number = self.asked.len() as u64 + 1;
        let request = Request {
            id: RequestId::from_u128(u128::from(number)),
            fingerprint: Fingerprint(number),
        };
        let asked = Asked {
            request,
            wish: Wish::draw(number, known, rng)?,
            patience,
            attempts: 0,
            max_attempts: rng.random_range(1..=MAX_ATTEMPTS),
            next_attempt: Some(now),
            answer: None,
        };
        self.asked.insert(number, asked);
        Ok(number)
    }

    /// Who wants to ask now.
    pub(super) fn due(&self, now: u64) -> Vec<u64> {
        let due = |asked: &Asked| asked.next_attempt.is_some_and(|at| at <= now);
        self.asked
            .iter()
            .filter(|(_, asked)| due(asked))
            .map(|(number, _)| *number)
            .collect()
    }

    /// The command that a leader with `state` would propose for request `number`.
    pub(super) fn command(
        &mut self,
        number: u64,
        state: &State,
        clock: UnixMillis,
        rng: &mut StdRng,
    ) -> Result<Option<(Request, Command)>, InvalidName> {
        let Some(asked) = self.asked.get(&number) else {
            return Ok(None);
        };
        let command = asked.wish.command(state, clock, rng)?;
        Ok(Some((asked.request, command)))
    }

    /// An attempt was made: `proposal` names it if a member took it. Tells whether it was a repetition.
    pub(super) fn attempted(&mut self, number: u64, proposal: Option<ProposalId>, now: u64, rng: &mut StdRng) -> bool {
        let Some(asked) = self.asked.get_mut(&number) else {
            return false;
        };
        let Some(proposal) = proposal else {
            asked.next_attempt = Some(now + rng.random_range(1..=8));
            return false;
        };
        let (key, operation) = asked.wish.operation();
        self.history.called(number, key, operation);
        self.waiting.insert(proposal, number);
        asked.attempts += 1;
        let gives_up = asked.patience == Patience::Ends && asked.attempts >= asked.max_attempts;
        asked.next_attempt = (!gives_up && asked.answer.is_none()).then(|| now + rng.random_range(10..=50));
        asked.attempts > 1
    }

    /// An answer has come for a proposal. `None` when nobody waits for it. After a first answer the client may ask once
    /// more at `again`.
    pub(super) fn answered(
        &mut self,
        proposal: ProposalId,
        revision: Revision,
        outcome: &Outcome,
        again: Option<u64>,
    ) -> Result<Option<Answered>, Breach> {
        let Some(number) = self.waiting.remove(&proposal) else {
            return Ok(None);
        };
        let Some(asked) = self.asked.get_mut(&number) else {
            return Ok(None);
        };
        let request = asked.request;
        if let Some(first) = &asked.answer {
            if first != outcome {
                return Err(Breach::AnswerChanged {
                    request: request.id,
                    revision,
                    first: format!("{first:?}"),
                    second: format!("{outcome:?}"),
                });
            }
            asked.next_attempt = None;
            return Ok(Some(Answered::Again(request)));
        }
        asked.answer = Some(outcome.clone());
        asked.next_attempt = again;
        self.history.answered(number, outcome);
        if let Ok(Answer::Tenant(tenant)) = outcome {
            self.learn(tenant);
        }
        Ok(Some(Answered::First(request)))
    }

    /// A linearizable read is answered from `state`.
    pub(super) fn has_read(&mut self, reader: Reader, state: &State) {
        if let Key::Tenant(name) = &reader.key
            && let Some(tenant) = state.tenant_by_name(name)
        {
            self.learn(tenant);
        }
        self.history.read(reader.key, reader.called, state);
    }

    fn learn(&mut self, tenant: &Tenant) {
        if let Some(version) = Version::of(tenant) {
            let name: TenantName = tenant.name.clone();
            self.known_tenants.push(KnownTenant {
                uid: tenant.uid,
                name,
                revision: tenant.revision,
                version,
            });
        }
    }

    pub(super) fn is_acknowledged(&self, number: u64) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.answer.is_some())
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.asked.values().all(|asked| asked.next_attempt.is_none())
    }

    pub(super) fn count_unknown(&self) -> u64 {
        self.asked.values().filter(|asked| asked.answer.is_none()).count() as u64
    }

    /// For the trace.
    pub(super) fn describe(&self, number: u64) -> String {
        let described = self.asked.get(&number).map(|asked| {
            let (key, operation) = asked.wish.operation();
            format!("{key}: {operation:?}")
        });
        described.unwrap_or_default()
    }
}
