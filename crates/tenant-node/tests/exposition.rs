//! What Prometheus reads: the whole text against a golden file, and which series exist for whom.
//!
//! `REWRITE_GOLDEN=1 cargo test -p tenant-node --test exposition` writes the golden file anew; read the difference.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use tenant_node::metrics::{Exposition, NodeFigures, Sample};
use tenantry_layers::meter::{AnswerClass, ClassCounts, Ratios, ResponseHistogram};
use tenantry_types::{
    Epoch, GrowthRate, HotspotScore, TenantName, TenantUid, TenantUsage, Tier, TierDefinition, UnixMillis,
};

const FOREVER: Duration = Duration::from_secs(3600);

fn answers(successes: u64) -> ClassCounts {
    let mut counts = ClassCounts::default();
    for _ in 0..successes {
        counts.add(AnswerClass::Success);
    }
    counts.add(AnswerClass::Throttled);
    counts
}

#[expect(clippy::unwrap_used, reason = "digits make a valid name")]
fn name_of(number: u64) -> TenantName {
    TenantName::new(&format!("tenant-{number}")).unwrap()
}

/// A sample of tenant number `number`, all figures derived from it.
fn sample(number: u64, requests: u64) -> Sample {
    let mut response_times = ResponseHistogram::default();
    response_times.buckets[4] = (requests, requests as f64 * 0.0075);
    response_times.buckets[14] = (1, 45.0);
    Sample {
        name: name_of(number),
        usage: TenantUsage {
            tenant: TenantUid::from_u128(u128::from(number)),
            epoch: Epoch(1),
            measured_at: UnixMillis(0),
            quota: TierDefinition::defaults()[0].quota,
            requests_last_day: requests,
            concurrent_requests: 2,
            database_bytes: number << 20,
            wal_bytes: 4096,
            free_bytes: 8192,
            growth: GrowthRate::BytesPerHour(-1.5),
            requests_last_minute: 6,
            errors_last_minute: 1,
            peak_requests_per_minute: 12,
            average_response_micros: Some(7_500),
            error_ratio: Some(0.25),
            cpu_millicores: 25,
            memory_bytes: 1 << 20,
            rows_read: 1_000,
            rows_written: 100,
            observed_class: Tier::Small,
            hotspot: HotspotScore::clamped(0.5),
        },
        ratios: Ratios {
            server_error: Some(0.25),
            client_error: Some(0.125),
            throttled: Some(0.0),
        },
        requests_last_hour: requests,
        answers: answers(requests),
        response_times,
        cpu_micros_total: 2_600_000,
    }
}

fn node() -> NodeFigures {
    NodeFigures {
        open_tenants: 3,
        quota_tenants: 4,
        concurrent_requests: 5,
        answers: answers(6),
        refusals: [7, 8, 9],
        ledger_writes: 10,
        ledger_failures: 11,
        corrupt_ledgers: 12,
        crossings_dropped: 13,
        sampled_tenants: 14,
        sampling: Duration::from_millis(15),
    }
}

/// The exporter writes families and series in the order of a hash map: puts them in the order of names and tenants.
fn in_order(text: &str) -> String {
    let mut families = text
        .split("\n\n")
        .filter(|family| !family.is_empty())
        .map(|family| {
            let (head, series): (Vec<_>, Vec<_>) = family.lines().partition(|line| line.starts_with('#'));
            let mut series = series;
            if head.iter().any(|line| line.ends_with(" histogram")) {
                // Buckets stay in their order.
                series.sort_by_key(|line| label(line, "tenant"));
            } else {
                series.sort_unstable();
            }
            let lines = head.into_iter().chain(series).collect::<Vec<_>>();
            lines.join("\n") + "\n"
        })
        .collect::<Vec<_>>();
    families.sort_unstable();
    families.concat()
}

fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn tenants_in(text: &str, series: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with(&format!("{series}{{")))
        .filter_map(|line| label(line, "tenant"))
        .map(str::to_owned)
        .collect()
}

