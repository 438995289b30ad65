//! Also the usage that other tests begin with.

use tenantry_types::{EffectiveQuota, Epoch, GrowthRate, HotspotScore, TenantUid};

use super::*;

fn quota() -> EffectiveQuota {
    TierDefinition::defaults()[1].quota
}

/// Use of those shares of the small tier's limits: database, requests, CPU, memory.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small positive test figures"
)]
pub(crate) fn usage(shares: [f64; 4]) -> TenantUsage {
    let [database, requests, cpu, memory] = shares;
    let quota = quota();
    let part = |share: f64, limit: u64| (share * limit as f64) as u64;
    TenantUsage {
        tenant: TenantUid::from_u128(1),
        epoch: Epoch(1),
        measured_at: UnixMillis(0),
        quota,
        requests_last_day: part(requests, quota.requests_per_day),
        concurrent_requests: 0,
        database_bytes: part(database, quota.database_bytes),
        wal_bytes: 0,
        free_bytes: 0,
        growth: GrowthRate::NotEnoughData,
        requests_last_minute: 0,
        errors_last_minute: 0,
        peak_requests_per_minute: 0,
        average_response_micros: None,
        error_ratio: None,
        cpu_millicores: part(cpu, u64::from(quota.cpu_millicores)),
        memory_bytes: part(memory, quota.memory_bytes),
        rows_read: 0,
        rows_written: 0,
        observed_class: Tier::Micro,
        hotspot: HotspotScore::default(),
    }
}

/// What those samples turn of one condition: raised (+), cleared (-) or nothing (.).
fn turns(condition: Condition, samples: impl IntoIterator<Item = (TenantUsage, Option<f64>)>) -> String {
    let tiers = TierDefinition::defaults();
    let around = Surroundings {
        tiers: &tiers,
        node_millicores: 2_000,
    };
    let mut detector = Detector::default();
    let mut seen = String::new();
    for (usage, norm) in samples {
        let changes = detector.sample(UnixMillis(0), &usage, norm, around);
        changes.iter().for_each(|change| detector.accept(change));
        let turned = changes.iter().find_map(|change| match change {
            EventDetail::Raised(figures) if figures.condition() == condition => Some('+'),
            EventDetail::Cleared(cleared) if cleared.condition() == condition => Some('-'),
            _ => None,
        });
        seen.push(turned.unwrap_or('.'));
    }
    seen
}

#[test]
fn a_hotspot_is_a_score_above_7_until_it_is_below_5() {
    let cases: [(&[f64], &str); 7] = [
        (&[0.9], "."),
        (&[0.9, 0.9, 0.9, 0.9], ".+.."),
        (&[0.9, 0.1, 0.9], "..+"),
        (&[0.69, 0.69, 0.69], "..."),
        (&[0.9, 0.9, 0.4, 0.4], ".+.-"),
        (&[0.9, 0.9, 0.4, 0.6, 0.6, 0.4], ".+...."),
        (&[0.9, 0.9, 0.51, 0.51, 0.51], ".+..."),
    ];
    for (scores, expected) in cases {
        let samples = scores.iter().map(|score| (usage([*score; 4]), None));
        assert_eq!(turns(Condition::Hotspot, samples), expected, "{scores:?}");
    }
}

#[test]
fn a_spike_is_measured_by_what_is_usual_for_the_tenant() {
    let cases: [(&str, &[u64], Option<f64>, &str); 11] = [
        ("nothing is known yet", &[9_000, 9_000, 9_000], None, "..."),
        ("three times the norm is not above it", &[90, 90, 90], Some(30.0), "..."),
        ("above", &[91, 91], Some(30.0), ".+"),
        ("fewer than 60 are none", &[59, 59, 59], Some(1.0), "..."),
        ("60 are enough", &[60, 60], Some(1.0), ".+"),
        ("a tenant that usually has none", &[60, 60, 39, 39], Some(0.0), ".+.-"),
        (
            "twice the norm is not over",
            &[700, 700, 200, 200, 200],
            Some(100.0),
            ".+...",
        ),
        ("below twice the norm", &[700, 700, 199, 199], Some(100.0), ".+.-"),
        ("one quiet sample", &[700, 700, 5, 700, 700], Some(100.0), ".+..."),
        ("one busy sample", &[700, 5, 5, 700], Some(100.0), "...."),
        ("two of three", &[700, 5, 700], Some(100.0), "..+"),
    ];
    for (name, requests, norm, expected) in cases {
        let samples = requests.iter().map(|requests_last_minute| {
            let usage = TenantUsage {
                requests_last_minute: *requests_last_minute,
                ..usage([0.0; 4])
            };
            (usage, norm)
        });
        assert_eq!(turns(Condition::Spike, samples), expected, "{name}");
    }
}

#[test]
fn a_spike_ends_though_its_norm_was_forgotten() {
    let of = |requests_last_minute| TenantUsage {
        requests_last_minute,
        ..usage([0.0; 4])
    };
    let known = [700, 700].map(|requests| (of(requests), Some(10.0)));
    let unknown = [700, 50, 39, 0].map(|requests| (of(requests), None));
    assert_eq!(turns(Condition::Spike, known.into_iter().chain(unknown)), ".+...-");
}

#[test]
fn a_node_is_exceeded_by_one_tenant_that_takes_most_of_it() {
    let cases: [(&[u64], &str); 5] = [
        (&[1_600, 1_600, 1_600], "..."),
        (&[1_601, 1_601], ".+"),
        (&[1_601, 1_601, 1_200, 1_200, 1_200], ".+..."),
        (&[1_601, 1_601, 1_199, 1_199], ".+.-"),
        (&[1_601, 0, 1_601], "..+"),
    ];
    for (millicores, expected) in cases {
        let samples = millicores.iter().map(|cpu_millicores| {
            let usage = TenantUsage {
                cpu_millicores: *cpu_millicores,
                ..usage([0.0; 4])
            };
            (usage, None)
        });
        assert_eq!(turns(Condition::NodeExceeded, samples), expected, "{millicores:?}");
    }
}

#[test]
fn what_was_raised_before_a_restart_is_cleared_once_and_not_raised_again() {
    let tiers = TierDefinition::defaults();
    let around = Surroundings {
        tiers: &tiers,
        node_millicores: 2_000,
    };
    let mut detector = Detector::resumed(&[Condition::Hotspot], None);
    assert!(detector.is_anything_raised() && detector.needs_another_look());
    let mut seen = Vec::new();
    for share in [0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1] {
        let changes = detector.sample(UnixMillis(0), &usage([share; 4]), None, around);
        changes.iter().for_each(|change| detector.accept(change));
        seen.extend(
            changes
                .iter()
                .map(EventDetail::kind)
                .filter(|kind| kind.starts_with("hotspot")),
        );
    }
    assert_eq!(seen, ["hotspot-cleared"]);
    assert!(!detector.needs_another_look());
}
