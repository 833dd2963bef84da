//! The Autobahn suite's cases for a server's reader, by their numbers, and a few of our own.

use super::super::write;
use super::*;
use proptest::prelude::*;

const LIMITS: ReadLimits = ReadLimits { message_bytes_max: 70_000, fragments_max: 64 };

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

/// A client's frame, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut unmasked = Vec::new();
    write::frame(&mut unmasked, Opcode::Text, payload);
    let head = unmasked.len() - payload.len();
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = unmasked[..head].to_vec();
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().enumerate().map(|(place, byte)| byte ^ mask[place % 4]));
    bytes
}

/// Feeds `bytes` in pieces of `chop` and returns what was heard and how it ended.
fn read(bytes: &[u8], chop: usize) -> (Vec<Heard>, Result<(), Violation>) {
    let (mut reader, mut heard) = (Reader::default(), Vec::new());
    for piece in bytes.chunks(chop.max(1)) {
        let mut piece = piece.to_vec();
        let fed = reader.feed(&mut piece, LIMITS, &mut |incoming| {
            let (what, flow) = match incoming {
                Incoming::Text(text) => (Heard::Text(text.into()), Flow::On),
                Incoming::Binary(bytes) => (Heard::Binary(bytes.into()), Flow::On),
                Incoming::Ping(bytes) => (Heard::Ping(bytes.into()), Flow::On),
                Incoming::Pong(bytes) => (Heard::Pong(bytes.into()), Flow::On),
                Incoming::Close(code) => (Heard::Close(code), Flow::Stop),
            };
            heard.push(what);
            flow
        });
        match fed {
            Ok(Flow::On) => {}
            Ok(Flow::Stop) => return (heard, Ok(())),
            Err(violation) => return (heard, Err(violation)),
        }
    }
    (heard, Ok(()))
}

/// The same in one piece, byte by byte, and in odd pieces.
fn check(frames: &[Vec<u8>], expected: &[Heard], end: Result<(), Violation>) {
    let bytes = frames.concat();
    for chop in [bytes.len().max(1), 1, 7, 997] {
        let (heard, ended) = read(&bytes, chop);
        assert_eq!(heard, expected, "in pieces of {chop}");
        match (end, ended) {
            (Ok(()), Ok(())) => {}
            (Err(Violation::Protocol("")), Err(Violation::Protocol(_))) => {}
            (expected, ended) => assert_eq!(ended, expected, "in pieces of {chop}"),
        }
    }
}

const FORBIDDEN: Result<(), Violation> = Err(Violation::Protocol(""));
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CONTINUE: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

fn text(text: &str) -> Heard {
    Heard::Text(text.into())
}

#[test]
fn case_1_messages_of_every_length() {
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = "*".repeat(length);
        check(&[frame(TEXT, payload.as_bytes())], &[text(&payload)], Ok(()));
        check(&[frame(BINARY, payload.as_bytes())], &[Heard::Binary(payload.into_bytes())], Ok(()));
    }
}

#[test]
fn case_2_pings_and_pongs() {
    let ping = |payload: &[u8]| Heard::Ping(payload.into());
    check(&[frame(PING, b"")], &[ping(b"")], Ok(()));
    check(&[frame(PING, b"Hello")], &[ping(b"Hello")], Ok(()));
    check(&[frame(PING, &[0, 255, 254, 253])], &[ping(&[0, 255, 254, 253])], Ok(()));
    check(&[frame(PING, &[254; 125])], &[ping(&[254; 125])], Ok(()));
    check(&[frame(PING, &[254; 126])], &[], FORBIDDEN);
    // A small length written long; found by the fuzzer, which saw it refused in pieces only.
    check(&[vec![PING, 0x80 | 126, 0, 1, 0, 0, 0, 0, b'x']], &[], FORBIDDEN);
    check(&[vec![PING, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'x']], &[], FORBIDDEN);
    check(&[frame(PONG, b"unasked")], &[Heard::Pong(b"unasked".to_vec())], Ok(()));
    let pings: Vec<_> = (0..10_u8).map(|n| frame(PING, &[n])).collect();
    let heard: Vec<_> = (0..10_u8).map(|n| ping(&[n])).collect();
    check(&pings, &heard, Ok(()));
}

