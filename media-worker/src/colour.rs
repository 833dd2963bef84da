//! From the colours of the file to sRGB, by the profile that it carries.

use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformOptions};

use crate::pixels::Channels;
use crate::refusal::{Code, Refusal};

/// Converts pixels to sRGB. A profile that cannot be read is left out for RGB, as browsers do; CMYK means nothing without one and is refused.
pub fn to_srgb(bytes: Vec<u8>, channels: Channels, profile: Option<&[u8]>) -> Result<Vec<u8>, Refusal> {
    let Some(profile) = profile else { return Ok(bytes) };
    let converted = convert(&bytes, channels, profile);
    match (converted, channels) {
        (Some(converted), _) => Ok(converted),
        (None, Channels::Rgb) => Ok(bytes),
        (None, Channels::Cmyk) => Err(Refusal::new(
            Code::UnknownColours,
            "The picture is made for printing (CMYK), and what it says about its colours cannot be read. Please save it as an ordinary RGB JPEG and upload that.",
        )),
    }
}

fn convert(bytes: &[u8], channels: Channels, profile: &[u8]) -> Option<Vec<u8>> {
    let profile = ColorProfile::new_from_slice(profile).ok()?;
    let srgb = ColorProfile::new_srgb();
    let options = TransformOptions { rendering_intent: RenderingIntent::RelativeColorimetric, ..Default::default() };
    let pixels = bytes.len() / channels.count();
    let mut converted = vec![0; pixels * 3];
    match (channels, profile.color_space) {
        (Channels::Rgb, DataColorSpace::Rgb) => {
            let transform = profile.create_transform_8bit(Layout::Rgb, &srgb, Layout::Rgb, options).ok()?;
            transform.transform(bytes, &mut converted).ok()?;
        }
        // A grey picture: all three are the same.
        (Channels::Rgb, DataColorSpace::Gray) => {
            let grey: Vec<u8> = bytes.chunks_exact(3).map(|rgb| rgb[0]).collect();
            let transform = profile.create_transform_8bit(Layout::Gray, &srgb, Layout::Rgb, options).ok()?;
            transform.transform(&grey, &mut converted).ok()?;
        }
        (Channels::Cmyk, DataColorSpace::Cmyk) => {
            let transform = profile.create_transform_8bit(Layout::Rgba, &srgb, Layout::Rgb, options).ok()?;
            transform.transform(bytes, &mut converted).ok()?;
        }
        _ => return None,
    }
    Some(converted)
}
