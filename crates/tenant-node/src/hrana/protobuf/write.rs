//! Appends protobuf. A message's length stands before it and is known only after it: one byte is kept for it, and moved
//! apart where that is not enough.

use rusqlite::types::ValueRef;

use super::wire::{FIXED64, LENGTH, VARINT, varint};
use crate::database::{Column, ResultTooLarge};
use crate::hrana::encoding::{ErrorText, RowView, within};

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u8) {
    varint(out, u64::from(field) << 3 | u64::from(wire_type));
}

pub(super) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    tag(out, field, LENGTH);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn optional_string(out: &mut Vec<u8>, field: u32, text: Option<&str>) {
    if let Some(text) = text {
        bytes(out, field, text.as_bytes());
    }
}

pub(super) fn unsigned(out: &mut Vec<u8>, field: u32, number: u64) {
    tag(out, field, VARINT);
    varint(out, number);
}

pub(super) fn boolean(out: &mut Vec<u8>, field: u32, value: bool) {
    unsigned(out, field, u64::from(value));
}

fn signed(out: &mut Vec<u8>, field: u32, number: i64) {
    unsigned(out, field, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

pub(super) fn optional_signed(out: &mut Vec<u8>, field: u32, number: Option<i64>) {
    if let Some(number) = number {
        signed(out, field, number);
    }
}

/// Appends a message as a field.
pub(super) fn message<T>(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    tag(out, field, LENGTH);
    delimited(out, write)
}

/// Appends a message with its length in front. What `write` returns is passed on; a message that it breaks off is a fragment.
pub(super) fn delimited<T>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = out.len();
    out.push(0);
    let outcome = write(out);
    let length = out.len() - start - 1;
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => {
            if let Some(byte) = out.get_mut(start) {
                *byte = short;
            }
        }
        _ => {
            let mut prefix = Vec::with_capacity(10);
            varint(&mut prefix, length as u64);
            out.splice(start..=start, prefix);
        }
    }
    outcome
}

/// Makes what was appended since `start` a message inside messages; `fields` are their numbers from the inside out.
pub(super) fn enclose(out: &mut Vec<u8>, start: usize, fields: &[u32]) {
    let mut length = out.len() - start;
    let mut headers = Vec::with_capacity(fields.len());
    for field in fields {
        let mut header = Vec::with_capacity(6);
        tag(&mut header, *field, LENGTH);
        varint(&mut header, length as u64);
        length += header.len();
        headers.push(header);
    }
    out.splice(start..start, headers.into_iter().rev().flatten());
}

/// Makes what was appended since `start` the value of an entry in the map that is field `map`.
pub(super) fn enclose_in_map(out: &mut Vec<u8>, start: usize, map: u32, key: usize) {
    let mut inner = Vec::with_capacity(16);
    unsigned(&mut inner, 1, key as u64);
    tag(&mut inner, 2, LENGTH);
    varint(&mut inner, (out.len() - start) as u64);
    let mut header = Vec::with_capacity(24);
    tag(&mut header, map, LENGTH);
    varint(&mut header, (inner.len() + out.len() - start) as u64);
    header.append(&mut inner);
    out.splice(start..start, header);
}

/// Appends the fields of an `Error`.
pub(super) fn error(out: &mut Vec<u8>, error: ErrorText<'_>) {
    bytes(out, 1, error.message.as_bytes());
    bytes(out, 2, error.code.as_bytes());
}

/// Appends `Col` messages.
///
/// # Errors
/// When `out` outgrows `limit`; what is written is then a fragment.
pub(super) fn columns(
    out: &mut Vec<u8>,
    field: u32,
    columns: &[Column<'_>],
    limit: usize,
) -> Result<(), ResultTooLarge> {
    for column in columns {
        message(out, field, |out| {
            bytes(out, 1, column.name.as_bytes());
            optional_string(out, 2, column.declared_type);
        });
        within(out, limit)?;
    }
    within(out, limit)
}

/// Appends a `Row` message.
pub(super) fn row(out: &mut Vec<u8>, field: u32, row: &RowView<'_>) -> Result<(), ResultTooLarge> {
    message(out, field, |out| {
        row.write(out, |out, _, value| message(out, 1, |out| self::value(out, value)))
    })
}

/// Appends the field of a `Value`.
fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => bytes(out, 1, b""),
        ValueRef::Integer(number) => signed(out, 2, number),
        ValueRef::Real(number) => {
            tag(out, 3, FIXED64);
            out.extend_from_slice(&number.to_le_bytes());
        }
        // SQLite stores whatever bytes it was given; protobuf has UTF-8 only.
        ValueRef::Text(text) => bytes(out, 4, String::from_utf8_lossy(text).as_bytes()),
        ValueRef::Blob(blob) => bytes(out, 5, blob),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_finds_room_whatever_it_is() {
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 3_000_000] {
            let mut out = b"before".to_vec();
            delimited(&mut out, |out| out.resize(out.len() + length, 7));
            out.extend_from_slice(b"after");
            let mut rest = &out[6..];
            assert_eq!(prost::decode_length_delimiter(&mut rest).unwrap(), length);
            assert_eq!(rest.len(), length + 5, "{length}");
            assert!(rest.ends_with(b"\x07after") || length == 0);
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Numbers {
        #[prost(sint64, optional, tag = "1")]
        signed: Option<i64>,
        #[prost(uint64, tag = "2")]
        unsigned: u64,
        #[prost(map = "uint32, bytes", tag = "3")]
        map: std::collections::HashMap<u32, Vec<u8>>,
    }

    proptest! {
        #[test]
        fn numbers_and_maps_are_read_by_others(number: i64, plain: u64, key in 0usize..1 << 20, value: Vec<u8>) {
            let mut out = Vec::new();
            optional_signed(&mut out, 1, Some(number));
            unsigned(&mut out, 2, plain);
            let start = out.len();
            out.extend_from_slice(&value);
            enclose_in_map(&mut out, start, 3, key);
            let read = <Numbers as prost::Message>::decode(&*out).unwrap();
            prop_assert_eq!((read.signed, read.unsigned), (Some(number), plain));
            prop_assert_eq!(read.map.get(&u32::try_from(key).unwrap()), Some(&value));
        }
    }
}