#[test]
fn case_3_reserved_bits() {
    for bits in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        check(&[frame(TEXT, b"ok"), frame(TEXT | bits, b"x")], &[text("ok")], FORBIDDEN);
        check(&[frame(PING | bits, b"x")], &[], FORBIDDEN);
        check(&[frame(CLOSE | bits, b"")], &[], FORBIDDEN);
    }
}

#[test]
fn case_4_reserved_opcodes() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        check(&[frame(TEXT, b"ok"), frame(0x80 | opcode, b"")], &[text("ok")], FORBIDDEN);
        check(&[frame(0x80 | opcode, b"payload")], &[], FORBIDDEN);
    }
}

#[test]
fn case_5_fragments() {
    let (first, more, last) = (
        |payload: &[u8]| frame(0x01, payload),
        |payload: &[u8]| frame(0x00, payload),
        |payload: &[u8]| frame(CONTINUE, payload),
    );
    check(&[frame(0x09, b"a"), frame(CONTINUE, b"b")], &[], FORBIDDEN);
    check(&[frame(0x0A, b"a"), frame(CONTINUE, b"b")], &[], FORBIDDEN);
    check(&[first(b"fragment1"), last(b"fragment2")], &[text("fragment1fragment2")], Ok(()));
    check(&[first(b"a"), frame(PING, b"p"), last(b"b")], &[Heard::Ping(b"p".to_vec()), text("ab")], Ok(()));
    check(&[last(b"of nothing")], &[], FORBIDDEN);
    check(&[more(b"of nothing"), last(b"x")], &[], FORBIDDEN);
    check(&[first(b"a"), last(b"b"), last(b"c")], &[text("ab")], FORBIDDEN);
    check(&[first(b"a"), frame(TEXT, b"b")], &[], FORBIDDEN);
    check(&[first(b"a"), first(b"b")], &[], FORBIDDEN);
    check(&[first(b"a"), frame(BINARY, b"b")], &[], FORBIDDEN);
    let pinged = [first(b"1"), more(b"2"), frame(PING, b"x"), more(b"3"), more(b"4"), frame(PING, b"y"), last(b"5")];
    check(&pinged, &[Heard::Ping(b"x".to_vec()), Heard::Ping(b"y".to_vec()), text("12345")], Ok(()));
    check(&[frame(0x02, &[1]), last(&[2])], &[Heard::Binary(vec![1, 2])], Ok(()));
}

#[test]
fn case_6_utf_8() {
    let good = "Hello-µ@ßöäüàá-UTF-8!! κόσμε \u{0} \u{7ff} \u{ffff} \u{10ffff}";
    check(&[frame(TEXT, good.as_bytes())], &[text(good)], Ok(()));
    // Cut inside a letter: only the whole message has to be UTF-8.
    for cut in 0..good.len() {
        let (head, tail) = good.as_bytes().split_at(cut);
        check(&[frame(0x01, head), frame(CONTINUE, tail)], &[text(good)], Ok(()));
    }
    let bad: [&[u8]; 13] = [
        &[0xCE, 0xBA, 0xE1, 0xBD, 0xB9, 0xCF, 0x83, 0xCE, 0xBC, 0xCE, 0xB5, 0xED, 0xA0, 0x80, 0x65],
        &[0xF4, 0x90, 0x80, 0x80],
        &[0x80],
        &[0xBF],
        &[0xC0, 0xAF],
        &[0xE0, 0x80, 0xAF],
        &[0xF0, 0x80, 0x80, 0xAF],
        &[0xFE],
        &[0xFF],
        &[0xC1, 0xBF],
        &[0xED, 0xA0, 0x80],
        &[0xED, 0xBF, 0xBF],
        &[0xF8, 0x88, 0x80, 0x80, 0x80],
    ];
    for bytes in bad {
        check(&[frame(TEXT, bytes)], &[], Err(Violation::NotText));
        check(&[frame(0x01, b"ok"), frame(CONTINUE, bytes)], &[], Err(Violation::NotText));
    }
    check(&[frame(TEXT, "κόσ".as_bytes().split_last().unwrap().1)], &[], Err(Violation::NotText));
    check(&[frame(BINARY, &[0xFF])], &[Heard::Binary(vec![0xFF])], Ok(()));
}

