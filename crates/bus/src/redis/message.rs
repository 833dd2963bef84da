//! What topics say on their channels, and what stands in their hashes.

use bytes::Bytes;
use fred::types::Value;

use crate::fields::{Fields, Members, Name, Patch};

/// Place of a topic in its history: epoch and seq. A higher one is newer.
pub type At = (u64, u64);

/// A word on a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub at: At,
    pub news: News,
}

#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// What changed since the number before.
    Delta(Patch),
    /// The topic came into being; the whole state.
    Created(Patch),
    /// Another epoch began: the state must be read.
    Raised,
    /// The final state.
    End(Members),
}

impl Message {
    /// `<kind><epoch> <seq>\n`, then per field `<bytes of name>,<bytes of value>:<name><value>`; made by the scripts.
    pub fn read(text: &[u8]) -> Option<Self> {
        let (kind, rest) = text.split_first()?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (epoch, seq) = std::str::from_utf8(&rest[..end]).ok()?.split_once(' ')?;
        let at = (epoch.parse().ok()?, seq.parse().ok()?);
        let fields = read_fields(&rest[end + 1..])?;
        let news = match kind {
            b'd' => News::Delta(fields.patch()),
            b'c' => News::Created(fields.patch()),
            b'r' => News::Raised,
            b'e' => {
                let mut members = Members::default();
                members.apply(&fields.patch());
                News::End(members)
            }
            _ => return None,
        };
        Some(Self { at, news })
    }
}

fn read_fields(mut rest: &[u8]) -> Option<Fields> {
    let mut fields = Fields::new();
    while !rest.is_empty() {
        let colon = rest.iter().position(|byte| *byte == b':')?;
        let (name_bytes, value_bytes) = std::str::from_utf8(&rest[..colon]).ok()?.split_once(',')?;
        let (name_bytes, value_bytes): (usize, usize) = (name_bytes.parse().ok()?, value_bytes.parse().ok()?);
        let name = rest.get(colon + 1..)?.get(..name_bytes)?;
        let value = rest.get(colon + 1 + name_bytes..)?.get(..value_bytes)?;
        fields.set(std::str::from_utf8(name).ok()?.to_owned(), |out| out.extend_from_slice(value));
        rest = &rest[colon + 1 + name_bytes + value_bytes..];
    }
    Some(fields)
}

/// A topic as its hash has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub at: At,
    pub members: Members,
    pub ended: bool,
}

impl Kept {
    /// From the answer to `HGETALL`; `None` if there is no topic.
    pub fn read(hash: Value) -> Option<Self> {
        let (mut epoch, mut seq, mut ended, mut fields) = (None, None, false, Vec::<(Name, Bytes)>::new());
        for (key, value) in hash.into_map().ok()?.inner() {
            let key = key.into_string()?;
            match key.as_str() {
                "e" => epoch = value.as_u64(),
                "s" => seq = value.as_u64(),
                "x" => ended = true,
                name => {
                    if let Some(name) = name.strip_prefix('=') {
                        fields.push((name.to_owned().into(), value.into_bytes()?));
                    }
                }
            }
        }
        // The map has lost the order; any order will do, as long as it is the same each time.
        fields.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Some(Self { at: (epoch?, seq?), members: fields.into_iter().collect(), ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_or_nothing() {
        let text = br#"d1700000000000 7
5,3:phase"x"4,4:seennull"#;
        let message = Message::read(text).expect("whole");
        let News::Delta(patch) = &message.news else { panic!("{message:?}") };
        assert_eq!(message.at, (1_700_000_000_000, 7));
        assert_eq!(&patch.text()[..], br#""phase":"x","seen":null"#);
        // Cut anywhere but between two fields, it is no message.
        let between = [text.len() - 12, text.iter().position(|byte| *byte == b'\n').expect("a line") + 1];
        for cut in 1..text.len() {
            assert_eq!(Message::read(&text[..cut]).is_some(), between.contains(&cut), "{cut}");
        }
        assert!(Message::read(b"").is_none() && Message::read(b"q1 2\n").is_none());
    }
}
