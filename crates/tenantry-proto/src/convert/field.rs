//! What was wrong with a message.

use std::fmt::Display;

/// A field whose value cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    /// The path from the message down, such as `spec.quota.requests_per_day`.
    pub field: String,
    /// What is wrong, in words.
    pub reason: String,
}

impl InvalidField {
    /// A field and why it cannot be accepted.
    #[must_use]
    pub fn new(field: &str, reason: impl Display) -> Self {
        Self {
            field: field.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// A field that must be there.
    #[must_use]
    pub fn missing(field: &str) -> Self {
        Self::new(field, "must be given")
    }
}

/// Says in which field a failure happened.
pub trait Within<T> {
    /// # Errors
    /// The same failure, below `parent`.
    fn within(self, parent: &str) -> Result<T, InvalidField>;
}

impl<T> Within<T> for Result<T, InvalidField> {
    fn within(self, parent: &str) -> Self {
        self.map_err(|invalid| InvalidField {
            field: format!("{parent}.{}", invalid.field),
            reason: invalid.reason,
        })
    }
}

/// Reads a field with a function that knows nothing of fields.
pub(super) fn read<T, E: Display>(field: &str, value: Result<T, E>) -> Result<T, InvalidField> {
    value.map_err(|reason| InvalidField::new(field, reason))
}