#[test]
fn case_7_closing() {
    let close = |code: u16, reason: &[u8]| frame(CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    check(&[frame(CLOSE, b"")], &[Heard::Close(1000)], Ok(()));
    check(&[frame(TEXT, b"x"), close(1000, b""), frame(PING, b"after")], &[text("x"), Heard::Close(1000)], Ok(()));
    check(&[close(1000, &[b'*'; 123])], &[Heard::Close(1000)], Ok(()));
    check(&[close(1000, &[b'*'; 124])], &[], FORBIDDEN);
    check(&[frame(CLOSE, b"a")], &[], FORBIDDEN);
    check(&[close(1000, &[0xCE, 0xBA, 0xE1])], &[], Err(Violation::NotText));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        check(&[close(code, b"")], &[Heard::Close(code)], Ok(()));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        check(&[close(code, b"")], &[], FORBIDDEN);
    }
}

#[test]
fn case_9_limits() {
    check(&[frame(TEXT, &[b'x'; 70_000])], &[text(&"x".repeat(70_000))], Ok(()));
    check(&[frame(TEXT, &[b'x'; 70_001])], &[], Err(Violation::TooBig));
    check(&[frame(0x01, &[b'x'; 40_000]), frame(CONTINUE, &[b'x'; 40_000])], &[], Err(Violation::TooBig));
    let mut many = vec![frame(0x01, b"")];
    many.extend((0..64).map(|_| frame(0x00, b"")));
    check(&many, &[], Err(Violation::TooBig));
    // 64 MiB announced: refused by the header, before anything is kept for it.
    let announced = [&[TEXT, 0xFF][..], &(64_u64 << 20).to_be_bytes()].concat();
    check(&[announced], &[], Err(Violation::TooBig));
    let absurd = [&[BINARY, 0xFF][..], &u64::MAX.to_be_bytes()].concat();
    check(&[absurd], &[], Err(Violation::TooBig));
}

#[test]
fn a_frame_without_mask_is_refused() {
    let mut bytes = Vec::new();
    write::frame(&mut bytes, Opcode::Text, b"hello");
    check(&[bytes], &[], FORBIDDEN);
}

#[test]
fn an_idle_reader_owns_no_memory() {
    let mut reader = Reader::default();
    for chop in [1, 5, 100] {
        for piece in [frame(0x01, b"ab"), frame(CONTINUE, b"cd"), frame(TEXT, b"ef")].concat().chunks(chop) {
            reader.feed(&mut piece.to_vec(), LIMITS, &mut |_| Flow::On).unwrap();
        }
        assert!(!reader.is_waiting());
        assert_eq!(reader.unfinished.capacity() + reader.message.capacity(), 0);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered_the_same_however_they_are_cut(bytes: Vec<u8>, chop in 1_usize..40) {
        prop_assert_eq!(read(&bytes, bytes.len().max(1)), read(&bytes, chop));
    }

    #[test]
    fn messages_survive_any_fragmentation(message in ".{0,200}", cuts in prop::collection::vec(0_usize..200, 0..6), chop in 1_usize..50) {
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < message.len()).collect();
        cuts.sort_unstable();
        let (mut frames, mut start) = (Vec::new(), 0);
        for cut in cuts {
            frames.push(frame(u8::from(frames.is_empty()), &message.as_bytes()[start..cut]));
            start = cut;
        }
        let last = if frames.is_empty() { TEXT } else { CONTINUE };
        frames.push(frame(last, &message.as_bytes()[start..]));
        prop_assert_eq!(read(&frames.concat(), chop), (vec![text(&message)], Ok(())));
    }

    #[test]
    fn unmasking_equals_the_slow_way(payload: Vec<u8>, mask: [u8; 4]) {
        let expected: Vec<u8> = payload.iter().enumerate().map(|(place, byte)| byte ^ mask[place % 4]).collect();
        let mut fast = payload;
        unmask(&mut fast, mask);
        prop_assert_eq!(fast, expected);
    }
}
