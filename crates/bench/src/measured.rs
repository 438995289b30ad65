//! One sample of one side with its processor time, and what several rounds of two sides come to. Pure.

use std::time::Duration;

use crate::latency::{median, millis};
use crate::load::Sample;

/// What one side did in one round.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    /// Processor time of all its processes, for all calls.
    pub(crate) servers: Duration,
    /// Processor time of the client meanwhile.
    pub(crate) client: Duration,
}

impl Measured {
    /// Far less noisy than the rates on a busy machine.
    fn micros_a_call(&self, processor: Duration) -> f64 {
        let calls = u32::try_from(self.sample.calls).unwrap_or(u32::MAX);
        processor.as_secs_f64() * 1e6 / f64::from(calls.max(1))
    }
}

/// The cells "/s", "p50 ms", "p99 ms" and "CPU µs" (servers + client), medians over the rounds; dashes for no rounds.
pub(crate) fn cells(rounds: &[Measured]) -> [String; 4] {
    if rounds.is_empty() {
        return ["–", "–", "–", "–"].map(str::to_owned);
    }
    let of = |value: &dyn Fn(&Measured) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    [
        format!("{:.0}", of(&|measured| measured.sample.per_second)),
        short(of(&|measured| millis(measured.sample.latencies.p50()))),
        short(of(&|measured| millis(measured.sample.latencies.p99()))),
        format!(
            "{:.0} + {:.0}",
            of(&|measured| measured.micros_a_call(measured.servers)),
            of(&|measured| measured.micros_a_call(measured.client))
        ),
    ]
}

/// Of the rates: the median of the rounds' ratios, and each round's in brackets.
pub(crate) fn ratios(ours: &[Measured], baseline: &[Measured]) -> String {
    over_rounds(ours, baseline, |ours, baseline| {
        ours.sample.per_second / baseline.sample.per_second
    })
}

/// The same of calls for a second of processor time, server and client together: what the ratio of the rates comes to when
/// these two have the cores for themselves and keep them busy.
pub(crate) fn processor_ratios(ours: &[Measured], baseline: &[Measured]) -> String {
    over_rounds(ours, baseline, |ours, baseline| {
        let micros = |measured: &Measured| measured.micros_a_call(measured.servers + measured.client);
        micros(baseline) / micros(ours)
    })
}

/// Of the servers' processor time for a call, without the client's.
pub(crate) fn server_ratios(these: &[Measured], others: &[Measured]) -> String {
    over_rounds(these, others, |this, other| {
        this.micros_a_call(this.servers) / other.micros_a_call(other.servers)
    })
}

/// The servers' processor time for a call, in microseconds; the median of the rounds.
pub(crate) fn micros(rounds: &[Measured]) -> String {
    let each: Vec<f64> = rounds.iter().map(|round| round.micros_a_call(round.servers)).collect();
    format!("{:.1}", median(&each))
}

/// How many cores the servers keep busy at the rate of the calls; the median of the rounds.
pub(crate) fn cores(rounds: &[Measured]) -> String {
    let busy = |round: &Measured| round.micros_a_call(round.servers) / 1e6 * round.sample.per_second;
    let each: Vec<f64> = rounds.iter().map(busy).collect();
    format!("{:.2}", median(&each))
}

fn over_rounds(ours: &[Measured], baseline: &[Measured], ratio: impl Fn(&Measured, &Measured) -> f64) -> String {
    let pairs = ours.iter().zip(baseline);
    with_rounds(&pairs.map(|(ours, baseline)| ratio(ours, baseline)).collect::<Vec<_>>())
}

/// The median of the rounds' ratios, and each round's in brackets; a dash for no rounds.
pub(crate) fn with_rounds(ratios: &[f64]) -> String {
    if ratios.is_empty() {
        return "–".to_owned();
    }
    let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    format!("**{:.2}** ({})", median(ratios), each.join(" "))
}

/// Calls that failed, in all rounds.
pub(crate) fn failures(rounds: &[Measured]) -> u64 {
    rounds.iter().map(|measured| measured.sample.failures).sum()
}

/// Milliseconds without their unit.
pub(crate) fn short_millis(duration: Duration) -> String {
    short(millis(duration))
}

/// With as many decimals as a reader can use.
fn short(value: f64) -> String {
    let decimals = match value {
        _ if value < 0.1 => 3,
        _ if value < 10.0 => 2,
        _ => 1,
    };
    format!("{value:.decimals$}")
}

/// `12.3 ms`.
pub(crate) fn in_millis(duration: Duration) -> String {
    format!("{:.1} ms", millis(duration))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::latency::Latencies;

    pub(crate) fn measured(per_second: f64) -> Measured {
        Measured {
            sample: Sample {
                latencies: Latencies::of(vec![Duration::from_millis(3)]),
                per_second,
                calls: 500,
                failures: 1,
            },
            servers: Duration::from_millis(100),
            client: Duration::from_millis(50),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() {
        let ours = [100.0, 900.0, 400.0].map(measured);
        let baseline = [100.0, 300.0, 50.0].map(measured);
        assert_eq!(ratios(&ours, &baseline), "**3.00** (1.00 3.00 8.00)");
        assert_eq!(cells(&ours), ["400", "3.00", "3.00", "200 + 100"]);
        assert_eq!(failures(&ours), 3);
    }

    #[test]
    fn the_ratio_of_processor_time_is_that_of_what_a_call_costs_whatever_the_rates() {
        let (mut ours, baseline) = (measured(1.0), measured(100.0));
        ours.servers = Duration::from_millis(550);
        assert_eq!(processor_ratios(&[ours], &[baseline]), "**0.25** (0.25)");
    }

    #[test]
    fn what_servers_alone_use_is_told_without_the_client() {
        let (mut one, other) = (measured(1.0), measured(100.0));
        one.servers = Duration::from_millis(50);
        assert_eq!(server_ratios(&[one.clone()], &[other]), "**0.50** (0.50)");
        assert_eq!(micros(std::slice::from_ref(&one)), "100.0");
        one.sample.per_second = 5_000.0;
        assert_eq!(cores(&[one]), "0.50");
    }

    #[test]
    fn small_times_have_more_decimals() {
        for (micros, text) in [(4, "0.004"), (123, "0.12"), (1_234, "1.23"), (98_765, "98.8")] {
            assert_eq!(short_millis(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn without_rounds_there_are_no_figures() {
        assert_eq!(ratios(&[measured(1.0)], &[]), "–");
        assert_eq!(cells(&[]), ["–"; 4]);
    }
}
