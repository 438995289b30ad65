//! `instr(X,Y)`: where Y first is in X, in characters, or in bytes if both are blobs.

use super::pause::Pause;
use super::search::Search;
use super::utf8::continues;
use crate::database::raw_sqlite::functions::{Answer, Argument, Call, Failure, Function};

pub(super) struct Instr(pub(super) Pause);

impl Function for Instr {
    fn call<'a>(&self, call: &Call<'a>) -> Result<Answer<'a>, Failure> {
        let [haystack, needle] = call.arguments else {
            return Ok(Answer::Null);
        };
        let by_bytes = matches!((haystack, needle), (Argument::Blob(_), Argument::Blob(_)));
        let (Some(haystack), Some(needle)) = (haystack.text(), needle.text()) else {
            return Ok(Answer::Null);
        };
        let Some(first) = needle.first() else {
            return Ok(Answer::Integer(1));
        };
        let place = if !by_bytes && continues(*first) {
            // SQLite compares where characters begin, and at the very beginning whatever is there.
            haystack.starts_with(needle).then_some(0)
        } else {
            Search::new(needle, &self.0).next(haystack, 0)?
        };
        let Some(place) = place else {
            return Ok(Answer::Integer(0));
        };
        let before = if by_bytes || place == 0 {
            place
        } else {
            haystack[1..=place].iter().filter(|byte| !continues(**byte)).count()
        };
        Ok(Answer::Integer(
            i64::try_from(before).unwrap_or(i64::MAX).saturating_add(1),
        ))
    }
}
