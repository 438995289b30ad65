//! Text for header values. Those of a single answer are cut from a buffer that many share: one allocation for dozens of
//! answers. Only names of ours and numbers are written.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

/// Room that is taken at a time. A value keeps the whole buffer alive until it is dropped.
const BUFFER_BYTES: usize = 4 << 10;
/// What the longest value may need: three policies with two numbers of 15 digits each.
const LONGEST_VALUE: usize = 256;

thread_local! {
    static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A header value that is kept for long: with bytes of its own.
pub(super) fn lasting_value(write: impl FnOnce(&mut HeaderText<'_>)) -> HeaderValue {
    let mut buffer = BytesMut::with_capacity(LONGEST_VALUE / 2);
    write(&mut HeaderText { buffer: &mut buffer });
    into_value(buffer.freeze())
}

/// A header value of one answer.
pub(super) fn passing_value(write: impl FnOnce(&mut HeaderText<'_>)) -> HeaderValue {
    let text = BUFFER.with_borrow_mut(|buffer| {
        if buffer.capacity() < LONGEST_VALUE {
            buffer.reserve(BUFFER_BYTES);
        }
        write(&mut HeaderText { buffer });
        buffer.split().freeze()
    });
    into_value(text)
}

/// The same, a number and nothing else.
pub(crate) fn passing_number(number: u64) -> HeaderValue {
    passing_value(|text| text.number(number))
}

#[expect(clippy::expect_used, reason = "names and numbers are visible ASCII")]
fn into_value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).expect("visible ASCII")
}

/// A list of RFC 9651 that is being written.
pub(super) struct HeaderText<'buffer> {
    buffer: &'buffer mut BytesMut,
}

impl HeaderText<'_> {
    /// A member: a string with parameters.
    pub(super) fn member(&mut self, name: &str, parameters: fmt::Arguments<'_>) {
        let separator = if self.buffer.is_empty() { "" } else { ", " };
        // Writing to memory cannot fail: the buffer grows.
        let _ = write!(self.buffer, "{separator}\"{name}\";{parameters}");
    }

    fn number(&mut self, number: u64) {
        // As above.
        let _ = write!(self.buffer, "{number}");
    }
}
