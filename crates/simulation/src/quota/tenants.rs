//! The tenants of a run: their limits, their clients and the requests that they are being served.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tenantry_layers::Burst;
use tenantry_layers::quota::{Permit, RequestLimits};

use super::plan::Plan;
use super::traffic::Traffic;

/// One of them.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) limits: RequestLimits,
    /// The daily limit that it comes back to.
    usual: u64,
    pub(super) traffic: Traffic,
    /// Requests that are being served.
    pub(super) served: Vec<Served>,
    pub(super) retry: Option<Retry>,
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) until: Duration,
    /// Given back when the request ends.
    _permit: Permit,
    /// The tenant was closed since, and is counted anew.
    pub(super) before_close: bool,
}

/// A client that was refused and does as it was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    /// When it will pass.
    pub(super) due: Duration,
    /// How often the ledger had been read: another reading cuts the tenant's time to whole milliseconds.
    pub(super) openings: u32,
}

impl Tenant {
    pub(super) fn new(plan: &Plan, rng: &mut StdRng) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
        let most = plan.biggest_limit as f64;
        // As many below 100 as above.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1 and far below 2^53"
        )]
        let usual = most.powf(rng.random_range(0.0..1.0)) as u64;
        let mut tenant = Self {
            limits: RequestLimits {
                requests_per_day: usual,
                burst: None,
                concurrent_requests: 0,
            },
            usual,
            traffic: Traffic::new(),
            served: Vec::new(),
            retry: None,
        };
        tenant.draw_other_limits(rng);
        tenant
    }

    /// Draws another daily limit, or the usual one, or other limits beside it.
    pub(super) fn draw_limits(&mut self, rng: &mut StdRng) {
        let daily = &mut self.limits.requests_per_day;
        match rng.random_range(0..10) {
            0..3 => *daily = daily.saturating_mul(rng.random_range(2..10)).min(self.usual * 10),
            3..6 => *daily = (*daily / rng.random_range(2..10)).max(1),
            6 => *daily = (*daily).saturating_add_signed(rng.random_range(-1..=1)).max(1),
            7 => self.draw_other_limits(rng),
            8 if rng.random_bool(0.1) => *daily = 0,
            _ => *daily = self.usual,
        }
    }

    fn draw_other_limits(&mut self, rng: &mut StdRng) {
        self.limits.burst = rng.random_bool(0.4).then(|| Burst {
            requests_per_second: rng.random_range(1..50),
            size: rng.random_range(1..200),
        });
        self.limits.concurrent_requests = match rng.random_bool(0.8) {
            true => 10_000,
            false => rng.random_range(1..6),
        };
    }

    pub(super) fn serve(&mut self, permit: Permit, until: Duration) {
        self.served.push(Served {
            until,
            _permit: permit,
            before_close: false,
        });
    }

    /// Requests that end by now give their places back.
    pub(super) fn end_served(&mut self, now: Duration) {
        self.served.retain(|served| served.until > now);
    }

    /// Requests that are being served, and counted.
    pub(super) fn counted(&self) -> usize {
        self.served.iter().filter(|served| !served.before_close).count()
    }
}
