//! How near the files are to their original.
//!
//! What they are held against is made by neither side's libraries for that: the whole original, decoded at full size, turned, cropped, converted to sRGB at full size, and
//! reduced by the `image` crate's Lanczos3 in single precision, once in the values as they are stored (as both sides do it) and once in linear light.

use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageFormat, Rgb, Rgb32FImage, RgbImage};
use moxcms::{ColorProfile, Layout, TransformOptions};
use ssimulacra2::{ColorPrimaries, TransferCharacteristic, compute_frame_ssimulacra2};
use wayfare_media_worker::{Recipe, VariantFormat};

use crate::Failed;
use crate::process::{Ours, Sharp};
use crate::report::{self, Table};

/// Prints bytes and quality of all files of both sides.
pub fn compare(recipe: &Recipe, peers: &Path, photographs: &[PathBuf]) -> Result<(), Failed> {
    let sizes = crate::sizes(recipe);
    let head =
        ["bytes, ours", "sharp", "ours / sharp", "SSIMULACRA2, ours", "sharp", "ours - sharp", "in linear light"];
    let mut table = Table::new("file", &head);
    let (mut bytes, mut scores) = ([0, 0], Vec::new());
    for photograph in photographs {
        let folder = tempfile::tempdir()?;
        Sharp::start(peers, recipe)?.leave(photograph, &sizes, Some(folder.path()))?;
        let made = Ours::start(recipe)?.files(photograph)?;
        let original = Original::open(photograph)?;
        for &(width, height) in &sizes {
            let references = [original.reduced(width, height, false), original.reduced(width, height, true)];
            for format in &recipe.formats {
                let variant = made.variants.iter().find(|variant| (variant.width, variant.format) == (width, *format));
                let variant = variant.ok_or("a file is missing")?;
                let kind = format.word();
                let theirs = std::fs::read(folder.path().join(format!("{width}.{kind}")))?;
                let mut row = [[0.0; 2]; 2];
                for (at, reference) in references.iter().enumerate() {
                    row[at] = [score(reference, &variant.bytes, *format)?, score(reference, &theirs, *format)?];
                }
                let [[ours, sharp], [ours_linear, sharp_linear]] = row;
                table.row(&[
                    format!("{} {width} {kind}", report::name(photograph)),
                    variant.bytes.len().to_string(),
                    theirs.len().to_string(),
                    format!("{:.3}", variant.bytes.len() as f64 / theirs.len() as f64),
                    format!("{ours:.2}"),
                    format!("{sharp:.2}"),
                    format!("{:+.2}", ours - sharp),
                    format!("{:+.2}", ours_linear - sharp_linear),
                ]);
                bytes = [bytes[0] + variant.bytes.len(), bytes[1] + theirs.len()];
                scores.push([ours, sharp, ours_linear - sharp_linear]);
            }
        }
    }
    let mean = |at: usize| scores.iter().map(|score| score[at]).sum::<f64>() / scores.len() as f64;
    table.row(&[
        "all".into(),
        bytes[0].to_string(),
        bytes[1].to_string(),
        format!("{:.3}", bytes[0] as f64 / bytes[1] as f64),
        format!("{:.2}", mean(0)),
        format!("{:.2}", mean(1)),
        format!("{:+.2}", mean(0) - mean(1)),
        format!("{:+.2}", mean(2)),
    ]);
    println!("{table}");
    Ok(())
}

/// A photograph at its full size, upright and in sRGB.
struct Original {
    stored: Rgb32FImage,
    linear: Rgb32FImage,
}

