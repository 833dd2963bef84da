//! What a picture may be. Everything here is checked on the header, before a buffer for pixels exists.

use serde::{Deserialize, Serialize};

use crate::refusal::{Code, Refusal};

/// Bounds of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes_max: u64,
    /// Width times height as declared; of an animation, of its canvas.
    pub pixels_max: u64,
    /// The longer side, pixels.
    pub side_px_max: u32,
    /// The shorter side, pixels: less is no photograph.
    pub side_px_min: u32,
    /// Memory that decoding will take, as far as the header tells: pixels, and coefficients where a progressive JPEG must be held whole.
    pub decode_bytes_max: u64,
    /// Scans of a JPEG: each costs a pass over the whole picture, and a small file can declare thousands. Cameras write about ten.
    pub scans_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 20 * 1000 * 1000,
            pixels_max: 50_000_000,
            side_px_max: 16_384,
            side_px_min: 16,
            // Beside the file itself, the rows of a resize and the variants, within a child's 256 MiB.
            decode_bytes_max: 160 * 1024 * 1024,
            scans_max: 100,
        }
    }
}

impl Limits {
    /// Checks the size of a file.
    ///
    /// # Errors
    /// It is empty, or too large.
    pub fn check_bytes(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes == 0 {
            return Err(Refusal::new(Code::Empty, "The file is empty. Please choose the photo again."));
        }
        if bytes > self.bytes_max {
            let (has, limit) = (bytes as f64 / 1e6, self.bytes_max as f64 / 1e6);
            let text = format!(
                "The file has {has:.1} MB; up to {limit:.0} MB are possible. Please save it smaller and try again."
            );
            return Err(Refusal::new(Code::TooLarge, text));
        }
        Ok(())
    }

    /// Checks the declared size, and the memory that decoding it would take.
    pub(crate) fn check_size(&self, width: u32, height: u32, decode_bytes: u64) -> Result<(), Refusal> {
        let (long, short) = (width.max(height), width.min(height));
        if short < self.side_px_min {
            let text = format!(
                "The picture has only {width} × {height} pixels; each side needs at least {}. Please choose a larger one.",
                self.side_px_min
            );
            return Err(Refusal::new(Code::TooSmall, text));
        }
        if long > self.side_px_max {
            let text = format!(
                "The picture has {width} × {height} pixels; a side may have up to {}. Please save it smaller and try again.",
                self.side_px_max
            );
            return Err(Refusal::new(Code::SideTooLong, text));
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.pixels_max {
            let (has, limit) = (pixels as f64 / 1e6, self.pixels_max as f64 / 1e6);
            let text = format!(
                "The picture has {has:.0} megapixels; up to {limit:.0} are possible. Please save it smaller and try again."
            );
            return Err(Refusal::new(Code::TooManyPixels, text));
        }
        if decode_bytes > self.decode_bytes_max {
            let has = pixels as f64 / 1e6;
            let text = format!(
                "The picture has {has:.0} megapixels in a form that takes too much memory. Please save it smaller, or as an ordinary JPEG, and try again."
            );
            return Err(Refusal::new(Code::TooManyPixels, text));
        }
        Ok(())
    }
}
