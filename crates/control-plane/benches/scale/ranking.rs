//! The busiest of all tenants, as `tenantctl top` asks for them every two seconds.

use std::time::Duration;

use control_plane::observations::Observations;
use tenantry_types::{
    Epoch, GrowthRate, HotspotScore, Incarnation, NodeLoad, TenantUid, TenantUsage, Tier, TierDefinition, UnixMillis,
    UsageOrder,
};

use crate::{NODES, TENANTS, node_id, timed};

const LIMIT: usize = 20;
const TIMES: u32 = 20;

pub(crate) fn run() {
    let mut observations = Observations::default();
    for node in 0..NODES {
        let usage = (node..TENANTS).step_by(usize::try_from(NODES).unwrap()).map(usage);
        let load = NodeLoad::default();
        observations.hear(&node_id(node), Incarnation(1), Duration::ZERO, load, usage);
    }
    for order in UsageOrder::ALL {
        let mut asked = 0_u64;
        let (ranking, took) = timed(|| {
            let rank = || {
                observations.rank(order, LIMIT, Duration::ZERO, |_, _| {
                    asked += 1;
                    true
                })
            };
            std::iter::repeat_with(rank).take(TIMES as usize).last().unwrap()
        });
        assert_eq!((ranking.first.len(), ranking.measured), (LIMIT, TENANTS));
        println!(
            "ranking    the first {LIMIT} of {TENANTS} tenants by {order:?}: {:.2?}; placement of {} looked up",
            took.cpu / TIMES,
            asked / u64::from(TIMES)
        );
    }
}

/// Figures that look random and are the same every time.
fn usage(number: u64) -> TenantUsage {
    let random = |salt: u64| (number + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    TenantUsage {
        tenant: TenantUid::from_u128(u128::from(number)),
        epoch: Epoch(1),
        measured_at: UnixMillis(0),
        quota: TierDefinition::built_in(Tier::Small).quota,
        requests_last_day: 0,
        concurrent_requests: 0,
        database_bytes: 1 + random(1),
        wal_bytes: 0,
        free_bytes: 0,
        growth: GrowthRate::NotEnoughData,
        requests_last_minute: 1 + random(2) % 10_000,
        errors_last_minute: random(3) % 100,
        peak_requests_per_minute: 0,
        average_response_micros: None,
        error_ratio: None,
        cpu_millicores: random(4) % 1_000,
        memory_bytes: 0,
        rows_read: 0,
        rows_written: 0,
        observed_class: Tier::Micro,
        hotspot: HotspotScore::default(),
    }
}
