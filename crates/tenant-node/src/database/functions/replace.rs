//! `replace(X,Y,Z)`: X with Z for each Y.

use super::pause::Pause;
use super::search::Search;
use crate::database::raw_sqlite::functions::{Answer, Argument, Buffer, Call, Failure, Function};

pub(super) struct Replace(pub(super) Pause);

impl Function for Replace {
    fn call<'a>(&self, call: &Call<'a>) -> Result<Answer<'a>, Failure> {
        let [text, old, new] = call.arguments else {
            return Ok(Answer::Null);
        };
        let (Some(text), Some(old)) = (text.text(), old.text()) else {
            return Ok(Answer::Null);
        };
        if matches!(old.first(), None | Some(0)) {
            return Ok(Answer::Text(text));
        }
        let Some(new) = Argument::text(*new) else {
            return Ok(Answer::Null);
        };
        // SQLite wants room for a NUL behind the text before it looks at it.
        if text.len() >= call.limit_bytes() {
            return Err(Failure::TooBig);
        }
        let search = Search::new(old, &self.0);
        let Some(first) = search.next(text, 0)? else {
            return Ok(Answer::Text(text));
        };
        let length = self.length(&search, text, new.len(), first, call.limit_bytes())?;
        let mut made = Buffer::with_capacity(length)?;
        let (mut done, mut next) = (0, Some(first));
        while let Some(place) = next {
            made.append(&text[done..place])?;
            made.append(new)?;
            self.0.after(new.len())?;
            done = place + old.len();
            next = search.next(text, done)?;
        }
        made.append(&text[done..])?;
        Ok(Answer::MadeText(made))
    }
}

impl Replace {
    /// How long the result will be, so that it is not begun where it may not be, and takes no more memory than it needs.
    fn length(
        &self,
        search: &Search<'_>,
        text: &[u8],
        new: usize,
        first: usize,
        limit: usize,
    ) -> Result<usize, Failure> {
        let old = search.needle_length();
        let mut length = text.len();
        if new == old {
            return Ok(length);
        }
        let mut next = Some(first);
        while let Some(place) = next {
            length = length - old + new;
            if new > old && length > limit {
                return Err(Failure::TooBig);
            }
            next = search.next(text, place + old)?;
        }
        Ok(length)
    }
}
