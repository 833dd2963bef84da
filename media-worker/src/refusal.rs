//! Why a picture is not taken: a code for programs, and a sentence for whoever runs the restaurant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is wrong with a picture. Trying the same file again gives the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No bytes.
    Empty,
    /// A format that is not taken: HEIC, AVIF, SVG and everything that is no picture.
    UnsupportedFormat,
    /// Too many bytes.
    TooLarge,
    /// Too many pixels, or too much memory to decode them.
    TooManyPixels,
    /// One side is too long.
    SideTooLong,
    /// One side is too short.
    TooSmall,
    /// The file ends too early.
    Truncated,
    /// The file contradicts its own format.
    Damaged,
    /// Colours whose meaning the file does not tell (CMYK without a profile).
    UnknownColours,
}

impl Code {
    /// All of them, for documents and counters.
    pub const ALL: [Self; 9] = [
        Self::Empty,
        Self::UnsupportedFormat,
        Self::TooLarge,
        Self::TooManyPixels,
        Self::SideTooLong,
        Self::TooSmall,
        Self::Truncated,
        Self::Damaged,
        Self::UnknownColours,
    ];

    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::UnsupportedFormat => "unsupported_format",
            Self::TooLarge => "too_large",
            Self::TooManyPixels => "too_many_pixels",
            Self::SideTooLong => "side_too_long",
            Self::TooSmall => "too_small",
            Self::Truncated => "truncated",
            Self::Damaged => "damaged",
            Self::UnknownColours => "unknown_colours",
        }
    }

    /// The code with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// See [`Code`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong with the value seen, and what to do.
    pub sentence: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }

    pub(crate) fn truncated() -> Self {
        Self::new(
            Code::Truncated,
            "The file ends too early: a part of the photo is missing. Please upload it again from the original.",
        )
    }

    pub(crate) fn damaged() -> Self {
        Self::new(Code::Damaged, "The file is damaged and cannot be read. Please upload it again from the original.")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.sentence)
    }
}

impl std::error::Error for Refusal {}
