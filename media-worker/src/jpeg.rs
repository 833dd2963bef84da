//! JPEG: the header by our own walk over the segments, the pixels by libjpeg-turbo, shrunk while decoding.

use image::metadata::Orientation;
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor};

use crate::limits::Limits;
use crate::pipeline::Failure;
use crate::pixels::{Channels, Facts, Pixels};
use crate::refusal::{Code, Refusal};

/// Profiles are a megabyte at most, in sense; a chunked one may claim 16.
const PROFILE_BYTES_MAX: usize = 4 << 20;

/// What is found between the start and the first pixels, and how many passes over the pixels there are.
#[derive(Default)]
pub struct Segments<'a> {
    frame: Option<Frame>,
    exif: Option<&'a [u8]>,
    /// Pieces of the profile by number.
    profile: Vec<(u8, &'a [u8])>,
    /// Adobe stores ink the other way round: 255 is none.
    adobe: bool,
    scans: u32,
}

#[derive(Clone, Copy)]
struct Frame {
    width: u32,
    height: u32,
    progressive: bool,
    /// Samples per pixel of all components, times 64 to stay whole.
    samples_64: u64,
}

impl<'a> Segments<'a> {
    /// Walks over the whole file: segments by their length, pixels by their markers.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut found = Self::default();
        let mut at = 2;
        while let Some((marker, next)) = marker_at(bytes, at) {
            at = next;
            match marker {
                // Without a body: restarts and fill.
                0x01 | 0xd0..=0xd8 => continue,
                0xd9 => break,
                _ => {}
            }
            let length = bytes.get(at..at + 2).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
            let Some(length) = length.filter(|length| *length >= 2) else { break };
            let Some(body) = bytes.get(at + 2..at + length) else { break };
            found.take(marker, body)?;
            at += length;
        }
        Ok(found)
    }

    fn take(&mut self, marker: u8, body: &'a [u8]) -> Result<(), Refusal> {
        match marker {
            // Start of frame; the three left out are tables.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && self.frame.is_none() => {
                self.frame = Some(frame(marker, body).ok_or_else(Refusal::damaged)?);
            }
            0xe1 if self.exif.is_none() => self.exif = body.strip_prefix(b"Exif\0\0"),
            0xe2 => {
                if let Some([number, _, piece @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") {
                    self.profile.push((*number, piece));
                }
            }
            0xee => self.adobe |= body.starts_with(b"Adobe"),
            0xda => self.scans += 1,
            _ => {}
        }
        Ok(())
    }

    fn profile(&self) -> Option<Vec<u8>> {
        let mut pieces = self.profile.clone();
        pieces.sort_by_key(|(number, _)| *number);
        let length: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
        let pieces = pieces.iter().flat_map(|(_, piece)| piece.iter().copied());
        (length > 0 && length <= PROFILE_BYTES_MAX).then(|| pieces.collect())
    }
}

/// The next marker at or after `at`, and where its segment begins. Entropy-coded bytes are skipped.
fn marker_at(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        match *bytes.get(at + 1)? {
            // A stuffed byte of the pixels; a fill byte.
            0x00 => at += 2,
            0xff => at += 1,
            marker => return Some((marker, at + 2)),
        }
    }
}

fn frame(marker: u8, body: &[u8]) -> Option<Frame> {
    let [_, h1, h0, w1, w0, count, components @ ..] = body else { return None };
    let sampling = components.get(..usize::from(*count) * 3)?.chunks_exact(3).map(|component| component[1]);
    let sampling: Vec<(u64, u64)> =
        sampling.map(|factors| (u64::from(factors >> 4), u64::from(factors & 15))).collect();
    let horizontal = sampling.iter().map(|(h, _)| *h).max().filter(|h| *h > 0)?;
    let vertical = sampling.iter().map(|(_, v)| *v).max().filter(|v| *v > 0)?;
    Some(Frame {
        width: u32::from(u16::from_be_bytes([*w1, *w0])),
        height: u32::from(u16::from_be_bytes([*h1, *h0])),
        progressive: matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce),
        samples_64: sampling.iter().map(|(h, v)| 64 * h * v / (horizontal * vertical)).sum(),
    })
}

/// A JPEG whose header has passed the limits.
pub struct Jpeg<'a> {
    bytes: &'a [u8],
    decompressor: Decompressor,
    pub facts: Facts,
    channels: Channels,
    adobe: bool,
    /// Bytes that are held beside the pixels.
    coefficients: u64,
}

