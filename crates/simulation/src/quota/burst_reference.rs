//! The burst limit as a bucket that leaks, between two bounds: what a changed limit makes of a bucket that is partly full
//! is rounded to whole requests, so that the level is known to one request only, until the bucket is empty.

use std::time::Duration;

use tenantry_layers::Burst;

/// Room for what is rounded to nanoseconds.
const ROUNDING: f64 = 0.001;

/// How full the bucket is.
#[derive(Debug, Default)]
pub(super) struct BurstReference {
    limit: Option<Burst>,
    least: f64,
    most: f64,
    at: Duration,
}

impl BurstReference {
    /// The process is another one: it has an empty bucket.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Leaks up to `now`, under the limit that is in force there.
    pub(super) fn advance(&mut self, limit: Option<Burst>, now: Duration) {
        let leaked = self.limit.map_or(0.0, |limit| {
            (now - self.at).as_secs_f64() * f64::from(limit.requests_per_second)
        });
        self.at = now;
        self.least = (self.least - leaked).max(0.0);
        self.most = (self.most - leaked).max(0.0);
        if limit == self.limit {
            return;
        }
        let size = limit.map_or(0.0, |limit| f64::from(limit.size));
        let full = self.limit.is_some();
        self.least = if full { (self.least - 1.0).clamp(0.0, size) } else { 0.0 };
        self.most = if full { (self.most + 1.0).min(size) } else { 0.0 };
        self.limit = limit;
    }

    /// Whether one more certainly does not fit.
    pub(super) fn is_certainly_full(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.least + 1.0 > f64::from(limit.size) + ROUNDING)
    }

    /// Whether one more may not fit.
    pub(super) fn may_be_full(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.most + 1.0 > f64::from(limit.size) - ROUNDING)
    }

    pub(super) fn admit(&mut self) {
        let size = self.limit.map_or(f64::MAX, |limit| f64::from(limit.size));
        self.least += 1.0;
        self.most = (self.most + 1.0).min(size.max(self.least));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_and_leaks() {
        let limit = Some(Burst {
            requests_per_second: 2,
            size: 2,
        });
        let mut bucket = BurstReference::default();
        bucket.advance(limit, Duration::from_secs(1));
        // To the nanosecond nobody can say of the last place.
        for (may_be, certainly) in [(false, false), (true, false), (true, true)] {
            assert_eq!((bucket.may_be_full(), bucket.is_certainly_full()), (may_be, certainly));
            if !certainly {
                bucket.admit();
            }
        }
        bucket.advance(limit, Duration::from_millis(1_400));
        assert!(bucket.is_certainly_full());
        bucket.advance(limit, Duration::from_millis(1_600));
        assert!(!bucket.may_be_full());
    }
}
