//! What a client wants, as it would say it; a leader makes a command of it.

use rand::Rng as _;
use rand::rngs::StdRng;
use tenantry_state::{Command, State};
use tenantry_types::{
    ByteSize, Durability, Incarnation, InvalidName, Labels, NodeCapacity, NodeEndpoints, NodeId, NodeSpec,
    QuotaOverrides, Revision, TenantName, TenantSpec, TenantUid, Tier, TierPolicy, UnixMillis,
};

use super::history::{Key, Operation, Version};

const NAMES: u64 = 8;
const NODES: u64 = 4;

/// What clients know of a tenant from an answer.
#[derive(Debug, Clone)]
pub(in super::super) struct KnownTenant {
    pub(in super::super) uid: TenantUid,
    pub(in super::super) name: TenantName,
    pub(in super::super) revision: Revision,
    pub(in super::super) version: Version,
}

#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) request: u64,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Create {
        name: TenantName,
        tier: Tier,
    },
    Update {
        tenant: KnownTenant,
        condition: Condition,
        tier: Tier,
    },
    Delete {
        tenant: KnownTenant,
        condition: Condition,
    },
    Register {
        id: NodeId,
        incarnation: Incarnation,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    None,
    /// Only if it is as it was seen.
    Unchanged,
}

impl Wish {
    /// Thinks of something, about `known` if there is anything to do about it.
    pub(super) fn draw(request: u64, known: Option<KnownTenant>, rng: &mut StdRng) -> Result<Self, InvalidName> {
        let tier = Tier::ALL.get(rng.random_range(0..Tier::ALL.len())).copied();
        let tier = tier.unwrap_or(Tier::Micro);
        let condition = if rng.random_bool(0.3) {
            Condition::Unchanged
        } else {
            Condition::None
        };
        let kind = match (rng.random_range(0..10), known) {
            (0..2, _) => Kind::Register {
                id: node_id(rng)?,
                incarnation: Incarnation(rng.random_range(1..=4)),
            },
            (2..5, Some(tenant)) => Kind::Update {
                tenant,
                condition,
                tier,
            },
            (5..7, Some(tenant)) => Kind::Delete { tenant, condition },
            _ => Kind::Create {
                name: tenant_name(rng)?,
                tier,
            },
        };
        Ok(Self { request, kind })
    }

    /// What the history calls it.
    pub(super) fn operation(&self) -> (Key, Operation) {
        let tenant = |known: &KnownTenant| Key::Tenant(known.name.clone());
        let expected = |condition: Condition, known: &KnownTenant| {
            (condition == Condition::Unchanged).then_some(known.version.writer)
        };
        match &self.kind {
            Kind::Create { name, .. } => {
                let request = self.request;
                (Key::Tenant(name.clone()), Operation::Create { request })
            }
            Kind::Update {
                tenant: known,
                condition,
                ..
            } => {
                let (version, expected) = (self.version(known.version.creator), expected(*condition, known));
                (tenant(known), Operation::Update { version, expected })
            }
            Kind::Delete {
                tenant: known,
                condition,
            } => {
                let (creator, expected) = (known.version.creator, expected(*condition, known));
                (tenant(known), Operation::Delete { creator, expected })
            }
            Kind::Register { id, incarnation } => {
                let incarnation = incarnation.0;
                (Key::Node(id.clone()), Operation::Register { incarnation })
            }
        }
    }

    /// The command that a leader with `state` would propose. Each attempt draws a uid of its own, as each leader does.
    pub(super) fn command(&self, state: &State, clock: UnixMillis, rng: &mut StdRng) -> Result<Command, InvalidName> {
        let expected =
            |condition: Condition, known: &KnownTenant| (condition == Condition::Unchanged).then_some(known.revision);
        Ok(match &self.kind {
            Kind::Create { name, tier } => {
                let nodes: Vec<_> = state.nodes_after(None).map(|node| node.id.clone()).collect();
                let node = match nodes.len() {
                    0 => None,
                    count => nodes.get(rng.random_range(0..count)).cloned(),
                };
                Command::CreateTenant {
                    uid: TenantUid::from_u128(rng.random()),
                    name: name.clone(),
                    spec: tenant_spec(*tier, self.version(self.request))?,
                    node,
                }
            }
            Kind::Update {
                tenant,
                condition,
                tier,
            } => Command::UpdateTenant {
                uid: tenant.uid,
                expected: expected(*condition, tenant),
                spec: tenant_spec(*tier, self.version(tenant.version.creator))?,
            },
            Kind::Delete { tenant, condition } => Command::DeleteTenant {
                uid: tenant.uid,
                expected: expected(*condition, tenant),
                purge_at: UnixMillis(clock.0 + 1_000),
            },
            Kind::Register { id, incarnation } => Command::RegisterNode {
                id: id.clone(),
                incarnation: *incarnation,
                spec: node_spec(id),
                record_since: None,
            },
        })
    }

    /// What a tenant is that this wish has written.
    fn version(&self, creator: u64) -> Version {
        Version {
            creator,
            writer: self.request,
        }
    }
}

/// Something to read.
pub(super) fn draw_key(rng: &mut StdRng) -> Result<Key, InvalidName> {
    Ok(if rng.random_bool(0.8) {
        Key::Tenant(tenant_name(rng)?)
    } else {
        Key::Node(node_id(rng)?)
    })
}

fn tenant_name(rng: &mut StdRng) -> Result<TenantName, InvalidName> {
    TenantName::new(&format!("t{}", rng.random_range(1..=NAMES)))
}

fn node_id(rng: &mut StdRng) -> Result<NodeId, InvalidName> {
    NodeId::new(&format!("n{}", rng.random_range(1..=NODES)))
}

fn tenant_spec(tier: Tier, version: Version) -> Result<TenantSpec, InvalidName> {
    Ok(TenantSpec {
        tier,
        tier_policy: TierPolicy::Pinned,
        quota: QuotaOverrides::default(),
        durability: Durability::Local,
        labels: Labels::new(version.labels())?,
        domains: Vec::new(),
    })
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
