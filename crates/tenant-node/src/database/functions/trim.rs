//! `trim(X,Y)`, `ltrim(X,Y)`, `rtrim(X,Y)`: X without the characters of Y at its ends.

use std::collections::HashMap;

use super::pause::Pause;
use super::utf8::{continues, first_length};
use crate::database::memory::Reserved;
use crate::database::raw_sqlite::functions::{Answer, Call, Failure, Function};

/// What SQLite's own takes for each character of the set: where that is more than a blob may have, the call fails.
const BYTES_PER_CHARACTER_IN_SQLITE: usize = 12;

/// What a hash map of this size takes for each entry, at most.
const BYTES_PER_ENTRY: usize = 40;

/// Characters of more bytes are no UTF-8, and not hashed.
const LONGEST_KEY: usize = 7;

/// Steps that one lookup counts for.
const LOOKUP_STEPS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Left,
    Right,
    Both,
}

pub(super) struct Trim(pub(super) Ends, pub(super) Pause);

impl Function for Trim {
    fn call<'a>(&self, call: &Call<'a>) -> Result<Answer<'a>, Failure> {
        let [Some(text), Some(set)] = [call.arguments.first(), call.arguments.get(1)]
            .map(|argument| argument.and_then(|argument| argument.text()))
        else {
            return Ok(Answer::Null);
        };
        let Self(ends, pause) = self;
        // A NUL ends the set.
        let set = &set[..memchr::memchr(0, set).unwrap_or(set.len())];
        let set = Set::read(set, call.limit_bytes(), pause)?;
        let mut rest = text;
        if *ends != Ends::Right {
            while let Some(length) = set.at_start(rest, pause)? {
                rest = &rest[length..];
            }
        }
        if *ends != Ends::Left {
            while let Some(length) = set.at_end(rest, pause)? {
                rest = &rest[..rest.len() - length];
            }
        }
        Ok(Answer::Text(rest))
    }
}

/// Characters, of which the first that fits is taken away, as in SQLite. That matters where the text is no UTF-8: one can begin with another.
enum Set<'a> {
    Hashed {
        /// For each byte, where it stands among the characters, if it is one.
        single: Box<[u32; 256]>,
        longer: HashMap<u64, u32>,
        _reserved: Reserved,
    },
    /// With characters that are too long to be hashed: looked through from its beginning each time, with pauses.
    Plain(&'a [u8]),
}

/// Of a byte that is no character of the set.
const NOWHERE: u32 = u32::MAX;

impl<'a> Set<'a> {
    fn read(set: &'a [u8], limit_bytes: usize, pause: &Pause) -> Result<Self, Failure> {
        let (mut count, mut count_longer, mut longest) = (0_usize, 0, 0);
        let mut rest = set;
        while !rest.is_empty() {
            let length = first_length(rest);
            count += 1;
            count_longer += usize::from(length > 1);
            longest = longest.max(length);
            pause.after(length)?;
            rest = &rest[length..];
        }
        if count.saturating_mul(BYTES_PER_CHARACTER_IN_SQLITE) > limit_bytes {
            return Err(Failure::TooBig);
        }
        if longest > LONGEST_KEY {
            return Ok(Self::Plain(set));
        }
        let mut reserved = Reserved::default();
        if !reserved.more(count_longer * BYTES_PER_ENTRY) {
            return Err(Failure::OutOfMemory);
        }
        let mut single = Box::new([NOWHERE; 256]);
        let mut longer = HashMap::with_capacity(count_longer);
        let mut rest = set;
        let mut order = 0;
        while let Some(first) = rest.first() {
            let (character, behind) = rest.split_at(first_length(rest));
            if character.len() == 1 {
                let known = &mut single[usize::from(*first)];
                *known = order.min(*known);
            } else {
                longer.entry(key(character)).or_insert(order);
                pause.after(LOOKUP_STEPS)?;
            }
            pause.after(1)?;
            order += 1;
            rest = behind;
        }
        Ok(Self::Hashed {
            single,
            longer,
            _reserved: reserved,
        })
    }

    /// The length of the character that the text begins with.
    fn at_start(&self, text: &[u8], pause: &Pause) -> Result<Option<usize>, Failure> {
        let Some(lead) = text.first() else { return Ok(None) };
        let (single, longer) = match self {
            Self::Plain(set) => return first_fit(set, pause, |character| text.starts_with(character)),
            Self::Hashed { single, longer, .. } => (single, longer),
        };
        pause.after(1)?;
        let mut best = (single[usize::from(*lead)], 1);
        if *lead >= 0xc0 && !longer.is_empty() {
            let whole = first_length(&text[..text.len().min(LONGEST_KEY)]);
            for length in 2..=whole {
                let order = longer.get(&key(&text[..length])).copied().unwrap_or(NOWHERE);
                best = best.min((order, length));
                pause.after(LOOKUP_STEPS)?;
            }
        }
        Ok((best.0 != NOWHERE).then_some(best.1))
    }

    /// The length of the character that the text ends with.
    fn at_end(&self, text: &[u8], pause: &Pause) -> Result<Option<usize>, Failure> {
        let Some(last) = text.last() else { return Ok(None) };
        let (single, longer) = match self {
            Self::Plain(set) => return first_fit(set, pause, |character| text.ends_with(character)),
            Self::Hashed { single, longer, .. } => (single, longer),
        };
        pause.after(1)?;
        let mut best = (single[usize::from(*last)], 1);
        if continues(*last) && !longer.is_empty() {
            let near = text.iter().rev().take(LONGEST_KEY);
            let length = 1 + near.take_while(|byte| continues(**byte)).count();
            if length <= text.len().min(LONGEST_KEY) {
                let order = longer
                    .get(&key(&text[text.len() - length..]))
                    .copied()
                    .unwrap_or(NOWHERE);
                best = best.min((order, length));
                pause.after(LOOKUP_STEPS)?;
            }
        }
        Ok((best.0 != NOWHERE).then_some(best.1))
    }
}

fn first_fit(set: &[u8], pause: &Pause, fits: impl Fn(&[u8]) -> bool) -> Result<Option<usize>, Failure> {
    let mut rest = set;
    while !rest.is_empty() {
        let (character, behind) = rest.split_at(first_length(rest));
        pause.after(character.len())?;
        if fits(character) {
            return Ok(Some(character.len()));
        }
        rest = behind;
    }
    Ok(None)
}

/// The bytes and how many there are.
fn key(character: &[u8]) -> u64 {
    let bytes = character.iter().take(LONGEST_KEY);
    bytes.fold(character.len() as u64, |key, byte| key << 8 | u64::from(*byte))
}
