//! Conditions between the steps of a batch: pure logic.

/// When a step is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Ok(usize),
    Error(usize),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    IsAutocommit,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepOutcome {
    Succeeded,
    Failed,
    Skipped,
}

impl Condition {
    pub(super) fn holds(&self, outcomes: &[StepOutcome], is_autocommit: bool) -> bool {
        match self {
            Self::Ok(step) => outcomes.get(*step) == Some(&StepOutcome::Succeeded),
            Self::Error(step) => outcomes.get(*step) == Some(&StepOutcome::Failed),
            Self::Not(inner) => !inner.holds(outcomes, is_autocommit),
            Self::And(all) => all.iter().all(|inner| inner.holds(outcomes, is_autocommit)),
            Self::Or(any) => any.iter().any(|inner| inner.holds(outcomes, is_autocommit)),
            Self::IsAutocommit => is_autocommit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_follow_the_protocol() {
        use Condition::{And, Error, IsAutocommit, Not, Ok, Or};
        let outcomes = [StepOutcome::Succeeded, StepOutcome::Failed, StepOutcome::Skipped];
        let cases = [
            (Ok(0), true),
            (Ok(1), false),
            (Ok(2), false),
            (Ok(9), false),
            (Error(0), false),
            (Error(1), true),
            (Error(2), false),
            (Not(Box::new(Ok(2))), true),
            (And(vec![]), true),
            (Or(vec![]), false),
            (And(vec![Ok(0), Error(1)]), true),
            (And(vec![Ok(0), Error(2)]), false),
            (Or(vec![Ok(1), Error(1)]), true),
            (IsAutocommit, true),
            (Not(Box::new(IsAutocommit)), false),
        ];
        for (condition, expected) in cases {
            assert_eq!(condition.holds(&outcomes, true), expected, "{condition:?}");
        }
        assert!(!IsAutocommit.holds(&outcomes, false));
    }
}
