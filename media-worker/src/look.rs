//! What a page shows before the picture is there: a blurred preview of some 25 bytes, and one colour.

use image::RgbImage;

use crate::pipeline::Failure;

/// The preview's own limit for a side, pixels.
const PREVIEW_PX_MAX: u32 = 100;

/// A ThumbHash (Evan Wallace's format): some 25 bytes that browsers turn into a blurred picture.
pub fn thumb_hash(picture: &RgbImage) -> Result<Vec<u8>, Failure> {
    let (width, height) = picture.dimensions();
    let scale = f64::from(PREVIEW_PX_MAX) / f64::from(width.max(height));
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).clamp(1, PREVIEW_PX_MAX);
    let (small_w, small_h) = (side(width), side(height));
    let small = crate::pipeline::shrink(picture, small_w, small_h)?;
    let rgba: Vec<u8> = small.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    Ok(thumbhash::rgba_to_thumb_hash(small_w as usize, small_h as usize, &rgba))
}

/// The mean of the most frequent of 4,096 coarse colours.
pub fn dominant_colour(picture: &RgbImage) -> [u8; 3] {
    let mut sums = vec![[0_u32; 4]; 4096];
    for pixel in picture.pixels() {
        let coarse = pixel.0.iter().fold(0_usize, |coarse, channel| coarse << 4 | usize::from(channel >> 4));
        let sum = &mut sums[coarse];
        for (sum, channel) in sum.iter_mut().zip(pixel.0) {
            *sum += u32::from(channel);
        }
        sum[3] += 1;
    }
    let [r, g, b, count] = sums.into_iter().max_by_key(|sum| sum[3]).unwrap_or([255, 255, 255, 1]);
    [r, g, b].map(|sum| (sum / count.max(1)) as u8)
}