impl<'a> Jpeg<'a> {
    /// Reads the header and holds it against the limits.
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, Refusal> {
        let segments = Segments::read(bytes)?;
        let Some(frame) = segments.frame else { return Err(header_fault(bytes)) };
        if frame.width == 0 || frame.height == 0 {
            return Err(Refusal::damaged());
        }
        let pixels = u64::from(frame.width) * u64::from(frame.height);
        // A progressive one is kept as coefficients of two bytes until its last scan.
        let coefficients = if frame.progressive { pixels * 2 * frame.samples_64 / 64 } else { 0 };
        limits.check_size(frame.width, frame.height, coefficients)?;
        if segments.scans > limits.scans_max {
            return Err(Refusal::damaged());
        }
        let mut decompressor = Decompressor::new().map_err(|_| Refusal::damaged())?;
        decompressor.set_scan_limit(limits.scans_max).map_err(|_| Refusal::damaged())?;
        let header = decompressor.read_header(bytes).map_err(|error| fault(&error))?;
        let seen = (header.width as u64, header.height as u64);
        if header.is_lossless || seen != (u64::from(frame.width), u64::from(frame.height)) {
            return Err(Refusal::damaged());
        }
        let channels = match header.colorspace {
            Colorspace::CMYK | Colorspace::YCCK => Channels::Cmyk,
            _ => Channels::Rgb,
        };
        let profile = segments.profile();
        if channels == Channels::Cmyk && profile.is_none() {
            let text = "The picture is made for printing (CMYK) and does not say how its colours look. Please save it as an ordinary RGB JPEG and upload that.";
            return Err(Refusal::new(Code::UnknownColours, text));
        }
        let orientation = segments.exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
        let facts = Facts { width: frame.width, height: frame.height, orientation, profile };
        Ok(Self { bytes, decompressor, facts, channels, adobe: segments.adobe, coefficients })
    }

    /// Decodes, shrunk by a power of two as far as `wanted` allows: the smallest scale, as a fraction of the full size, that the result must have.
    pub fn decode(mut self, wanted: f64, limits: &Limits) -> Result<Pixels, Failure> {
        let steps =
            [(0.125, ScalingFactor::ONE_EIGHTH), (0.25, ScalingFactor::ONE_QUARTER), (0.5, ScalingFactor::ONE_HALF)];
        let scale = steps.into_iter().find(|(scale, _)| *scale >= wanted).map_or(ScalingFactor::ONE, |(_, step)| step);
        self.decompressor.set_scaling_factor(scale).map_err(|_| Refusal::damaged())?;
        let width = scale.scale(self.facts.width as usize);
        let height = scale.scale(self.facts.height as usize);
        let pitch = width * self.channels.count();
        let bytes_all = self.coefficients + (pitch * height) as u64;
        limits.check_size(self.facts.width, self.facts.height, bytes_all)?;
        let mut bytes = vec![0; pitch * height];
        let format = match self.channels {
            Channels::Rgb => PixelFormat::RGB,
            Channels::Cmyk => PixelFormat::CMYK,
        };
        let output = Image { pixels: &mut bytes[..], width, pitch, height, format };
        if let Err(error) = self.decompressor.decompress(self.bytes, output)
            && !is_harmless(&error)
        {
            // The limits let it in: so it is us who have too little.
            return Err(match error.to_string() {
                text if text.contains("Insufficient memory") => {
                    Failure::Fault(format!("JPEG could not be decoded: {text}"))
                }
                _ => fault(&error).into(),
            });
        }
        if self.channels == Channels::Cmyk && self.adobe {
            bytes.iter_mut().for_each(|ink| *ink = 255 - *ink);
        }
        Ok(Pixels { width: width as u32, height: height as u32, channels: self.channels, bytes })
    }
}

/// Fill bytes between the last pixel and the end, as some cameras write: every pixel is there.
fn is_harmless(error: &turbojpeg::Error) -> bool {
    let text = error.to_string();
    text.contains("extraneous bytes before marker 0xd9")
}

fn fault(error: &turbojpeg::Error) -> Refusal {
    // libjpeg has no code for it; this is its own text (JWRN_JPEG_EOF, JERR_INPUT_EOF).
    let text = error.to_string();
    if text.contains("Premature end") { Refusal::truncated() } else { Refusal::damaged() }
}

/// No frame was found: the file ended before, or holds nonsense.
fn header_fault(bytes: &[u8]) -> Refusal {
    if bytes.len() < 4 { Refusal::truncated() } else { Refusal::damaged() }
}
