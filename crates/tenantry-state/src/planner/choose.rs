//! Filter, sample, score.

use tenantry_types::{NodeId, Tier};

use super::filter::{RejectionReason, rejection};
use super::sample::draw;
use super::score::Score;
use super::{ClusterView, NodeView};

/// What is to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacementRequest {
    /// The tenant's tier.
    pub tier: Tier,
    /// The tier's weight.
    pub weight: u32,
    /// Draws the sample; from a random source for a placement, fixed to explain one.
    pub seed: u64,
}

/// Where it should go, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The best node of the sample; `None`: no node may take it.
    pub chosen: Option<NodeId>,
    /// All nodes: those that may take it, best first; then those that were ruled out, by id.
    pub candidates: Vec<Candidate>,
}

/// A node and what speaks for or against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub node: NodeId,
    /// How it would score, ruled out or not.
    pub score: Score,
    /// What was made of it.
    pub verdict: Verdict,
}

/// What was made of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Compared with the others of the sample.
    Compared,
    /// Could take the tenant, but was not in the sample.
    NotSampled,
    /// Cannot take the tenant.
    Rejected(RejectionReason),
}

impl Candidate {
    /// Why it was ruled out.
    #[must_use]
    pub const fn rejection(&self) -> Option<RejectionReason> {
        match self.verdict {
            Verdict::Rejected(reason) => Some(reason),
            Verdict::Compared | Verdict::NotSampled => None,
        }
    }
}

