//! The frame around every value in sled: length, CRC-32 and the key again.
//!
//! It tells apart a good value, a damaged one, and a good one that came back under the wrong key.

use super::binary::{Input, Malformed, put_blob};

/// Wraps a value that is to be stored under `key`.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(key.len() + value.len() + 8);
    put_blob(&mut body, key);
    put_blob(&mut body, value);
    let mut framed = Vec::with_capacity(body.len() + 4);
    framed.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    framed.extend_from_slice(&body);
    framed
}

/// Unwraps a value that was found under `key`.
pub(super) fn open<'a>(key: &[u8], framed: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let mut input = Input(framed);
    let crc = input.u32()?;
    if crc32fast::hash(input.0) != crc {
        return Err(Malformed("checksum"));
    }
    if input.blob()? != key {
        return Err(Malformed("key echo"));
    }
    let value = input.blob()?;
    input.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_changed_byte_or_another_key_is_noticed(key: Vec<u8>, value: Vec<u8>, at: usize, flip in 1..=255_u8) {
            let mut framed = seal(&key, &value);
            prop_assert_eq!(open(&key, &framed), Ok(value.as_slice()));
            let mut other = key.clone();
            other.push(0);
            prop_assert!(open(&other, &framed).is_err());
            let at = at % framed.len();
            framed[at] ^= flip;
            prop_assert!(open(&key, &framed).is_err());
        }
    }
}
