//! Clients of the cluster: what they ask, whom, and how often they repeat themselves.

use std::collections::BTreeMap;

use ::control_plane::raft::ProposalId;
use rand::Rng as _;
use rand::rngs::StdRng;
use tenantry_state::{Command, Fingerprint, Request, State};
use tenantry_types::{
    ByteSize, Durability, Incarnation, InvalidName, Labels, NodeCapacity, NodeEndpoints, NodeId, NodeSpec,
    QuotaOverrides, RequestId, Revision, TenantName, TenantSpec, TenantUid, Tier, TierPolicy, UnixMillis,
};

/// A client that gives up does so after at most this many attempts.
const MAX_ATTEMPTS: u32 = 4;

/// What a client wants, as it would say it; a leader makes a command of it.
#[derive(Debug, Clone)]
enum Wish {
    Create {
        name: TenantName,
        tier: Tier,
    },
    Update {
        uid: TenantUid,
        expected: Option<Revision>,
        tier: Tier,
    },
    Delete {
        uid: TenantUid,
        expected: Option<Revision>,
    },
    Register {
        id: NodeId,
        incarnation: Incarnation,
    },
}

/// How long a client keeps asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Ends,
    Endless,
}

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    wish: Wish,
    patience: Patience,
    attempts: u32,
    /// After how many it gives up, if it does.
    max_attempts: u32,
    /// When to ask again; `None` when the client has what it wants or has given up.
    next_attempt: Option<u64>,
    pub(super) acknowledged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Clients {
    asked: BTreeMap<u64, Asked>,
    waiting: BTreeMap<ProposalId, u64>,
    known_tenants: Vec<(TenantUid, Revision)>,
}

impl Clients {
    /// Thinks of something new to ask.
    pub(super) fn wish(&mut self, now: u64, patience: Patience, rng: &mut StdRng) -> Result<u64, InvalidName> {
        let known = match self.known_tenants.len() {
            0 => None,
            count => self.known_tenants.get(rng.random_range(0..count)).copied(),
        };
        let tier = Tier::ALL
            .get(rng.random_range(0..Tier::ALL.len()))
            .copied()
            .unwrap_or(Tier::Micro);
        let wish = match (rng.random_range(0..10), known) {
            (0..2, _) => Wish::Register {
                id: NodeId::new(&format!("n{}", rng.random_range(1..=4)))?,
                incarnation: Incarnation(rng.random_range(1..=4)),
            },
            (2..5, Some((uid, seen))) => Wish::Update {
                uid,
                expected: rng.random_bool(0.3).then_some(seen),
                tier,
            },
            (5..7, Some((uid, seen))) => Wish::Delete {
                uid,
                expected: rng.random_bool(0.3).then_some(seen),
            },
            _ => Wish::Create {
                name: TenantName::new(&format!("t{}", rng.random_range(1..=30)))?,
                tier,
            },
        };
        let number = self.asked.len() as u64 + 1;
        let request = Request {
            id: RequestId::from_u128(u128::from(number)),
            fingerprint: Fingerprint(number),
        };
        let asked = Asked {
            request,
            wish,
            patience,
            attempts: 0,
            max_attempts: rng.random_range(1..=MAX_ATTEMPTS),
            next_attempt: Some(now),
            acknowledged: false,
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

    /// The command that a leader with `state` would propose. Each attempt draws a uid of its own, as each leader does.
    pub(super) fn command(
        &self,
        number: u64,
        state: &State,
        clock: UnixMillis,
        rng: &mut StdRng,
    ) -> Option<(Request, Command)> {
        let asked = self.asked.get(&number)?;
        let command = match asked.wish.clone() {
            Wish::Create { name, tier } => {
                let nodes: Vec<_> = state.nodes_after(None).map(|node| node.id.clone()).collect();
                let node = match nodes.len() {
                    0 => None,
                    count => nodes.get(rng.random_range(0..count)).cloned(),
                };
                Command::CreateTenant {
                    uid: TenantUid::from_u128(rng.random()),
                    name,
                    spec: tenant_spec(tier),
                    node,
                }
            }
            Wish::Update { uid, expected, tier } => Command::UpdateTenant {
                uid,
                expected,
                spec: tenant_spec(tier),
            },
            Wish::Delete { uid, expected } => Command::DeleteTenant {
                uid,
                expected,
                purge_at: UnixMillis(clock.0 + 1_000),
            },
            Wish::Register { id, incarnation } => Command::RegisterNode {
                spec: node_spec(&id),
                id,
                incarnation,
            },
        };
        Some((asked.request, command))
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
        self.waiting.insert(proposal, number);
        asked.attempts += 1;
        let gives_up = asked.patience == Patience::Ends && asked.attempts >= asked.max_attempts;
        asked.next_attempt = (!gives_up && !asked.acknowledged).then(|| now + rng.random_range(10..=50));
        asked.attempts > 1
    }

    /// An answer has come for a proposal. `None` when nobody waits for it.
    pub(super) fn answered(&mut self, proposal: ProposalId) -> Option<&mut Asked> {
        let number = self.waiting.remove(&proposal)?;
        self.asked.get_mut(&number)
    }

    pub(super) fn learn(&mut self, uid: TenantUid, revision: Revision) {
        self.known_tenants.push((uid, revision));
    }

    pub(super) fn is_acknowledged(&self, number: u64) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.acknowledged)
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.asked.values().all(|asked| asked.next_attempt.is_none())
    }

    pub(super) fn count_unknown(&self) -> u64 {
        self.asked.values().filter(|asked| !asked.acknowledged).count() as u64
    }
}

impl Asked {
    /// The client has its answer, and may ask once more `at` some time nevertheless.
    pub(super) fn acknowledge(&mut self, at: Option<u64>) {
        self.acknowledged = true;
        self.next_attempt = at;
    }
}

fn tenant_spec(tier: Tier) -> TenantSpec {
    TenantSpec {
        tier,
        tier_policy: TierPolicy::Pinned,
        quota: QuotaOverrides::default(),
        durability: Durability::Local,
        labels: Labels::default(),
        domains: Vec::new(),
    }
}

fn node_spec(id: &NodeId) -> NodeSpec {
    let address = |port: u16| format!("{id}:{port}");
    NodeSpec {
        endpoints: NodeEndpoints {
            data: address(1),
            peer: address(2),
            ops: address(3),
        },
        capacity: NodeCapacity {
            max_tenants: 100,
            disk: ByteSize(1 << 30),
        },
        zone: String::new(),
        labels: Labels::default(),
    }
}
