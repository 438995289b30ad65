//! Timestamps.

use prost_types::Timestamp;
use tenantry_types::UnixMillis;

use super::InvalidField;

/// The timestamp of a time.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "neither number can be too large")]
#[expect(clippy::expect_used, reason = "u64::MAX / 1000 and 999,000,000 are within the range")]
pub fn timestamp(time: UnixMillis) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(time.0 / 1000).expect("at most u64::MAX / 1000"),
        nanos: i32::try_from(time.0 % 1000 * 1_000_000).expect("below a second"),
    }
}

/// The time of a timestamp, without what is finer than a millisecond.
///
/// # Errors
/// When it lies before 1970, is not normalized, or does not fit.
pub fn unix_millis(field: &str, timestamp: &Timestamp) -> Result<UnixMillis, InvalidField> {
    let invalid = |reason| InvalidField::new(field, reason);
    let seconds = u64::try_from(timestamp.seconds).map_err(|_| invalid("must not be before 1970"))?;
    let nanos = u64::try_from(timestamp.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .ok_or_else(|| invalid("must have nanos from 0 to 999,999,999"))?;
    seconds
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(nanos / 1_000_000))
        .map(UnixMillis)
        .ok_or_else(|| invalid("is too far in the future"))
}

/// Like [`unix_millis`], for a field that must be there.
pub(super) fn required(field: &str, timestamp: Option<&Timestamp>) -> Result<UnixMillis, InvalidField> {
    unix_millis(field, timestamp.ok_or_else(|| InvalidField::missing(field))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_time_is_refused() {
        let cases = [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)];
        for (seconds, nanos) in cases {
            let error = unix_millis("when", &Timestamp { seconds, nanos }).unwrap_err();
            assert_eq!(error.field, "when");
        }
    }

    proptest! {
        #[test]
        fn a_time_reads_back(millis in any::<u64>()) {
            let time = UnixMillis(millis);
            prop_assert_eq!(unix_millis("when", &timestamp(time)), Ok(time));
        }
    }
}
