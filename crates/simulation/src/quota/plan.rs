//! How long a run is and how much goes wrong in it.

use rand::Rng as _;
use rand::rngs::StdRng;

/// The shape of a run. Chances are per request, unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How many requests are decided.
    pub requests: u64,
    /// How many tenants there are.
    pub tenants: usize,
    /// The biggest daily limit that a tenant begins with.
    pub biggest_limit: u64,
    /// That the process is killed, between any two steps.
    pub kill: f64,
    /// That it is killed while the disk is at work, per operation.
    pub kill_at_the_disk: f64,
    /// That a close that fails is followed by a kill within a few requests: trouble seldom comes alone.
    pub kill_after_failed_close: f64,
    /// That a kill is that of the machine.
    pub power: f64,
    /// That the process stops in order.
    pub stop: f64,
    /// That the wall clock is set before the machine is up again.
    pub jump_in_reboot: f64,
    /// That the wall clock is set.
    pub jump: f64,
    /// That a tenant is closed.
    pub close: f64,
    /// That idle tenants are forgotten.
    pub forget: f64,
    /// That a limit changes.
    pub change: f64,
    /// That the same limits are sent again.
    pub duplicate: f64,
    /// That the ledger of a tenant is damaged while no process runs.
    pub damage: f64,
    /// That a waiting client leaves.
    pub leave: f64,
    /// That a request is free.
    pub free: f64,
    /// That a refused client waits as it was told.
    pub obey: f64,
    /// That an operation of the disk takes time.
    pub slow_disk: f64,
    /// That it fails.
    pub failing_disk: f64,
    /// How many of the last steps are kept.
    pub steps: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            requests: 500_000,
            tenants: 3,
            biggest_limit: 20_000,
            kill: 0.000_03,
            kill_at_the_disk: 0.001,
            kill_after_failed_close: 0.6,
            power: 0.3,
            stop: 0.000_03,
            jump_in_reboot: 0.15,
            jump: 0.000_05,
            close: 0.000_4,
            forget: 0.000_3,
            change: 0.000_2,
            duplicate: 0.002,
            damage: 0.02,
            leave: 0.05,
            free: 0.01,
            obey: 0.002,
            slow_disk: 0.05,
            failing_disk: 0.01,
            steps: 40,
        }
    }
}

impl Plan {
    /// What a seed makes of the plan: some things often, some never.
    pub(super) fn drawn(&self, rng: &mut StdRng) -> Self {
        let mut plan = self.clone();
        let chances = [
            &mut plan.kill,
            &mut plan.kill_at_the_disk,
            &mut plan.stop,
            &mut plan.jump_in_reboot,
            &mut plan.jump,
            &mut plan.close,
            &mut plan.forget,
            &mut plan.change,
            &mut plan.damage,
            &mut plan.slow_disk,
            &mut plan.failing_disk,
        ];
        for chance in chances {
            *chance *= [0.0, 0.3, 1.0, 1.0, 3.0][rng.random_range(0..5)];
        }
        plan
    }
}
