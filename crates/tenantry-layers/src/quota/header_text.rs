//! Text for header values. Those of a single answer are cut from a buffer that many share: one allocation for dozens of
//! answers. Only names of ours and numbers are written.

use std::cell::RefCell;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderValue;

/// Room that is taken at a time. A value keeps the whole buffer alive until it is dropped.
const BUFFER_BYTES: usize = 4 << 10;
/// What the longest value may need: three policies with two numbers of 15 digits each.
const LONGEST_VALUE: usize = 256;
/// Of a number of 64 bits.
const MOST_DIGITS: usize = 20;

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
    passing_value(|text| {
        text.number(number);
    })
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
    /// Begins a member: a string, of which the parameters follow.
    pub(super) fn member(&mut self, name: &str) -> &mut Self {
        if !self.buffer.is_empty() {
            self.text(", ");
        }
        self.quoted(name)
    }

    /// A parameter of the member before: a number.
    pub(super) fn parameter(&mut self, name: &str, number: u64) -> &mut Self {
        self.text(";").text(name).text("=").number(number)
    }

    /// A parameter of the member before: a string.
    pub(super) fn string_parameter(&mut self, name: &str, value: &str) -> &mut Self {
        self.text(";").text(name).text("=").quoted(value)
    }

    fn quoted(&mut self, name: &str) -> &mut Self {
        self.text("\"").text(name).text("\"")
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.buffer.put_slice(text.as_bytes());
        self
    }

    /// Each answer has several: what a formatter does beside the digits took as long as all of the rest.
    fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [b'0'; MOST_DIGITS];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            // Below 10.
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            used += 1;
            if number == 0 {
                break;
            }
        }
        self.buffer
            .put_slice(digits.get(MOST_DIGITS - used..).unwrap_or_default());
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_as_everywhere(number in prop_oneof![any::<u64>(), 0..2_000_u64, Just(u64::MAX)]) {
            prop_assert_eq!(passing_number(number), number.to_string());
        }
    }

    #[test]
    fn a_value_is_a_list_of_strings_with_parameters() {
        let value = lasting_value(|text| {
            text.member("a").parameter("q", 0).string_parameter("qu", "b");
            text.member("c").parameter("w", 10);
        });
        assert_eq!(value, r#""a";q=0;qu="b", "c";w=10"#);
    }
}
