//! What happened, line by line, and a hash over all lines: two runs with one hash did the same.

use std::collections::VecDeque;
use std::fmt;

/// Keeps the last lines, and hashes every line (64-bit FNV-1a).
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    keep: usize,
}

impl Trace {
    pub(super) const fn new(keep: usize) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: VecDeque::new(),
            keep,
        }
    }

    /// Adds a line.
    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        // The oldest line's memory serves the newest.
        let mut text = match self.lines.len() >= self.keep {
            true => self.lines.pop_front().unwrap_or_default(),
            false => String::new(),
        };
        text.clear();
        // A string takes whatever is written to it.
        let _ = fmt::write(&mut text, line);
        self.hash = fnv1a(self.hash, text.as_bytes());
        self.hash = fnv1a(self.hash, b"\n");
        if self.keep > 0 {
            self.lines.push_back(text);
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}

/// Stands for bytes in a line.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    fnv1a(0xcbf2_9ce4_8422_2325, bytes)
}

fn fnv1a(start: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(start, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_longer_kept_still_count() {
        let written = |lines: [&str; 3], keep| {
            let mut trace = Trace::new(keep);
            lines.iter().for_each(|line| trace.note(format_args!("{line}")));
            (trace.hash(), trace.take_lines())
        };
        let (hash, lines) = written(["a", "b", "c"], 2);
        assert_eq!(lines, ["b", "c"]);
        assert_eq!(hash, written(["a", "b", "c"], 9).0);
        assert_ne!(hash, written(["x", "b", "c"], 2).0);
        assert_ne!(hash, written(["ab", "", "c"], 2).0);
        assert_eq!(written(["a", "b", "c"], 0), (hash, vec![]));
    }
}
