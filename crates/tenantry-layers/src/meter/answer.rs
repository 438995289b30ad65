//! Answers by class.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

/// What kind of answer a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerClass {
    /// 1xx and 2xx.
    Success,
    /// 3xx.
    Redirect,
    /// 4xx other than 429: the request was wrong.
    ClientError,
    /// 429: the tenant is at a request limit.
    Throttled,
    /// 5xx other than 507, and answers that broke off: we failed.
    ServerError,
    /// 507: the tenant is at its storage limit.
    StorageFull,
    /// The client left before there was an answer.
    Abandoned,
}

impl AnswerClass {
    /// All classes, in the order of [`ClassCounts`].
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Redirect,
        Self::ClientError,
        Self::Throttled,
        Self::ServerError,
        Self::StorageFull,
        Self::Abandoned,
    ];

    /// The class of a status.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            429 => Self::Throttled,
            507 => Self::StorageFull,
            300..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }

    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::Throttled => "429",
            Self::ServerError => "5xx",
            Self::StorageFull => "507",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Answers counted by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts([u64; AnswerClass::ALL.len()]);

impl ClassCounts {
    /// Counts one.
    pub const fn add(&mut self, class: AnswerClass) {
        self.0[class as usize] += 1;
    }

    /// Counts that are kept in the order of [`AnswerClass::ALL`], as they are now.
    pub(super) fn from_atomics(counts: &[AtomicU64; AnswerClass::ALL.len()]) -> Self {
        Self(std::array::from_fn(|class| counts[class].load(Relaxed)))
    }

    /// Answers of that class.
    #[must_use]
    pub const fn get(&self, class: AnswerClass) -> u64 {
        self.0[class as usize]
    }

    /// Answers of all classes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// These and those together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_tenant_are_told_apart_from_failures() {
        let cases = [
            (101, "2xx"),
            (200, "2xx"),
            (304, "3xx"),
            (404, "4xx"),
            (429, "429"),
            (500, "5xx"),
            (507, "507"),
            (599, "5xx"),
            (999, "5xx"),
        ];
        for (status, label) in cases {
            assert_eq!(AnswerClass::of(StatusCode::from_u16(status).unwrap()).as_str(), label);
        }
        for (place, class) in AnswerClass::ALL.into_iter().enumerate() {
            let mut counts = ClassCounts::default();
            counts.add(class);
            assert_eq!((counts.0[place], counts.get(class), counts.total()), (1, 1, 1));
        }
    }
}
