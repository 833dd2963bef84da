//! Where a reader stands in a topic: one text form for both kinds of topic and all three transports.

use std::fmt;
use std::str::FromStr;

/// `epoch.seq` of a state topic, `generation.event` of a log topic; written as two decimal numbers with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cursor {
    /// Epoch of a state topic or generation of a log: only grows.
    pub epoch: u64,
    /// Number of the last frame applied inside the epoch.
    pub seq: u64,
}

/// The text is not two decimal numbers with a dot between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is two decimal numbers with a dot between them")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, seq) = text.split_once('.').ok_or(InvalidCursor)?;
        Ok(Self { epoch: decimal(epoch)?, seq: decimal(seq)? })
    }
}

/// Digits only: `u64::from_str` would also take a plus sign.
fn decimal(text: &str) -> Result<u64, InvalidCursor> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidCursor);
    }
    text.parse().map_err(|_| InvalidCursor)
}

/// Reads a list of cursors, in the order of a URL's topics: `12.3,-,9.0`, where `-` means "none".
///
/// # Errors
/// More than `limit` entries, or one that is neither a cursor nor `-`.
pub fn parse_list(text: &str, limit: usize) -> Result<Vec<Option<Cursor>>, InvalidCursor> {
    let mut cursors = Vec::new();
    for part in text.split(',') {
        if cursors.len() == limit {
            return Err(InvalidCursor);
        }
        cursors.push(if part == "-" { None } else { Some(part.parse()?) });
    }
    Ok(cursors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_undoes_display() {
        for cursor in [Cursor::default(), Cursor { epoch: u64::MAX, seq: 1 }, Cursor { epoch: 7, seq: u64::MAX }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", ".", "1", "1.", ".1", "+1.2", "1.2.3", "1.-2", "99999999999999999999.0", " 1.2"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }

    #[test]
    fn lists_keep_their_gaps_and_their_limit() {
        assert_eq!(parse_list("1.2,-", 2), Ok(vec![Some(Cursor { epoch: 1, seq: 2 }), None]));
        assert!(parse_list("-,-,-", 2).is_err());
    }
}
