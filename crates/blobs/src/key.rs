//! Names of files. They are made by us from ids and hashes, never by those who upload.

use std::fmt;

/// Longest key, bytes.
const LENGTH_MAX: usize = 200;

/// A key: words of lower-case letters, digits, `_`, `-` and single dots inside, joined by slashes. No word is empty or begins with a dot, so no key leads out of its prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

/// The text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key of a file")]
pub struct InvalidKey(pub String);

impl Key {
    /// Checks a text.
    ///
    /// # Errors
    /// It is no key.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
        let is_word = |word: &str| {
            !word.is_empty() && !word.starts_with('.') && !word.contains("..") && word.bytes().all(is_plain)
        };
        if text.len() <= LENGTH_MAX && text.split('/').all(is_word) {
            return Ok(Self(text.into()));
        }
        Err(InvalidKey(text.chars().take(LENGTH_MAX).collect()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_its_place() {
        for good in ["stores/sto_0a/originals/ff00", "a", "a/b-c_d.webp", "320x240.jpg"] {
            assert!(Key::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "a/./b",
            "a/.hidden",
            "a..b",
            "A",
            "a b",
            "a\\b",
            "a\0b",
            "a%2e%2e/b",
            "c:",
            "é",
            "a/\u{c0}\u{ae}",
            "a\nb",
            "a?b",
            "a#b",
        ] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        assert!(Key::new("a".repeat(LENGTH_MAX)).is_ok());
        assert!(Key::new("a".repeat(LENGTH_MAX + 1)).is_err());
        assert_eq!(InvalidKey("x".into()).to_string(), "\"x\" is no key of a file");
    }
}