impl Original {
    fn open(path: &Path) -> Result<Self, Failed> {
        let bytes = std::fs::read(path)?;
        let orientation = segments(&bytes, 0xe1, b"Exif\0\0").next().and_then(Orientation::from_exif_chunk);
        // Each piece of a profile begins with its number and how many there are.
        let profile: Vec<u8> =
            segments(&bytes, 0xe2, b"ICC_PROFILE\0").flat_map(|piece| &piece[2..]).copied().collect();
        let decoded = turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::RGB)?;
        let mut pixels = decoded.pixels;
        if !profile.is_empty() {
            let (from, to) = (ColorProfile::new_from_slice(&profile)?, ColorProfile::new_srgb());
            let transform = from.create_transform_8bit(Layout::Rgb, &to, Layout::Rgb, TransformOptions::default())?;
            let stored = pixels.clone();
            transform.transform(&stored, &mut pixels)?;
        }
        let picture = RgbImage::from_raw(decoded.width as u32, decoded.height as u32, pixels).ok_or("a wrong size")?;
        let mut picture = DynamicImage::ImageRgb8(picture);
        picture.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
        let stored = picture.into_rgb32f();
        let linear = map(&stored, linear);
        Ok(Self { stored, linear })
    }

    /// The middle of this shape, reduced; in stored values.
    fn reduced(&self, width: u32, height: u32, in_linear_light: bool) -> Rgb32FImage {
        let picture = if in_linear_light { &self.linear } else { &self.stored };
        let ratio = f64::from(width) / f64::from(height);
        let (full_w, full_h) = (f64::from(picture.width()), f64::from(picture.height()));
        let (part_w, part_h) = (full_w.min(full_h * ratio).round(), full_h.min(full_w / ratio).round());
        let (left, top) = (((full_w - part_w) / 2.0) as u32, ((full_h - part_h) / 2.0) as u32);
        let part = imageops::crop_imm(picture, left, top, part_w as u32, part_h as u32);
        let reduced = imageops::resize(&*part, width, height, FilterType::Lanczos3);
        map(&reduced, |value| if in_linear_light { stored(value.clamp(0.0, 1.0)) } else { value.clamp(0.0, 1.0) })
    }
}

/// The bodies of a sound JPEG's segments of one kind.
fn segments<'a>(jpeg: &'a [u8], marker: u8, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut at = 2;
    let all = std::iter::from_fn(move || {
        let &[0xff, kind, high, low, ..] = jpeg.get(at..)? else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = jpeg.get(at + 4..at + 2 + length)?;
        at += 2 + length;
        // After the start of scan come pixels.
        (kind != 0xda).then_some((kind, body))
    });
    all.filter(move |(kind, _)| *kind == marker).filter_map(move |(_, body)| body.strip_prefix(name))
}

/// IEC 61966-2-1.
fn linear(stored: f32) -> f32 {
    if stored <= 0.04045 { stored / 12.92 } else { ((stored + 0.055) / 1.055).powf(2.4) }
}

fn stored(linear: f32) -> f32 {
    if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

fn map(picture: &Rgb32FImage, by: impl Fn(f32) -> f32) -> Rgb32FImage {
    ImageBuffer::from_fn(picture.width(), picture.height(), |x, y| Rgb(picture.get_pixel(x, y).0.map(&by)))
}

fn score(reference: &Rgb32FImage, file: &[u8], format: VariantFormat) -> Result<f64, Failed> {
    let picture = match format {
        VariantFormat::Jpeg => {
            let decoded = turbojpeg::decompress(file, turbojpeg::PixelFormat::RGB)?;
            RgbImage::from_raw(decoded.width as u32, decoded.height as u32, decoded.pixels).ok_or("a wrong size")?
        }
        VariantFormat::Webp => image::load_from_memory_with_format(file, ImageFormat::WebP)?.into_rgb8(),
        VariantFormat::Avif => unreachable!("neither side makes it here"),
    };
    let rgb = |picture: &Rgb32FImage| {
        let pixels = picture.pixels().map(|pixel| pixel.0).collect();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        ssimulacra2::Rgb::new(pixels, width, height, TransferCharacteristic::SRGB, ColorPrimaries::BT709)
    };
    Ok(compute_frame_ssimulacra2(rgb(reference)?, rgb(&DynamicImage::ImageRgb8(picture).into_rgb32f())?)?)
}
