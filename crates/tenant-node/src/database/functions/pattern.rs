//! `X LIKE Y`, `X LIKE Y ESCAPE Z`, `X GLOB Y`: SQLite's rules, with pauses.
//!
//! Where a part of the text does not fit, only the last `%` or `*` takes more: what came before it fits whatever it takes. At worst all
//! of the pattern is compared at each place of the text.

use std::ffi::CStr;

use memchr::{memchr, memchr2};

use super::pause::Pause;
use super::utf8::{Reader, code, first_length};
use crate::database::raw_sqlite::functions::{Answer, Call, Failure, Function, Planned};

const TOO_COMPLEX: &CStr = c"LIKE or GLOB pattern too complex";
const ONE_CHARACTER: &CStr = c"ESCAPE expression must be a single character";

/// Bytes that are searched between two pauses.
const STRETCH: usize = 1 << 16;

/// Which of the patterns it is.
pub(super) struct Pattern {
    /// Any characters.
    all: u8,
    /// Any one character.
    one: u8,
    /// Begins a set of characters; zero where there are none.
    set: u8,
    ignores_case: bool,
    pause: Pause,
}

impl Pattern {
    pub(super) const fn like(case_sensitive: bool, pause: Pause) -> Self {
        Self {
            all: b'%',
            one: b'_',
            set: 0,
            ignores_case: !case_sensitive,
            pause,
        }
    }

    pub(super) const fn glob(pause: Pause) -> Self {
        Self {
            all: b'*',
            one: b'?',
            set: b'[',
            ignores_case: false,
            pause,
        }
    }
}

impl Function for Pattern {
    fn planned(&self) -> Planned {
        Planned::AsPattern {
            wildcards: [self.all, self.one, self.set],
            ignores_case: self.ignores_case,
        }
    }

    fn call<'a>(&self, call: &Call<'a>) -> Result<Answer<'a>, Failure> {
        let [pattern, text, rest @ ..] = call.arguments else {
            return Ok(Answer::Null);
        };
        if pattern
            .text()
            .is_some_and(|pattern| pattern.len() > call.limit_pattern_bytes())
        {
            return Err(Failure::Words(TOO_COMPLEX));
        }
        let mut rules = Rules {
            all: Some(u32::from(self.all)),
            one: Some(u32::from(self.one)),
            set: (self.set != 0).then(|| u32::from(self.set)),
            escape: None,
            ignores_case: self.ignores_case,
        };
        if let [escape, ..] = rest {
            let Some(escape) = escape.text() else {
                return Ok(Answer::Null);
            };
            let escape = until_nul(escape);
            if escape.is_empty() || first_length(escape) != escape.len() {
                return Err(Failure::Words(ONE_CHARACTER));
            }
            let escape = code(escape);
            rules.all = rules.all.filter(|all| *all != escape);
            rules.one = rules.one.filter(|one| *one != escape);
            rules.escape = Some(escape);
        }
        let (Some(pattern), Some(text)) = (pattern.text(), text.text()) else {
            return Ok(Answer::Null);
        };
        let fits = rules.fit(until_nul(pattern), until_nul(text), &self.pause)?;
        Ok(Answer::Integer(i64::from(fits)))
    }
}

fn until_nul(text: &[u8]) -> &[u8] {
    &text[..memchr(0, text).unwrap_or(text.len())]
}

struct Rules {
    all: Option<u32>,
    one: Option<u32>,
    set: Option<u32>,
    escape: Option<u32>,
    ignores_case: bool,
}

/// What comes right behind a `%` or `*`, and has to be found first.
#[derive(Clone, Copy)]
enum Sought {
    /// The same letter in both cases, or twice the same.
    Ascii(u8, u8),
    Character(u32),
    /// A set, which the pattern goes on with.
    Any,
}

/// The last `%` or `*`.
struct Star<'a> {
    sought: Sought,
    /// The pattern behind what is sought.
    pattern: Reader<'a>,
    /// Where to look for the next place.
    text: Reader<'a>,
}

/// How far a comparison came.
enum Came<'a> {
    ToTheEnd,
    /// It does not fit here.
    NotHere,
    /// It fits nowhere.
    Nowhere,
    ToStar(Star<'a>),
}

impl Rules {
    fn fit(&self, pattern: &[u8], text: &[u8], pause: &Pause) -> Result<bool, Failure> {
        let mut came = self.compare(&mut Reader { rest: pattern }, &mut Reader { rest: text });
        let mut star = None;
        loop {
            match came {
                Came::ToTheEnd => return Ok(true),
                Came::Nowhere => return Ok(false),
                Came::NotHere => {}
                Came::ToStar(new) => star = Some(new),
            }
            let Some(star) = &mut star else { return Ok(false) };
            let Some(place) = star.next_place(pause)? else {
                return Ok(false);
            };
            let (mut pattern, mut text) = (star.pattern, place);
            came = self.compare(&mut pattern, &mut text);
            // Of both: one character that is no UTF-8 can be megabytes of the text.
            let compared = (star.pattern.rest.len() - pattern.rest.len()) + (place.rest.len() - text.rest.len());
            pause.after(1 + compared)?;
        }
    }

