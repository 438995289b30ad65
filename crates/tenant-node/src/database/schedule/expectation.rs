//! What class a tenant's next job is expected to be of, told from its last ones, as multi-level feedback queues do it. Pure.
//!
//! A job shows that it is a long one only when it has been in everybody's way for some milliseconds. A tenant whose jobs are all like that
//! would be in the way with each of them anew. A tenant that has short ones among them is not held to the long ones: its short jobs would wait for
//! the places of the long ones.

/// Whether a job has run for long, or is expected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Short,
    Long,
}

/// So much does a short job take away of what long ones added: three of four must be long for long ones to be expected.
const SHORT_COUNTS: u8 = 3;
/// From so many long ones on.
const EXPECTED_FROM: u8 = 4;
/// More are not kept in mind: two short jobs change the expectation.
const MOST: u8 = 8;

/// Of one tenant. In the beginning its jobs are expected to be short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Expectation {
    long: u8,
}

impl Expectation {
    pub(super) const fn class(self) -> Class {
        if self.long >= EXPECTED_FROM {
            Class::Long
        } else {
            Class::Short
        }
    }

    pub(super) fn learn(&mut self, class: Class) {
        self.long = match class {
            Class::Long => MOST.min(self.long + 1),
            Class::Short => self.long.saturating_sub(SHORT_COUNTS),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(classes: impl IntoIterator<Item = Class>) -> Class {
        let mut expectation = Expectation::default();
        classes.into_iter().for_each(|class| expectation.learn(class));
        expectation.class()
    }

    #[test]
    fn long_jobs_are_expected_of_a_tenant_that_has_hardly_any_others() {
        use Class::{Long, Short};
        assert_eq!(after([Long; 3]), Short);
        assert_eq!(after([Long; 4]), Long);
        assert_eq!(after([Long; 1000].into_iter().chain([Short; 2])), Short);
        // One in five is short, and one in two.
        let mostly_long = [Short, Long, Long, Long, Long].into_iter().cycle();
        assert_eq!(after(mostly_long.take(500)), Long);
        let mixed = [Long, Short].into_iter().cycle();
        assert_eq!(after(mixed.take(501)), Short);
    }
}
