//! Fields of Protocol Buffers, written by hand: nothing is built first and nothing is allocated but what the buffer must grow by.

use prost::encoding::encode_varint;

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH: u32 = 2;

fn key(out: &mut Vec<u8>, field: u32, kind: u32) {
    encode_varint(u64::from(field << 3 | kind), out);
}

/// A signed number as an unsigned one: small ones stay small.
pub fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// A number; 0 is left out, as proto3 wants it.
pub fn number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        number_anyway(out, field, number);
    }
}

/// A number that is told even if it is 0: of an `optional` field or a `oneof`.
pub fn number_anyway(out: &mut Vec<u8>, field: u32, number: u64) {
    key(out, field, VARINT);
    encode_varint(number, out);
}

/// A `double` of a `oneof`.
pub fn double_anyway(out: &mut Vec<u8>, field: u32, number: f64) {
    key(out, field, EIGHT_BYTES);
    out.extend_from_slice(&number.to_le_bytes());
}

/// A text; an empty one is left out.
pub fn text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        text_anyway(out, field, text);
    }
}

/// A text that is told even if it is empty.
pub fn text_anyway(out: &mut Vec<u8>, field: u32, text: &str) {
    key(out, field, LENGTH);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// A message, or packed numbers, that `body` appends. Its length is known afterwards: one byte is kept free for it, and what is longer is moved.
pub fn nested<R>(out: &mut Vec<u8>, field: u32, body: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    key(out, field, LENGTH);
    let start = out.len() + 1;
    out.push(0);
    let result = body(out);
    let length = out.len() - start;
    if length < 128 {
        out[start - 1] = length as u8;
        return result;
    }
    // Written behind the body, then turned to its front.
    out.remove(start - 1);
    let end = out.len();
    encode_varint(length as u64, out);
    let written = out.len() - end;
    out[start - 1..].rotate_right(written);
    result
}