    /// Compares up to the next `%` or `*`.
    fn compare<'a>(&self, pattern: &mut Reader<'a>, text: &mut Reader<'a>) -> Came<'a> {
        loop {
            let mut expected = pattern.next();
            if expected == 0 {
                return if text.rest.is_empty() {
                    Came::ToTheEnd
                } else {
                    Came::NotHere
                };
            }
            if Some(expected) == self.all {
                return self.star(*pattern, *text);
            }
            let mut escaped = false;
            if Some(expected) == self.escape {
                expected = pattern.next();
                if expected == 0 {
                    return Came::NotHere;
                }
                escaped = true;
            } else if Some(expected) == self.set {
                if !in_set(pattern, text.next()) {
                    return Came::NotHere;
                }
                continue;
            }
            let found = text.next();
            let fits = expected == found
                || (self.ignores_case && equal_but_for_case(expected, found))
                || (Some(expected) == self.one && !escaped && found != 0);
            if !fits {
                return Came::NotHere;
            }
        }
    }

    /// Behind a `%` or `*`.
    fn star<'a>(&self, mut pattern: Reader<'a>, mut text: Reader<'a>) -> Came<'a> {
        let (expected, at_expected) = loop {
            let at_this = pattern;
            let this = pattern.next();
            if this != 0 && Some(this) == self.one {
                if text.next() == 0 {
                    return Came::Nowhere;
                }
            } else if this == 0 || Some(this) != self.all {
                break (this, at_this);
            }
        };
        if expected == 0 {
            return Came::ToTheEnd;
        }
        let sought = if Some(expected) == self.set {
            return Came::ToStar(Star {
                sought: Sought::Any,
                pattern: at_expected,
                text,
            });
        } else if Some(expected) == self.escape {
            pattern.next()
        } else {
            expected
        };
        let sought = match u8::try_from(sought) {
            Ok(0) => return Came::Nowhere,
            Ok(ascii @ ..0x80) if self.ignores_case => {
                Sought::Ascii(ascii.to_ascii_lowercase(), ascii.to_ascii_uppercase())
            }
            Ok(ascii @ ..0x80) => Sought::Ascii(ascii, ascii),
            _ => Sought::Character(sought),
        };
        Came::ToStar(Star { sought, pattern, text })
    }
}

impl<'a> Star<'a> {
    /// The text behind the next place where what is sought is.
    fn next_place(&mut self, pause: &Pause) -> Result<Option<Reader<'a>>, Failure> {
        match self.sought {
            Sought::Ascii(lower, upper) => loop {
                let stretch = &self.text.rest[..self.text.rest.len().min(STRETCH)];
                if stretch.is_empty() {
                    return Ok(None);
                }
                let found = memchr2(lower, upper, stretch);
                let passed = found.map_or(stretch.len(), |place| place + 1);
                self.text.rest = &self.text.rest[passed..];
                if found.is_some() {
                    return Ok(Some(self.text));
                }
                pause.after(passed)?;
            },
            Sought::Character(sought) => loop {
                let before = self.text.rest.len();
                match self.text.next() {
                    0 => return Ok(None),
                    found if found == sought => return Ok(Some(self.text)),
                    _ => pause.after(before - self.text.rest.len())?,
                }
            },
            Sought::Any => {
                let place = self.text;
                let is_place = self.text.next() != 0;
                pause.after(place.rest.len() - self.text.rest.len())?;
                Ok(is_place.then_some(place))
            }
        }
    }
}

fn equal_but_for_case(one: u32, other: u32) -> bool {
    match (u8::try_from(one), u8::try_from(other)) {
        (Ok(one), Ok(other)) => one.eq_ignore_ascii_case(&other),
        _ => false,
    }
}

/// Whether the set that the pattern goes on with, behind its `[`, has the character. The pattern then goes on behind the set.
fn in_set(pattern: &mut Reader<'_>, character: u32) -> bool {
    if character == 0 {
        return false;
    }
    let mut this = pattern.next();
    let inverted = this == u32::from(b'^');
    if inverted {
        this = pattern.next();
    }
    let mut has = false;
    if this == u32::from(b']') {
        has = character == this;
        this = pattern.next();
    }
    let mut before = 0;
    while this != 0 && this != u32::from(b']') {
        if this == u32::from(b'-') && before > 0 && !matches!(pattern.rest.first(), None | Some(b']')) {
            let last = pattern.next();
            has |= before <= character && character <= last;
            before = 0;
        } else {
            has |= this == character;
            before = this;
        }
        this = pattern.next();
    }
    this != 0 && has != inverted
}
