//! Figures as people read them.

use jiff::Timestamp;
use tenantry_types::ByteSize;

/// Stands for a figure that there is none of.
pub(super) const NONE: &str = "-";
/// Stands for a figure that takes longer to measure.
pub(super) const NOT_YET: &str = "not enough data yet";

/// RFC 3339 in UTC; `None` for no time and for one that no calendar has.
pub(super) fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos)
        .ok()
        .map(|time| time.to_string())
}

pub(super) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// With thousands set apart by commas.
pub(super) fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Use over limit; `None` without a limit.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
pub(super) fn share(used: u64, limit: u64) -> Option<f64> {
    (limit > 0).then(|| used as f64 / limit as f64)
}

/// 0.125 is `12.5 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// In the unit that keeps the number readable.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// A rate in bytes an hour; negative when shrinking.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the sign is written apart"
)]
pub(super) fn growth(bytes_per_hour: f64) -> String {
    let sign = if bytes_per_hour < 0.0 { "-" } else { "" };
    format!("{sign}{}/h", ByteSize(bytes_per_hour.abs().round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(
            [0_u64, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([0.0000005, 0.0125, 2.5].map(seconds), ["0 µs", "12.5 ms", "2.50 s"]);
        assert_eq!(
            [1536.0, -1024.0, 0.2, f64::NAN].map(growth),
            ["1.5 KiB/h", "-1 KiB/h", "0 B/h", "0 B/h"]
        );
        assert_eq!(share(5, 0), None);
        assert_eq!(share(5, 20).map(percent).as_deref(), Some("25.0 %"));
    }

    #[test]
    fn a_time_that_no_calendar_has_is_none() {
        let at = |seconds, nanos| time(Some(&prost_types::Timestamp { seconds, nanos }));
        assert_eq!(at(0, 500_000_000).as_deref(), Some("1970-01-01T00:00:00.5Z"));
        assert_eq!(at(i64::MAX, 0), None);
        assert_eq!(at(0, i32::MIN), None);
        assert_eq!(time(None), None);
    }
}
