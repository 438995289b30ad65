//! A few nodes out of many, so that leaders with the same stale figures do not all pick the same node.

use tenantry_types::NodeId;

/// How many nodes are compared for one placement.
pub(super) const SAMPLE: usize = 4;

/// The nodes of the sample that `seed` draws: those whose hash with the seed is smallest, so that the order of `nodes`
/// has no say.
pub(super) fn draw<'a>(nodes: impl Iterator<Item = &'a NodeId>, seed: u64) -> Vec<&'a NodeId> {
    let mut ranked: Vec<_> = nodes.map(|node| (rank(node, seed), node)).collect();
    ranked.sort_unstable();
    ranked.truncate(SAMPLE);
    ranked.into_iter().map(|(_, node)| node).collect()
}

/// FNV-1a from a seeded start, with a final mix.
fn rank(node: &NodeId, seed: u64) -> u64 {
    let start = seed ^ 0xcbf2_9ce4_8422_2325;
    let hash = node.as_str().bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
