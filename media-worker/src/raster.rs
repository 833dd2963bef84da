//! PNG, GIF and WebP, by the `image` crate: the first frame, as RGB on white.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, Limits as DecoderLimits};

use crate::limits::Limits;
use crate::pixels::{Channels, Facts, Pixels};
use crate::refusal::Refusal;
use crate::sniff::Format;

/// What a PNG may unpack beside its pixels: profiles and texts are deflated, and a kilobyte may hold a megabyte of zeros.
const PNG_BESIDE_BYTES_MAX: u64 = 16 << 20;

/// A picture whose header has passed the limits.
pub struct Raster<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    pub facts: Facts,
}

impl<'a> Raster<'a> {
    /// Reads the header and holds it against the limits.
    pub fn open(bytes: &'a [u8], format: Format, limits: &Limits) -> Result<Self, Refusal> {
        // The declared canvas is judged by us, in our own words; the decoder's limits bound what it allocates for itself.
        if let Some((width, height)) = declared(bytes, format) {
            limits.check_size(width, height, 0)?;
        }
        if format == Format::Webp && riff_bytes(bytes) > bytes.len() {
            return Err(Refusal::truncated());
        }
        let mut own = DecoderLimits::default();
        own.max_alloc = Some(limits.decode_bytes_max);
        let source = Cursor::new(bytes);
        let mut decoder: Box<dyn ImageDecoder + 'a> = match format {
            Format::Png => {
                let mut beside = DecoderLimits::default();
                beside.max_alloc = Some(PNG_BESIDE_BYTES_MAX);
                Box::new(PngDecoder::with_limits(source, beside).map_err(fault)?)
            }
            Format::Gif => Box::new(GifDecoder::new(source).map_err(fault)?),
            Format::Webp => Box::new(WebPDecoder::new(source).map_err(fault)?),
            Format::Jpeg => return Err(Refusal::damaged()),
        };
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        let beside = match format {
            Format::Webp => pixels * webp_beside_quarters(bytes) / 4,
            // A frame smaller than its canvas is decoded beside it.
            Format::Gif => pixels * 4,
            _ => 0,
        };
        limits.check_size(width, height, pixels * bytes_per_pixel(decoder.color_type()) + beside)?;
        decoder.set_limits(own).map_err(fault)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let profile = decoder.icc_profile().ok().flatten();
        Ok(Self { facts: Facts { width, height, orientation, profile }, decoder })
    }

    /// Decodes the first frame.
    pub fn decode(self) -> Result<Pixels, Refusal> {
        let Facts { width, height, .. } = self.facts;
        let colours = self.decoder.color_type();
        let length = usize::try_from(self.decoder.total_bytes()).map_err(|_| Refusal::damaged())?;
        let mut bytes = vec![0; length];
        self.decoder.read_image(&mut bytes).map_err(fault)?;
        let bytes = match colours {
            ColorType::Rgb8 => bytes,
            ColorType::Rgba8 => on_white(bytes),
            ColorType::L8 => bytes.iter().flat_map(|&l| [l, l, l]).collect(),
            ColorType::La8 => bytes.chunks_exact(2).flat_map(|la| [blend(la[0], la[1]); 3]).collect(),
            ColorType::L16 => bytes.chunks_exact(2).flat_map(|l| [high(l); 3]).collect(),
            ColorType::La16 => {
                bytes.chunks_exact(4).flat_map(|la| [blend(high(&la[..2]), high(&la[2..])); 3]).collect()
            }
            ColorType::Rgb16 => bytes.chunks_exact(2).map(high).collect(),
            ColorType::Rgba16 => on_white(bytes.chunks_exact(2).map(high).collect()),
            _ => return Err(Refusal::damaged()),
        };
        Ok(Pixels { width, height, channels: Channels::Rgb, bytes })
    }
}

/// Width and height where the format has them at a fixed place.
fn declared(bytes: &[u8], format: Format) -> Option<(u32, u32)> {
    match format {
        Format::Png => {
            let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
            (bytes.get(12..16)? == b"IHDR").then_some(())?;
            Some((number(16)?, number(20)?))
        }
        Format::Gif => {
            let number = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
            Some((number(6)?, number(8)?))
        }
        Format::Webp | Format::Jpeg => None,
    }
}

/// What decoding a WebP holds beside the pixels that come out, in quarters of a byte for each: lossy ones luma and chroma planes; lossless ones all four channels, and what
/// their transforms and codes vary by blocks; moving ones a canvas and a frame, each with four channels, as well.
fn webp_beside_quarters(bytes: &[u8]) -> u64 {
    let is_animated = bytes.get(20).is_some_and(|flags| flags & 0b10 != 0);
    match bytes.get(12..16) {
        Some(b"VP8 ") => 6,
        Some(b"VP8X") if is_animated => 32 + 19,
        // The extended form holds either.
        _ => 19,
    }
}

/// How long a WebP says it is. Its decoder does not miss a byte that it did not need.
fn riff_bytes(bytes: &[u8]) -> usize {
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes);
    length as usize + 8
}

/// What is decoded, and what it is turned into where that takes a second buffer.
fn bytes_per_pixel(colours: ColorType) -> u64 {
    let decoded = u64::from(colours.bytes_per_pixel());
    match colours {
        ColorType::Rgb8 | ColorType::Rgba8 => decoded,
        ColorType::Rgba16 => decoded + 4,
        _ => decoded + 3,
    }
}

/// The eight high bits of a sample of sixteen, rounded.
fn high(sample: &[u8]) -> u8 {
    let sample = u16::from_ne_bytes([sample[0], sample[1]]);
    ((u32::from(sample) * 255 + 32_768) / 65_535) as u8
}

fn blend(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// What is transparent becomes white, as a menu's page is; in place.
fn on_white(mut bytes: Vec<u8>) -> Vec<u8> {
    let pixels = bytes.len() / 4;
    for at in 0..pixels {
        let alpha = bytes[at * 4 + 3];
        for channel in 0..3 {
            bytes[at * 3 + channel] = blend(bytes[at * 4 + channel], alpha);
        }
    }
    bytes.truncate(pixels * 3);
    bytes
}

fn fault(error: ImageError) -> Refusal {
    match &error {
        ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => Refusal::new(
            crate::Code::TooManyPixels,
            "The picture takes too much memory. Please save it smaller, or as an ordinary JPEG, and try again.",
        ),
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => Refusal::truncated(),
        // The decoders wrap the end of the file in errors of their own.
        _ if error.to_string().to_lowercase().contains("unexpected end") || is_early_end(&error) => {
            Refusal::truncated()
        }
        _ => Refusal::damaged(),
    }
}

fn is_early_end(error: &ImageError) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof) {
            return true;
        }
        source = error.source();
    }
    false
}
