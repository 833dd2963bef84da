//! Decoded pixels, in the way the file stores them: not yet upright, not yet sRGB.

use image::metadata::Orientation;

/// What the numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Three bytes a pixel.
    Rgb,
    /// Four bytes a pixel, 255 is all ink.
    Cmyk,
}

impl Channels {
    pub const fn count(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

/// A picture as decoded.
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub channels: Channels,
    /// Row by row without gaps.
    pub bytes: Vec<u8>,
}

/// What a header tells, and what is needed of the rest.
pub struct Facts {
    /// As stored, pixels.
    pub width: u32,
    /// As stored, pixels.
    pub height: u32,
    /// How to turn it upright.
    pub orientation: Orientation,
    /// What the colours mean; sRGB if absent.
    pub profile: Option<Vec<u8>>,
}

impl Facts {
    /// Width and height once upright.
    pub fn upright(&self) -> (u32, u32) {
        match self.orientation.to_exif() {
            5..=8 => (self.height, self.width),
            _ => (self.width, self.height),
        }
    }
}
