//! All that is watched of one tenant, sample by sample.
//!
//! | condition | raised | over |
//! |---|---|---|
//! | hotspot | score above 0.7 | below 0.5 |
//! | spike | more than 3 times the norm, and at least 60 requests a minute | less than 2 times the norm, or than 40 |
//! | node exceeded | more than 80 % of the node's processors | less than 60 % |
//!
//! Each by 2 of 3 samples.

use tenantry_types::{
    Cleared, Condition, ConditionFigures, EventDetail, TenantUsage, Tier, TierDefinition, UnixMillis,
};

use super::class::{ClassRecord, ClassWatch};
use super::score::{score, terms};
use super::switch::{Switch, Turn};

const HOT_ABOVE: f64 = 0.7;
const COOL_BELOW: f64 = 0.5;
const SPIKE_ABOVE_NORMS: f64 = 3.0;
const SPIKE_OVER_BELOW_NORMS: f64 = 2.0;
/// Fewer requests a minute are no spike, whatever is usual.
const SPIKE_FROM: u64 = 60;
/// Fewer are none any more: a tenant that usually has none could not fall below twice that.
const SPIKE_OVER_BELOW: u64 = 40;
const EXCEEDED_ABOVE_PERCENT: u64 = 80;
const EXCEEDED_OVER_BELOW_PERCENT: u64 = 60;

/// What is remembered of one tenant between samples.
#[derive(Debug, Clone, Default)]
pub struct Detector {
    hotspot: Switch,
    spike: Switch,
    node_exceeded: Switch,
    class: ClassWatch,
}

/// What a tenant is measured against.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The tiers in force.
    pub tiers: &'a [TierDefinition],
    /// Processor time of the node, in thousandths of one core.
    pub node_millicores: u64,
}

impl Detector {
    /// As an earlier process left it.
    #[must_use]
    pub fn resumed(raised: &[Condition], class: Option<ClassRecord>) -> Self {
        let switch = |condition| Switch::resumed(raised.contains(&condition));
        Self {
            hotspot: switch(Condition::Hotspot),
            spike: switch(Condition::Spike),
            node_exceeded: switch(Condition::NodeExceeded),
            class: ClassWatch::resumed(class),
        }
    }

    /// A tenant that was never sampled begins in the class of its contracted tier.
    pub const fn begin_class(&mut self, tier: Tier) {
        self.class.begin(tier);
    }

    /// The class after the last sample.
    #[must_use]
    pub fn observed_class(&self) -> Option<Tier> {
        self.class.record().map(|record| record.class)
    }

    /// What is to be kept of the class.
    #[must_use]
    pub const fn class_record(&self) -> Option<ClassRecord> {
        self.class.record()
    }

    /// Whether something is raised, or the next samples may change something.
    #[must_use]
    pub fn needs_another_look(&self) -> bool {
        let switches = [self.hotspot, self.spike, self.node_exceeded];
        let busy = switches
            .into_iter()
            .any(|switch| switch.is_raised() || switch.is_moving());
        busy || self.class.is_rising()
    }

    /// What is raised is no more: the placement has changed.
    pub fn forget_conditions(&mut self) {
        for condition in Condition::ALL {
            *self.switch(condition) = Switch::default();
        }
    }

    /// Whether anything is raised.
    #[must_use]
    pub fn is_anything_raised(&self) -> bool {
        [self.hotspot, self.spike, self.node_exceeded]
            .into_iter()
            .any(Switch::is_raised)
    }

    /// Whether the norm makes a difference to a sample with so many requests. It takes a look at a whole week.
    #[must_use]
    pub fn needs_norm(&self, requests_per_minute: u64) -> bool {
        requests_per_minute >= SPIKE_FROM || self.spike.is_raised()
    }

    /// Takes a sample; `norm_per_minute` is what is usual for the tenant at this hour, if that is known. Answers with the
    /// changes that are due.
    pub fn sample(
        &mut self,
        now: UnixMillis,
        usage: &TenantUsage,
        norm_per_minute: Option<f64>,
        around: Surroundings<'_>,
    ) -> Vec<EventDetail> {
        let readings = [
            hotspot(usage),
            spike(usage.requests_last_minute, norm_per_minute),
            node_exceeded(usage.cpu_millicores, around.node_millicores),
        ];
        let mut changes = Vec::new();
        for Reading { figures, above, below } in readings {
            changes.extend(
                self.switch(figures.condition())
                    .sample(above, below)
                    .map(|turn| match turn {
                        Turn::Raise => EventDetail::Raised(figures),
                        Turn::Clear => EventDetail::Cleared(Cleared::Subsided(figures)),
                    }),
            );
        }
        changes.extend(self.class.sample(now, usage, around.tiers));
        changes
    }

    /// Goes on from a change that is on disk by now.
    pub fn accept(&mut self, change: &EventDetail) {
        match change {
            EventDetail::Raised(figures) => self.switch(figures.condition()).turn(Turn::Raise),
            EventDetail::Cleared(cleared) => self.switch(cleared.condition()).turn(Turn::Clear),
            EventDetail::ClassChanged { to, .. } => self.class.accept(*to),
            _ => {}
        }
    }

    const fn switch(&mut self, condition: Condition) -> &mut Switch {
        match condition {
            Condition::Hotspot => &mut self.hotspot,
            Condition::Spike => &mut self.spike,
            Condition::NodeExceeded => &mut self.node_exceeded,
        }
    }
}

/// What a sample says of one condition.
struct Reading {
    figures: ConditionFigures,
    above: bool,
    below: bool,
}

fn hotspot(usage: &TenantUsage) -> Reading {
    let terms = terms(usage);
    let score = score(&terms);
    Reading {
        figures: ConditionFigures::Hotspot { score, terms },
        above: score.get() > HOT_ABOVE,
        below: score.get() < COOL_BELOW,
    }
}

fn spike(requests_per_minute: u64, norm: Option<f64>) -> Reading {
    let requests = requests_per_minute as f64;
    let above = |norm: f64| requests > SPIKE_ABOVE_NORMS * norm && requests_per_minute >= SPIKE_FROM;
    Reading {
        figures: ConditionFigures::Spike {
            requests_per_minute,
            norm_per_minute: norm.unwrap_or(0.0),
        },
        above: norm.is_some_and(above),
        below: requests_per_minute < SPIKE_OVER_BELOW
            || norm.is_some_and(|norm| requests < SPIKE_OVER_BELOW_NORMS * norm),
    }
}

fn node_exceeded(cpu_millicores: u64, node_millicores: u64) -> Reading {
    let used = u128::from(cpu_millicores) * 100;
    let of_node = |percent: u64| u128::from(node_millicores) * u128::from(percent);
    Reading {
        figures: ConditionFigures::NodeExceeded {
            cpu_millicores,
            node_millicores,
        },
        above: used > of_node(EXCEEDED_ABOVE_PERCENT),
        below: used < of_node(EXCEEDED_OVER_BELOW_PERCENT),
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
pub(super) mod tests;
