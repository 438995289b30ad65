//! `unhex(X,Y)`: the bytes that the pairs of hexadecimal digits in X stand for, with characters of Y between the pairs.

use std::collections::HashSet;

use super::pause::Pause;
use super::utf8::{code, first_length};
use crate::database::memory::Reserved;
use crate::database::raw_sqlite::functions::{Answer, Buffer, Call, Failure, Function};

/// What one character of a set takes, at most.
const BYTES_PER_CHARACTER: usize = 20;

pub(super) struct Unhex(pub(super) Pause);

impl Function for Unhex {
    fn call<'a>(&self, call: &Call<'a>) -> Result<Answer<'a>, Failure> {
        let [Some(digits), Some(between)] = [call.arguments.first(), call.arguments.get(1)]
            .map(|argument| argument.and_then(|argument| argument.text()))
        else {
            return Ok(Answer::Null);
        };
        // A NUL ends the digits.
        let digits = &digits[..memchr::memchr(0, digits).unwrap_or(digits.len())];
        let mut made = Buffer::with_capacity(digits.len() / 2)?;
        let mut between = Between::new(between);
        let mut rest = digits;
        while let Some(first) = rest.first() {
            self.0.after(1)?;
            let Some(high) = value(*first) else {
                let (character, behind) = rest.split_at(first_length(rest));
                if !between.holds(code(character), &self.0)? {
                    return Ok(Answer::Null);
                }
                rest = behind;
                continue;
            };
            let Some(low) = rest.get(1).copied().and_then(value) else {
                return Ok(Answer::Null);
            };
            made.append(&[high << 4 | low])?;
            rest = &rest[2..];
        }
        Ok(Answer::MadeBlob(made))
    }
}

fn value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// The characters that may stand between pairs. Read when the first one is asked for.
struct Between<'a> {
    text: &'a [u8],
    known: Option<(HashSet<u32>, Reserved)>,
}

impl<'a> Between<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Self { text, known: None }
    }

    fn holds(&mut self, character: u32, pause: &Pause) -> Result<bool, Failure> {
        let (known, _) = match &mut self.known {
            Some(known) => known,
            None => self.known.insert(read(self.text, pause)?),
        };
        Ok(known.contains(&character))
    }
}

fn read(text: &[u8], pause: &Pause) -> Result<(HashSet<u32>, Reserved), Failure> {
    let mut known = HashSet::new();
    let mut reserved = Reserved::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (character, behind) = rest.split_at(first_length(rest));
        if known.insert(code(character)) && !reserved.more(BYTES_PER_CHARACTER) {
            return Err(Failure::OutOfMemory);
        }
        pause.after(16)?;
        rest = behind;
    }
    Ok((known, reserved))
}
