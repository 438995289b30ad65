//! The name of one log on one disk, which no other log ever has.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Drawn at random when a member's log is created, and lost with it: a member that comes back with another one has lost
/// what it promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(NonZeroU64);

impl LogId {
    /// `None` for 0, which stands for "not known".
    #[must_use]
    pub fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// Not 16 hexadecimal digits, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a log id: 16 hexadecimal digits, not all 0")]
pub struct InvalidLogId;

impl FromStr for LogId {
    type Err = InvalidLogId;

    fn from_str(text: &str) -> Result<Self, InvalidLogId> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.and_then(Self::new).ok_or(InvalidLogId)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_id_reads_back_as_written_and_nothing_else_is_one() {
        let id = LogId::new(0xabc).unwrap();
        assert_eq!(id.to_string(), "0000000000000abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "abc", "0000000000000000", "+000000000000abc", "00000000000000xy"] {
            assert_eq!(other.parse::<LogId>(), Err(InvalidLogId), "{other}");
        }
        assert_eq!(LogId::new(0), None);
    }
}
