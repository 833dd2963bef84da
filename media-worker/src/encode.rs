//! Variants as files.

use image::RgbImage;
use serde::{Deserialize, Serialize};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};
use webp::{Encoder, PixelLayout, WebPConfig};

use crate::pipeline::Failure;

/// A format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VariantFormat {
    /// For every browser.
    Jpeg,
    /// About a third smaller.
    Webp,
    /// Smaller still, and many times the work. Only a program that was built with the feature `avif` writes it.
    Avif,
}

impl VariantFormat {
    /// Those that this program writes.
    pub const WRITTEN: &[Self] =
        if cfg!(feature = "avif") { &[Self::Jpeg, Self::Webp, Self::Avif] } else { &[Self::Jpeg, Self::Webp] };

    /// As in records and configurations.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
            Self::Avif => "avif",
        }
    }

    /// As in names of files.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
            Self::Avif => "avif",
        }
    }

    /// As in HTTP.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Avif => "image/avif",
        }
    }
}

/// How well variants are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// 1 to 100.
    pub jpeg: u8,
    /// 1 to 100.
    pub webp: u8,
    /// 0 to 6: how long the WebP encoder searches. 2 takes less than half the time of 4 for some 2 % more bytes.
    pub webp_effort: u8,
    /// 1 to 100.
    pub avif: u8,
    /// 1 to 10: 10 is fastest.
    pub avif_speed: u8,
}

impl Default for Quality {
    fn default() -> Self {
        Self { jpeg: 80, webp: 80, webp_effort: 4, avif: 65, avif_speed: 8 }
    }
}

pub fn encode(picture: &RgbImage, format: VariantFormat, quality: Quality) -> Result<Vec<u8>, Failure> {
    match format {
        VariantFormat::Jpeg => jpeg(picture, quality.jpeg),
        VariantFormat::Webp => webp(picture, quality),
        VariantFormat::Avif => avif(picture, quality),
    }
}

fn jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>, Failure> {
    let failed = |error: turbojpeg::Error| Failure::Fault(format!("JPEG could not be encoded: {error}"));
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut compressor = Compressor::new().map_err(failed)?;
    compressor.set_quality(i32::from(quality)).map_err(failed)?;
    compressor.set_subsamp(Subsamp::Sub2x2).map_err(failed)?;
    compressor.set_optimize(true).map_err(failed)?;
    let pixels =
        Image { pixels: picture.as_raw().as_slice(), width, pitch: width * 3, height, format: PixelFormat::RGB };
    compressor.compress_to_vec(pixels).map_err(failed)
}

fn webp(picture: &RgbImage, quality: Quality) -> Result<Vec<u8>, Failure> {
    let failed = |what: String| Failure::Fault(format!("WebP could not be encoded: {what}"));
    let mut config = WebPConfig::new().map_err(|()| failed("no configuration".into()))?;
    config.quality = f32::from(quality.webp);
    config.method = i32::from(quality.webp_effort.min(6));
    let encoder = Encoder::new(picture.as_raw(), PixelLayout::Rgb, picture.width(), picture.height());
    encoder.encode_advanced(&config).map(|memory| memory.to_vec()).map_err(|error| failed(format!("{error:?}")))
}

#[cfg(feature = "avif")]
fn avif(picture: &RgbImage, quality: Quality) -> Result<Vec<u8>, Failure> {
    use ravif::{BitDepth, Encoder, Img, RGB8};

    let pixels: Vec<RGB8> = picture.pixels().map(|pixel| RGB8::new(pixel[0], pixel[1], pixel[2])).collect();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let encoder = Encoder::new()
        .with_quality(f32::from(quality.avif))
        .with_speed(quality.avif_speed)
        // A child has no threads, and eight bits need least of its memory.
        .with_num_threads(Some(1))
        .with_bit_depth(BitDepth::Eight);
    let encoded = encoder.encode_rgb(Img::new(pixels.as_slice(), width, height));
    encoded
        .map(|encoded| encoded.avif_file)
        .map_err(|error| Failure::Fault(format!("AVIF could not be encoded: {error}")))
}

#[cfg(not(feature = "avif"))]
fn avif(_: &RgbImage, _: Quality) -> Result<Vec<u8>, Failure> {
    Err(Failure::Fault("this program was built without AVIF".into()))
}
