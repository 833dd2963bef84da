//! What a file is, by its first bytes. Its name and declared type prove nothing.

use crate::refusal::{Code, Refusal};

/// A format that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Baseline or progressive.
    Jpeg,
    /// All depths.
    Png,
    /// The first frame.
    Gif,
    /// Lossy or lossless; of an animation the first frame.
    Webp,
}

/// Brands of a picture in the container of ISO/IEC 14496-12 that mean HEVC inside.
const HEIC: &[&[u8; 4]] = &[b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"];

/// How far into a text file is looked for a vector picture: comments and declarations may stand before it.
const TEXT_LOOK: usize = 1024;

/// Finds the format. Costs a look at the first kilobyte.
///
/// # Errors
/// A format that is not taken.
pub fn sniff(bytes: &[u8]) -> Result<Format, Refusal> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Ok(Format::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Format::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::Webp),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Err(container(bytes)),
        [0x1f, 0x8b, ..] => Err(vector_or_unknown(true)),
        _ => Err(vector_or_unknown(looks_like_svg(bytes))),
    }
}

/// HEIC and AVIF share a container; the major brand, and then the compatible ones, tell them apart.
fn container(bytes: &[u8]) -> Refusal {
    let end = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize).min(bytes.len()).min(256);
    let brands = || bytes.get(8..end.max(12)).unwrap_or_default().chunks_exact(4);
    if brands().any(|brand| brand == b"avif" || brand == b"avis") {
        let text = "This is an AVIF picture. Please save it as JPEG, PNG or WebP and upload that.";
        return Refusal::new(Code::UnsupportedFormat, text);
    }
    if brands().any(|brand| HEIC.iter().any(|heic| brand == *heic) || brand == b"mif1" || brand == b"msf1") {
        let text = "This is a HEIC photo, as iPhones take them. Please share it as JPEG, or set Settings › Camera › Formats to “Most Compatible”, and upload it again.";
        return Refusal::new(Code::UnsupportedFormat, text);
    }
    let text = "This is a video or a sound. Please upload a photo as JPEG, PNG, WebP or GIF.";
    Refusal::new(Code::UnsupportedFormat, text)
}

fn vector_or_unknown(vector: bool) -> Refusal {
    let text = if vector {
        "This is a drawing (SVG) or an archive, not a photo. Please upload a photo as JPEG, PNG, WebP or GIF."
    } else {
        "This is not a photo that we can read. Please upload it as JPEG, PNG, WebP or GIF."
    };
    Refusal::new(Code::UnsupportedFormat, text)
}

fn looks_like_svg(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(TEXT_LOOK)];
    head.windows(4).any(|word| word.eq_ignore_ascii_case(b"<svg")) || head.starts_with(b"<?xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_apart() {
        let said = |bytes: &[u8]| sniff(bytes).map_err(|refusal| refusal.sentence);
        assert!(said(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").is_err_and(|text| text.contains("HEIC")));
        assert!(said(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif").is_err_and(|text| text.contains("AVIF")));
        assert!(said(b"\0\0\0\x10ftypisom\0\0\0\0").is_err_and(|text| text.contains("video")));
        assert!(said(b"\xff\xff\xff\xffftyp").is_err());
        assert!(said(b"  <!-- hello --> <SVG onload=alert(1)>").is_err_and(|text| text.contains("SVG")));
        assert!(said(b"").is_err());
    }
}