/// The sum of all series whose lines begin so.
fn sum_of(text: &str, start: &str) -> f64 {
    text.lines()
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[test]
fn the_whole_exposition_is_that_of_the_golden_file() {
    let exposition = Exposition::new(2, FOREVER).unwrap();
    exposition.publish(
        &node(),
        &[sample(1, 50), sample(2, 40), sample(3, 5), sample(4, 3)],
        &[],
    );
    let text = in_order(&exposition.render());

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.prom");
    if std::env::var_os("REWRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    assert!(text == expected, "differs from {}:\n{text}", golden.display());
}

#[test]
fn names_and_help_keep_to_the_conventions() {
    let exposition = Exposition::new(10, FOREVER).unwrap();
    exposition.publish(&node(), &[sample(1, 50)], &[]);
    let text = exposition.render();
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect::<Vec<_>>();
    assert!(types.len() > 30);
    for line in types {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(
            name.starts_with("tenantry_tenant_") || name.starts_with("tenantry_node_"),
            "{name}"
        );
        let other_units = ["milli", "micro", "percent", "_kb", "_mb"];
        assert!(
            !other_units.iter().any(|unit| name.contains(unit)),
            "{name} is not in a base unit"
        );
    }
}

#[test]
fn only_the_busiest_have_series_of_their_own_and_nothing_is_lost() {
    let exposition = Exposition::new(2, FOREVER).unwrap();
    let mut requests = [100_u64, 90, 80, 70];
    // Tenant 4 becomes the busiest; tenant 3 overtakes tenant 2, but not by enough.
    for (round, added) in [[0, 0, 0, 0], [10, 0, 20, 500], [5, 5, 5, 5]].into_iter().enumerate() {
        let samples = requests
            .iter_mut()
            .zip(added)
            .enumerate()
            .map(|(index, (total, more))| {
                *total += more;
                sample(index as u64 + 1, *total)
            });
        exposition.publish(&node(), &samples.collect::<Vec<_>>(), &[]);
        let text = exposition.render();
        let all = requests.iter().sum::<u64>() as f64;
        assert_eq!(
            sum_of(&text, "tenantry_tenant_requests_total{tenant=") - sum_of_class(&text, "429"),
            all
        );
        assert_eq!(sum_of(&text, "tenantry_tenant_response_time_seconds_count"), all + 4.0);
        let own = sum_of(&text, "tenantry_node_tenants_with_series");
        assert_eq!(
            (own, sum_of(&text, "tenantry_node_tenants_summed")),
            (2.0, 2.0),
            "round {round}"
        );
    }
    let tenants = tenants_in(&exposition.render(), "tenantry_tenant_database_bytes");
    assert_eq!(
        tenants,
        ["_other", "tenant-1", "tenant-2", "tenant-4"].map(str::to_owned).into()
    );
}

#[test]
fn a_tenant_that_was_not_sampled_in_a_round_keeps_its_figures_and_one_that_is_gone_takes_them_along() {
    let exposition = Exposition::new(2, FOREVER).unwrap();
    let of = |text: &str, tenant: &str| sum_of(text, &format!("tenantry_tenant_database_bytes{{tenant=\"{tenant}\"}}"));
    let mib = |count: f64| count * f64::from(1 << 20);
    exposition.publish(&node(), &[1, 2, 3, 4].map(|number| sample(number, 100 - number)), &[]);
    assert_eq!(of(&exposition.render(), "_other"), mib(7.0));
    // Only two are sampled, and nothing of the others changes.
    exposition.publish(&node(), &[sample(2, 98), sample(4, 97)], &[]);
    let text = exposition.render();
    assert_eq!(
        [of(&text, "tenant-1"), of(&text, "tenant-2"), of(&text, "_other")],
        [1.0, 2.0, 7.0].map(mib)
    );
    // One gets series of its own, and leaves the sums.
    exposition.publish(&node(), &[sample(4, 500)], &[]);
    let text = exposition.render();
    assert_eq!([of(&text, "tenant-4"), of(&text, "_other")], [4.0, 5.0].map(mib));
    exposition.publish(&node(), &[], &[3, 4].map(TenantUid::from_u128));
    let text = exposition.render();
    assert_eq!(of(&text, "_other"), mib(2.0));
    assert_eq!(sum_of(&text, "tenantry_node_tenants_summed"), 1.0);
    // The place is free for whoever is sampled next.
    exposition.publish(&node(), &[sample(2, 98)], &[]);
    assert_eq!(sum_of(&exposition.render(), "tenantry_node_tenants_summed"), 0.0);
}

fn sum_of_class(text: &str, class: &str) -> f64 {
    let needle = format!("class=\"{class}\"");
    text.lines()
        .filter(|line| line.starts_with("tenantry_tenant_requests_total{") && line.contains(&needle))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[test]
fn counters_go_on_over_samples_and_over_totals_that_begin_anew() {
    let exposition = Exposition::new(2, FOREVER).unwrap();
    let mut first = sample(1, 10);
    let seconds = |exposition: &Exposition| sum_of(&exposition.render(), "tenantry_tenant_cpu_seconds_total");
    exposition.publish(&node(), std::slice::from_ref(&first), &[]);
    assert_eq!(seconds(&exposition), 2.0);
    first.cpu_micros_total = 3_100_000;
    exposition.publish(&node(), std::slice::from_ref(&first), &[]);
    assert_eq!(seconds(&exposition), 3.0);
    // The database was closed and opened again.
    first.cpu_micros_total = 900_000;
    first.usage.rows_read = 7;
    exposition.publish(&node(), std::slice::from_ref(&first), &[]);
    assert_eq!(seconds(&exposition), 4.0);
    assert_eq!(sum_of(&exposition.render(), "tenantry_tenant_rows_read_total"), 1_007.0);
}

#[test]
fn series_of_closed_tenants_go_away_and_those_of_open_ones_stay() {
    let exposition = Exposition::new(10, Duration::from_millis(30)).unwrap();
    exposition.publish(&node(), &[sample(1, 50), sample(2, 50)], &[]);
    assert!(exposition.render().contains("tenant-2"));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        exposition.publish(&node(), &[], &[TenantUid::from_u128(2)]);
        let text = exposition.render();
        assert!(text.contains("tenant-1") && text.contains("tenantry_node_open_tenants"));
        if !text.contains("tenant-2") {
            break;
        }
        assert!(Instant::now() < deadline, "the series are still there");
        std::thread::yield_now();
    }
    let counted = sum_of(
        &exposition.render(),
        "tenantry_tenant_requests_total{tenant=\"tenant-1\",class=\"2xx\"}",
    );
    assert_eq!(counted, 50.0, "an open tenant without new requests keeps its totals");
}
