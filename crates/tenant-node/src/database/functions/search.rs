//! The places of one text in another, in linear time and with pauses.

use memchr::memmem::Finder;

use super::pause::Pause;
use crate::database::raw_sqlite::functions::Failure;

/// Bytes that are searched between two pauses, unless what is searched for is longer.
const STRETCH: usize = 1 << 16;

/// Looks for a text that is not empty.
pub(super) struct Search<'a> {
    finder: Finder<'a>,
    pause: &'a Pause,
}

impl<'a> Search<'a> {
    pub(super) fn new(needle: &'a [u8], pause: &'a Pause) -> Self {
        Self {
            finder: Finder::new(needle),
            pause,
        }
    }

    pub(super) fn needle_length(&self) -> usize {
        self.finder.needle().len()
    }

    /// The first place at or after `from`.
    pub(super) fn next(&self, haystack: &[u8], from: usize) -> Result<Option<usize>, Failure> {
        let needle = self.needle_length();
        // A long needle is looked for in long stretches: two of them overlap by its length.
        let stretch = STRETCH.max(needle);
        let mut from = from;
        while haystack.len().saturating_sub(from) >= needle {
            let end = haystack.len().min(from.saturating_add(stretch + needle - 1));
            if let Some(place) = self.finder.find(&haystack[from..end]) {
                self.pause.after(place + needle)?;
                return Ok(Some(from + place));
            }
            self.pause.after(end - from)?;
            from += stretch;
        }
        Ok(None)
    }
}
