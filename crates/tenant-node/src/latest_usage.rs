//! The latest figures of this node's tenants, and which of them go into a heartbeat.
//!
//! A heartbeat is bounded, and a node may measure more tenants than fit. Those that lead by any order are in every one, so
//! that a view of the busiest is never late; the others take turns, so that each is heard of within a few heartbeats. One
//! that has just left the lead goes before its turn: what was last said of it is what a view would be wrong about.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_types::{TenantUid, TenantUsage, UsageOrder};

/// This part of a report belongs to the leaders by each order: half of it to all four together.
const LEADERS_PART: usize = 8;

/// Written by the sampler, read by the heartbeat. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LatestUsage(Arc<Mutex<Latest>>);

#[derive(Debug, Default)]
struct Latest {
    figures: BTreeMap<TenantUid, TenantUsage>,
    /// Who led when the last report was made.
    led: BTreeSet<TenantUid>,
    /// Whose turn was the last one.
    last_turn: Option<TenantUid>,
}

impl LatestUsage {
    /// Puts the figures of a round in the place of those before, and forgets tenants that are served here no more. Of those
    /// that were not sampled, the figures before stay.
    pub fn update(&self, fresh: impl IntoIterator<Item = TenantUsage>, gone: &[TenantUid]) {
        let mut latest = self.0.lock();
        for uid in gone {
            latest.figures.remove(uid);
        }
        latest
            .figures
            .extend(fresh.into_iter().map(|usage| (usage.tenant, usage)));
    }

    /// The figures for one heartbeat, at most `most` tenants'.
    #[must_use]
    pub fn report(&self, most: usize) -> Vec<TenantUsage> {
        self.0.lock().report(most)
    }

    /// Sum of the CPU time of all tenants on database threads, in thousandths of one core, and of their database bytes.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let latest = self.0.lock();
        let cpu = latest.figures.values().map(|usage| usage.cpu_millicores).sum();
        let bytes = latest
            .figures
            .values()
            .map(|usage| usage.database_bytes.saturating_add(usage.wal_bytes))
            .sum();
        (cpu, bytes)
    }
}

impl Latest {
    fn report(&mut self, most: usize) -> Vec<TenantUsage> {
        if self.figures.len() <= most {
            return self.figures.values().cloned().collect();
        }
        let leaders = self.leaders(most / LEADERS_PART);
        let mut chosen = leaders.clone();
        // Not all of the rest: the others have their turns whatever happens at the top.
        let room = chosen.len() + most / 4;
        for uid in self.led.difference(&leaders).copied() {
            if chosen.len() < room && self.figures.contains_key(&uid) {
                chosen.insert(uid);
            }
        }
        let after = self.last_turn.map_or(Unbounded, Excluded);
        let before = self.last_turn.into_iter().flat_map(|last| self.figures.range(..=last));
        for (uid, _) in self.figures.range((after, Unbounded)).chain(before) {
            if chosen.len() >= most {
                break;
            }
            chosen.insert(*uid);
            self.last_turn = Some(*uid);
        }
        self.led = leaders;
        chosen.iter().filter_map(|uid| self.figures.get(uid)).cloned().collect()
    }

    /// The first `each` by every order.
    fn leaders(&self, each: usize) -> BTreeSet<TenantUid> {
        let mut leaders = BTreeSet::new();
        for order in UsageOrder::ALL {
            let mut ranked: Vec<_> = self
                .figures
                .values()
                .map(|usage| (order.rank(usage), usage.tenant))
                .filter(|(rank, _)| *rank > 0)
                .collect();
            if ranked.len() > each {
                ranked.select_nth_unstable_by(each, |one, other| other.cmp(one));
                ranked.truncate(each);
            }
            leaders.extend(ranked.into_iter().map(|(_, uid)| uid));
        }
        leaders
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::usage_of_shares;

    /// Tenant number `uid`, with that many requests and database bytes.
    fn usage(uid: u128, requests_last_minute: u64, database_bytes: u64) -> TenantUsage {
        TenantUsage {
            tenant: TenantUid::from_u128(uid),
            requests_last_minute,
            database_bytes,
            ..usage_of_shares([0.0; 4])
        }
    }

    fn uids(report: &[TenantUsage]) -> BTreeSet<u128> {
        report.iter().map(|usage| usage.tenant.as_u128()).collect()
    }

    #[test]
    fn few_tenants_are_all_in_every_report() {
        let latest = LatestUsage::default();
        latest.update((1..=5).rev().map(|uid| usage(uid, 0, 0)), &[]);
        for _ in 0..3 {
            assert_eq!(uids(&latest.report(5)), (1..=5).collect());
        }
    }

    #[test]
    fn leaders_are_in_every_report_and_each_of_the_others_in_its_turn() {
        let latest = LatestUsage::default();
        // Tenant 50 leads by requests, tenant 70 by size.
        let busy = |uid| usage(uid, u64::from(uid == 50), u64::from(uid == 70) << 20);
        latest.update((1..=100).map(busy), &[]);
        let mut heard = BTreeSet::new();
        for round in 0..8 {
            let report = latest.report(16);
            assert!(report.len() <= 16);
            let uids = uids(&report);
            assert!(uids.contains(&50) && uids.contains(&70), "round {round}: {uids:?}");
            heard.extend(uids);
            // A new sample does not begin the turns anew.
            latest.update((1..=100).map(busy), &[]);
        }
        assert_eq!(heard.len(), 100, "{heard:?}");
    }

    #[test]
    fn who_has_left_the_lead_is_in_the_next_report() {
        let latest = LatestUsage::default();
        latest.update((1..=100).map(|uid| usage(uid, u64::from(uid == 90) * 9, 0)), &[]);
        assert!(uids(&latest.report(8)).contains(&90));
        latest.update((1..=100).map(|uid| usage(uid, u64::from(uid == 95), 0)), &[]);
        let next = uids(&latest.report(8));
        assert!(next.contains(&90) && next.contains(&95), "{next:?}");
    }

    #[test]
    fn figures_stay_until_there_are_newer_ones_or_the_tenant_is_gone() {
        let latest = LatestUsage::default();
        latest.update([(1, 1), (2, 2), (3, 3)].map(|(uid, bytes)| usage(uid, 0, bytes)), &[]);
        latest.update([usage(2, 0, 20)], &[TenantUid::from_u128(3)]);
        assert_eq!(uids(&latest.report(9)), [1, 2].into());
        assert_eq!(latest.totals().1, 21);
    }
}