/// The best of a small sample of the nodes that may take the tenant.
#[must_use]
pub fn choose(view: &ClusterView, request: &PlacementRequest) -> Decision {
    let eligible = view.nodes().iter().filter(|node| rejection(node).is_none());
    let sample = draw(eligible.map(|node| &node.id), request.seed);
    let judge = |node: &NodeView| Candidate {
        node: node.id.clone(),
        score: Score::of(node, request.tier, request.weight),
        verdict: match rejection(node) {
            Some(reason) => Verdict::Rejected(reason),
            None if sample.contains(&&node.id) => Verdict::Compared,
            None => Verdict::NotSampled,
        },
    };
    let (mut candidates, ruled_out): (Vec<_>, Vec<_>) = view
        .nodes()
        .iter()
        .map(judge)
        .partition(|candidate| candidate.rejection().is_none());
    candidates.sort_by(|one, other| one.score.cmp(&other.score));
    let chosen = candidates
        .iter()
        .find(|candidate| candidate.verdict == Verdict::Compared)
        .map(|candidate| candidate.node.clone());
    candidates.extend(ruled_out);
    Decision { chosen, candidates }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_types::{Availability, ByteSize, NodeCapacity, Scheduling};

    use super::*;

    fn node(id: &str) -> NodeView {
        NodeView {
            id: NodeId::new(id).unwrap(),
            availability: Availability::Up,
            scheduling: Scheduling::Open,
            capacity: NodeCapacity {
                max_tenants: 100,
                disk: ByteSize(1_000),
            },
            disk_free: Some(ByteSize(500)),
            tenants: 0,
            enterprise_tenants: 0,
            weight: 0,
            hot_tenants: 0,
        }
    }

    fn request(tier: Tier) -> PlacementRequest {
        PlacementRequest {
            tier,
            weight: 2,
            seed: 7,
        }
    }

    #[test]
    fn each_rule_alone_rules_a_node_out() {
        use Availability::{Down, Suspect, Unknown};
        type Break = fn(&mut NodeView);
        let cases: [(Break, RejectionReason); 8] = [
            (|node| node.availability = Unknown, RejectionReason::NotUp(Unknown)),
            (|node| node.availability = Suspect, RejectionReason::NotUp(Suspect)),
            (|node| node.availability = Down, RejectionReason::NotUp(Down)),
            (|node| node.scheduling = Scheduling::Cordoned, RejectionReason::Cordoned),
            (|node| node.tenants = 100, RejectionReason::Full),
            (|node| node.capacity.max_tenants = 0, RejectionReason::Full),
            (|node| node.disk_free = None, RejectionReason::DiskUnknown),
            (|node| node.disk_free = Some(ByteSize(99)), RejectionReason::DiskLow),
        ];
        for (break_rule, reason) in cases {
            let mut broken = node("a");
            break_rule(&mut broken);
            let decision = choose(&ClusterView::new(vec![broken]), &request(Tier::Small));
            assert_eq!(decision.chosen, None);
            assert_eq!(decision.candidates[0].rejection(), Some(reason));
        }
        let mut sound = node("a");
        sound.tenants = 99;
        sound.disk_free = Some(ByteSize(100));
        assert!(
            choose(&ClusterView::new(vec![sound]), &request(Tier::Small))
                .chosen
                .is_some()
        );
    }

    #[test]
    fn the_policy_is_company_then_load_then_count_then_id() {
        type Change = fn(&mut NodeView, &mut NodeView);
        let cases: [(Tier, Change, &str); 6] = [
            (Tier::Small, |_, _| (), "a"),
            (Tier::Small, |a, _| a.tenants = 1, "b"),
            (Tier::Small, |a, b| (a.tenants, b.weight) = (1, 1), "a"),
            (Tier::Small, |a, b| (a.weight, b.capacity.max_tenants) = (1, 50), "a"),
            (Tier::Small, |a, b| (a.enterprise_tenants, b.weight) = (1, 90), "b"),
            (Tier::Enterprise, |a, b| (a.tenants, b.weight) = (1, 90), "b"),
        ];
        for (tier, change, chosen) in cases {
            let (mut a, mut b) = (node("a"), node("b"));
            change(&mut a, &mut b);
            let decision = choose(&ClusterView::new(vec![a, b]), &request(tier));
            assert_eq!(decision.chosen, Some(NodeId::new(chosen).unwrap()), "{decision:?}");
        }
    }

    #[test]
    fn different_seeds_spread_over_many_nodes() {
        let view = ClusterView::new((0..50).map(|id| node(&format!("n{id}"))).collect());
        let chosen: std::collections::BTreeSet<_> = (0..200)
            .filter_map(|seed| {
                let request = PlacementRequest {
                    seed,
                    ..request(Tier::Small)
                };
                choose(&view, &request).chosen
            })
            .collect();
        assert!(chosen.len() > 20, "{}", chosen.len());
    }

    prop_compose! {
        fn any_node()(
            id in 0..40_u8,
            up in 0..4_u8,
            cordoned in any::<bool>(),
            tenants in 0..110_u64,
            enterprise in 0..3_u64,
            weight in 0..1_000_u64,
            hot_tenants in 0..3_u64,
            free in proptest::option::of(0..1_000_u64),
        ) -> NodeView {
            NodeView {
                availability: if up == 0 { Availability::Suspect } else { Availability::Up },
                scheduling: if cordoned { Scheduling::Cordoned } else { Scheduling::Open },
                tenants,
                enterprise_tenants: enterprise.min(tenants),
                weight,
                hot_tenants,
                disk_free: free.map(ByteSize),
                ..node(&format!("n{id}"))
            }
        }
    }

    proptest! {
        #[test]
        fn the_choice_breaks_no_rule_and_does_not_depend_on_the_order(
            nodes in proptest::collection::btree_map(0..40_u8, any_node(), 0..30),
            seed in any::<u64>(),
            tier in proptest::sample::select(Tier::ALL.to_vec()),
        ) {
            let nodes: Vec<_> = nodes
                .into_iter()
                .map(|(id, view)| NodeView { id: NodeId::new(&format!("n{id}")).unwrap(), ..view })
                .collect();
            let request = PlacementRequest { seed, ..request(tier) };
            let view = ClusterView::new(nodes.clone());
            let decision = choose(&view, &request);
            let mut reversed = nodes.clone();
            reversed.reverse();
            prop_assert_eq!(&decision, &choose(&ClusterView::new(reversed), &request));
            prop_assert_eq!(decision.candidates.len(), nodes.len());
            let eligible: Vec<_> = nodes.iter().filter(|node| rejection(node).is_none()).collect();
            match &decision.chosen {
                None => prop_assert!(eligible.is_empty()),
                Some(chosen) => {
                    let chosen = eligible.iter().find(|node| node.id == *chosen).unwrap();
                    let score = Score::of(chosen, tier, request.weight);
                    let compared = decision.candidates.iter().filter(|each| each.verdict == Verdict::Compared);
                    let (count, best) = compared.fold((0, None), |(count, best), each| {
                        (count + 1, best.max(Some(std::cmp::Reverse(&each.score))))
                    });
                    prop_assert_eq!(count, eligible.len().min(4));
                    prop_assert_eq!(best.unwrap().0, &score);
                }
            }
        }
    }
}
