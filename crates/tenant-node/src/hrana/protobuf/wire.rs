//! Protobuf's wire format: numbers of variable length, and fields one after the other.

/// A number of variable length.
pub(super) const VARINT: u8 = 0;
/// Eight bytes.
pub(super) const FIXED64: u8 = 1;
/// A length and as many bytes.
pub(super) const LENGTH: u8 = 2;
/// Four bytes.
const FIXED32: u8 = 5;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    /// Of a kind that no field of this protocol has.
    Other,
}

/// The bytes are not protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("ends in the middle of a field")]
    Truncated,
    #[error("has a number that is too long")]
    LongNumber,
    #[error("has a field of an unknown kind")]
    UnknownKind,
}

/// The fields of a message, in the order in which they stand there.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::LongNumber)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u32, Content<'a>), WireError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| WireError::LongNumber)?;
        let content = match u8::try_from(tag & 7).unwrap_or(u8::MAX) {
            VARINT => Content::Varint(self.varint()?),
            FIXED64 => Content::Fixed64(self.array()?),
            LENGTH => Content::Bytes(self.bytes()?),
            FIXED32 => {
                self.array::<4>()?;
                Content::Other
            }
            _ => return Err(WireError::UnknownKind),
        };
        Ok((number, content))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Content<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends a number of variable length.
pub(super) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        out.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    out.push(low);
}

/// The number of a field of type `int32` or `uint32`: the rest of a longer one is cut off, as the format has it.
pub(super) const fn low_half(number: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = number.to_le_bytes();
    [a, b, c, d]
}

/// The number of a field of type `sint64`.
pub(super) const fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(number: u64) {
            let mut out = vec![8];
            varint(&mut out, number);
            let fields: Vec<_> = Fields::of(&out).collect();
            prop_assert_eq!(fields, [Ok((1, Content::Varint(number)))]);
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn what_is_not_protobuf_says_why() {
        for (bytes, error) in [
            (&[0x08][..], WireError::Truncated),
            (&[0x0a, 5, 1], WireError::Truncated),
            (&[0x09, 1, 2, 3], WireError::Truncated),
            (&[0xff; 11], WireError::LongNumber),
            (&[0x0b], WireError::UnknownKind),
            (
                &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                WireError::Truncated,
            ),
        ] {
            assert_eq!(Fields::of(bytes).last(), Some(Err(error)), "{bytes:?}");
        }
    }
}
