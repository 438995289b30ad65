//! What was seen of each fault, as lines of a table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::rows::{Outcome, Request};

/// The table's head.
pub(crate) const HEAD: &str = "\
| fault | lasted | packets hit | direct: requests, failed, longest gap | forwarded: requests, failed, longest gap | longest without a leader \
| next change after the beginning / after the end | wrong rows / lost changes |\n|---|---|---|---|---|---|---|---|";

/// What clients saw of a fault.
pub(crate) struct Service {
    /// Sent or answered while it lasted.
    pub(crate) requests: usize,
    /// By reason.
    pub(crate) failures: BTreeMap<String, usize>,
    longest_gap: Duration,
}

impl Service {
    /// Of these clients' requests.
    pub(crate) fn of(requests: &[Request], span: (Instant, Instant)) -> Self {
        let during = requests
            .iter()
            .filter(|request| request.ended >= span.0 && request.began < span.1);
        let mut failures = BTreeMap::new();
        for request in during.clone() {
            if let Outcome::Refused(reason) | Outcome::Unknown(reason) = &request.outcome {
                *failures.entry(reason.clone()).or_default() += 1;
            }
        }
        let gaps = (0..4).map(|client| {
            let of = requests.iter().filter(|request| request.client == client);
            let acknowledged = of.filter(|request| request.outcome == Outcome::Acknowledged);
            gap(&acknowledged.map(|request| request.ended).collect::<Vec<_>>(), span)
        });
        Self {
            requests: during.count(),
            failures,
            longest_gap: gaps.max().unwrap_or_default(),
        }
    }

    /// For the table.
    pub(crate) fn told(&self) -> String {
        let failed: usize = self.failures.values().sum();
        let reasons: Vec<String> = self
            .failures
            .iter()
            .map(|(reason, count)| format!("{count} × {reason}"))
            .collect();
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!(" ({})", reasons.join(", "))
        };
        format!("{}, {failed}{reasons}, {}", self.requests, seconds(self.longest_gap))
    }
}

/// The longest time between two of these moments that has a part in the span.
pub(crate) fn gap(moments: &[Instant], (began, healed): (Instant, Instant)) -> Duration {
    let pairs = moments.windows(2).map(|pair| (pair[0], pair[1]));
    let touching = pairs.filter(|(from, to)| *to > began && *from < healed);
    touching.map(|(from, to)| to - from).max().unwrap_or_default()
}

/// For the table.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
