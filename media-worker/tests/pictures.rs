//! Real and generated pictures through the whole pipeline. Where `WAYFARE_DATA` (default `../shared/data` beside the
//! project) has a folder `images`, every file in it gets its verdict.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::path::PathBuf;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;
use wayfare_media_worker::{Code, Failure, Focus, Limits, Made, Preset, Recipe, VariantFormat, inspect, process};

/// Upright size, or why not.
type Verdict = Result<(u32, u32), Code>;

const VERDICTS: &[(&str, Verdict)] = &[
    ("photo-12mp-p3.jpg", Ok((4032, 3024))),
    ("photo-12mp.jpg", Ok((4032, 3024))),
    ("orient-landscape-1.jpg", Ok((1800, 1200))),
    ("orient-landscape-2.jpg", Ok((1800, 1200))),
    ("orient-landscape-3.jpg", Ok((1800, 1200))),
    ("orient-landscape-4.jpg", Ok((1800, 1200))),
    ("orient-landscape-5.jpg", Ok((1800, 1200))),
    ("orient-landscape-6.jpg", Ok((1800, 1200))),
    ("orient-landscape-7.jpg", Ok((1800, 1200))),
    ("orient-landscape-8.jpg", Ok((1800, 1200))),
    ("cmyk.jpg", Ok((500, 333))),
    ("png-16bit-grey-alpha.png", Ok((109, 96))),
    ("animated.webp", Ok((80, 80))),
    ("animated.gif", Ok((80, 80))),
    ("truncated.jpg", Err(Code::Truncated)),
    ("truncated.png", Err(Code::Truncated)),
    ("corrupt-header.jpg", Err(Code::Damaged)),
    ("vector.svg", Err(Code::UnsupportedFormat)),
    ("looks-like-svg.webp", Ok((256, 256))),
    ("bomb-17000x17000.avif", Err(Code::UnsupportedFormat)),
    ("phone.heic", Err(Code::UnsupportedFormat)),
    ("bomb-50000x50000.png", Err(Code::SideTooLong)),
    ("bomb-gif-5000-frames.gif", Err(Code::SideTooLong)),
    ("empty.jpg", Err(Code::Empty)),
    ("text-named.jpg", Err(Code::UnsupportedFormat)),
    ("png-named.jpg", Ok((400, 300))),
    ("huge-exif.jpg", Ok((1800, 1200))),
    ("polyglot-jpeg-zip.jpg", Ok((290, 442))),
    ("gps-progressive.jpg", Ok((900, 600))),
];

/// The folder, or a word about what is not tried.
fn folder(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("WAYFARE_DATA").map_or_else(|| PathBuf::from("../../shared/data"), PathBuf::from);
    let folder = Some(data.join("images")).filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("{test}: WAYFARE_DATA holds no pictures; only generated ones are tried");
    }
    folder
}

fn make(bytes: &[u8], recipe: &Recipe) -> Result<Made, Failure> {
    let mut steps = 0;
    let made = process(bytes, recipe, &Limits::default(), |_| steps += 1)?;
    assert_eq!(steps, 1 + made.variants.len(), "every variant is told");
    made.variants.iter().for_each(|variant| carries_nothing(&variant.bytes, variant.format));
    Ok(made)
}

fn code(result: Result<Made, Failure>) -> Option<Code> {
    match result {
        Ok(_) => None,
        Err(Failure::Refused(refusal)) => {
            assert!(refusal.sentence.len() > 20 && refusal.sentence.ends_with('.'), "{refusal}");
            Some(refusal.code)
        }
        Err(Failure::Fault(fault)) => panic!("{fault}"),
    }
}

/// A variant holds pixels and what is needed to read them, and not one byte more.
fn carries_nothing(bytes: &[u8], format: VariantFormat) {
    match format {
        VariantFormat::Jpeg => {
            let mut at = 2;
            while bytes[at + 1] != 0xda {
                let (marker, length) = (bytes[at + 1], usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])));
                let is_jfif = marker == 0xe0 && bytes[at + 4..].starts_with(b"JFIF\0") && length == 16;
                assert!(is_jfif || !matches!(marker, 0xe0..=0xef | 0xfe), "segment {marker:x}");
                at += 2 + length;
            }
            assert!(bytes.ends_with(&[0xff, 0xd9]));
        }
        VariantFormat::Webp => {
            let length = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
            assert_eq!((&bytes[12..16], bytes.len()), (&b"VP8 "[..], 20 + length + length % 2), "one chunk");
        }
        VariantFormat::Avif => {
            let is_there = |kind: &[u8; 4]| bytes.windows(4).any(|word| word == kind);
            assert!(!is_there(b"Exif") && !is_there(b"mime"), "an item beside the picture");
        }
    }
    for word in [&b"SecretCam"[..], b"ICC_PROFILE", b"<script>"] {
        assert!(!bytes.windows(word.len()).any(|window| window == word), "{}", String::from_utf8_lossy(word));
    }
}

fn decoded(made: &Made, width: u32, format: VariantFormat) -> RgbImage {
    let variant = made.variants.iter().find(|variant| (variant.width, variant.format) == (width, format)).unwrap();
    let picture = image_of(&variant.bytes, format);
    assert_eq!((variant.width, variant.height), picture.dimensions());
    picture
}

/// Decodes what we wrote: JPEG by libjpeg, WebP by a decoder that is none of the encoder's makers'.
fn image_of(bytes: &[u8], format: VariantFormat) -> RgbImage {
    match format {
        VariantFormat::Jpeg => {
            let picture = turbojpeg::decompress(bytes, turbojpeg::PixelFormat::RGB).unwrap();
            RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.pixels).unwrap()
        }
        VariantFormat::Webp => image::load_from_memory_with_format(bytes, ImageFormat::WebP).unwrap().into_rgb8(),
        VariantFormat::Avif => unreachable!("not by the plain recipe"),
    }
}

/// What encodes AVIF does not decode it: its boxes tell that it is one, how large, and that nothing else is in it.
#[cfg(feature = "avif")]
#[test]
fn avif_is_written_where_it_was_built_in() {
    let pixels = RgbImage::from_fn(640, 480, |x, y| image::Rgb([(x / 3) as u8, (y / 2) as u8, ((x * y) / 997) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, ImageFormat::Png).unwrap();
    let recipe = Recipe { formats: VariantFormat::WRITTEN.to_vec(), ..Recipe::default() };
    let made = make(&bytes.into_inner(), &recipe).unwrap();
    assert_eq!(made.variants.len(), 2 * 3);
    for width in [320_u32, 640] {
        let of = |format| made.variants.iter().find(|one| (one.width, one.format) == (width, format)).unwrap();
        let (avif, jpeg) = (of(VariantFormat::Avif), of(VariantFormat::Jpeg));
        assert_eq!(&avif.bytes[4..12], b"ftypavif");
        let size = avif.bytes.windows(4).position(|word| word == b"ispe").unwrap() + 8;
        let side = |at: usize| u32::from_be_bytes(avif.bytes[at..at + 4].try_into().unwrap());
        assert_eq!((side(size), side(size + 4)), (width, jpeg.height));
        assert!(avif.bytes.len() < jpeg.bytes.len(), "{} and {} bytes", avif.bytes.len(), jpeg.bytes.len());
    }
}

/// Mean of the absolute differences of all channels.
fn distance(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}

/// Mean colour of a part, given in tenths.
fn mean(picture: &RgbImage, x: (u32, u32), y: (u32, u32)) -> [f64; 3] {
    let (width, height) = picture.dimensions();
    let (xs, ys) = (x.0 * width / 10..x.1 * width / 10, y.0 * height / 10..y.1 * height / 10);
    let (mut sum, mut count) = ([0.0; 3], 0.0);
    for (x, y) in xs.flat_map(|x| ys.clone().map(move |y| (x, y))) {
        let pixel = picture.get_pixel(x, y);
        (0..3).for_each(|channel| sum[channel] += f64::from(pixel[channel]));
        count += 1.0;
    }
    sum.map(|sum| sum / count)
}

fn near(seen: [f64; 3], wanted: [f64; 3], within: f64) {
    let is_near = seen.iter().zip(wanted).all(|(seen, wanted)| (seen - wanted).abs() <= within);
    assert!(is_near, "{seen:?} is not {wanted:?} within {within}");
}

/// Four fields: red, green, blue, white, as in reading.
fn fields(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height / 2) {
        (true, true) => Rgb([220, 20, 20]),
        (false, true) => Rgb([20, 200, 20]),
        (true, false) => Rgb([20, 20, 220]),
        (false, false) => Rgb([250, 250, 250]),
    })
}

fn png(picture: &DynamicImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = turbojpeg::Image {
        pixels: picture.as_raw().as_slice(),
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    turbojpeg::compress(pixels, 92, turbojpeg::Subsamp::Sub2x2).unwrap().to_vec()
}

/// The same JPEG with a segment behind its start.
fn with_segment(jpeg: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, body, &jpeg[2..]].concat()
}

fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], b"\0\0\0\0\0\0"].concat();
    with_segment(jpeg, 0xe1, &[b"Exif\0\0", &tiff[..]].concat())
}

#[test]
fn every_file_gets_its_verdict() {
    let Some(folder) = folder("every_file_gets_its_verdict") else { return };
    let mut known: Vec<&str> = VERDICTS.iter().map(|(name, _)| *name).collect();
    for file in folder.read_dir().unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || known.contains(&&*name), "{name} has no verdict here");
        known.retain(|known| *known != name);
    }
    assert!(known.is_empty(), "{known:?} are not there");
    for (name, verdict) in VERDICTS {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let by_header = inspect(&bytes, &Limits::default()).map(|header| (header.width, header.height));
        let made = make(&bytes, &Recipe::default());
        let size = made.as_ref().map(|made| (made.source_width, made.source_height)).ok();
        assert_eq!((size, code(made)), (verdict.ok(), verdict.err()), "{name}");
        // What is not missing or broken further down is decided without a pixel.
        if !matches!(verdict, Err(Code::Truncated)) {
            assert_eq!(by_header.map_err(|refusal| refusal.code), *verdict, "{name}");
        }
    }
}

#[test]
fn eight_orientations_are_one_picture() {
    let landscape = jpeg(&fields(800, 600));
    let generated = (1..=8_u8).map(|orientation| {
        let stored = match orientation {
            2 => image::imageops::flip_horizontal(&fields(800, 600)),
            3 => image::imageops::rotate180(&fields(800, 600)),
            4 => image::imageops::flip_vertical(&fields(800, 600)),
            5 => image::imageops::flip_horizontal(&image::imageops::rotate90(&fields(800, 600))),
            6 => image::imageops::rotate270(&fields(800, 600)),
            7 => image::imageops::flip_vertical(&image::imageops::rotate90(&fields(800, 600))),
            8 => image::imageops::rotate90(&fields(800, 600)),
            _ => fields(800, 600),
        };
        with_orientation(&jpeg(&stored), orientation)
    });
    let mut sets = vec![(landscape, generated.collect::<Vec<_>>())];
    if let Some(folder) = folder("eight_orientations_are_one_picture") {
        let file = |n: u8| std::fs::read(folder.join(format!("orient-landscape-{n}.jpg"))).unwrap();
        sets.push((file(1), (1..=8).map(file).collect()));
    }
    for (upright, turned) in sets {
        // A focus off the middle: also the cut must be turned.
        for focus in [Focus::default(), Focus { x: 0.0, y: 0.9 }] {
            let recipe = Recipe { preset: Preset::Square, focus, ..Recipe::default() };
            let wanted = decoded(&make(&upright, &recipe).unwrap(), 320, VariantFormat::Jpeg);
            for (at, bytes) in turned.iter().enumerate() {
                let made = make(bytes, &recipe).unwrap();
                assert!(made.source_width > made.source_height);
                let seen = distance(&decoded(&made, 320, VariantFormat::Jpeg), &wanted);
                assert!(seen < 6.0, "orientation {}: {seen}", at + 1);
            }
        }
    }
}

#[test]
fn colours_are_those_that_little_cms_finds() {
    let Some(folder) = folder("colours_are_those_that_little_cms_finds") else { return };
    // Means of the left upper and the right lower twelfth, as Little CMS 2 converts them (relative colorimetric).
    let cases = [("cmyk.jpg", [126.0, 126.0, 125.0], None), ("photo-12mp-p3.jpg", [129.0, 166.0, 206.0], Some(320))];
    for (name, wanted, width) in cases {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let made = make(&bytes, &Recipe::default()).unwrap();
        let width = width.unwrap_or(320);
        for format in [VariantFormat::Jpeg, VariantFormat::Webp] {
            let picture = decoded(&made, width, format);
            let corner =
                image::imageops::crop_imm(&picture, 0, 0, picture.width() / 4, picture.height() / 3).to_image();
            near(mean(&corner, (0, 10), (0, 10)), wanted, 3.0);
        }
    }
}

#[test]
fn cmyk_without_a_profile_is_refused() {
    let picture = vec![0_u8; 64 * 64 * 4];
    let pixels = turbojpeg::Image {
        pixels: picture.as_slice(),
        width: 64,
        pitch: 256,
        height: 64,
        format: turbojpeg::PixelFormat::CMYK,
    };
    let bytes = turbojpeg::compress(pixels, 90, turbojpeg::Subsamp::None).unwrap();
    assert_eq!(code(make(&bytes, &Recipe::default())), Some(Code::UnknownColours));
}

#[test]
fn the_focus_decides_what_is_seen() {
    let bytes = jpeg(&fields(1600, 400));
    let seen = |x: f32| {
        let recipe = Recipe { preset: Preset::Square, focus: Focus { x, y: 0.5 }, ..Recipe::default() };
        let made = make(&bytes, &recipe).unwrap();
        mean(&decoded(&made, 320, VariantFormat::Webp), (1, 9), (1, 4))
    };
    near(seen(0.0), [220.0, 20.0, 20.0], 6.0);
    near(seen(1.0), [20.0, 200.0, 20.0], 6.0);
}

#[test]
fn variants_have_their_shape_and_nothing_is_enlarged() {
    let bytes = jpeg(&fields(1500, 1100));
    for (preset, sizes) in [
        (Preset::FiveFour, [(320, 256), (640, 512), (1280, 1024)]),
        (Preset::FourThree, [(320, 240), (640, 480), (1280, 960)]),
        (Preset::Square, [(320, 320), (640, 640), (1100, 1100)]),
        (Preset::Whole, [(320, 235), (640, 469), (1280, 939)]),
    ] {
        let made = make(&bytes, &Recipe { preset, ..Recipe::default() }).unwrap();
        let seen: Vec<_> = made.variants.iter().map(|variant| (variant.width, variant.height)).step_by(2).collect();
        assert_eq!(seen, sizes, "{preset:?}");
        assert_eq!(made.variants.len(), 6);
    }
}

#[test]
fn what_is_transparent_is_white_at_every_depth() {
    let glass = RgbaImage::from_fn(64, 64, |x, _| if x < 32 { Rgba([200, 0, 0, 0]) } else { Rgba([200, 0, 0, 255]) });
    let glass = DynamicImage::ImageRgba8(glass);
    let grey = DynamicImage::ImageRgba8(RgbaImage::from_pixel(64, 64, Rgba([128, 128, 128, 128])));
    for (picture, left, right) in [
        (glass.clone(), [255.0; 3], [200.0, 0.0, 0.0]),
        (DynamicImage::ImageRgba16(glass.to_rgba16()), [255.0; 3], [200.0, 0.0, 0.0]),
        (DynamicImage::ImageLumaA8(grey.to_luma_alpha8()), [191.0; 3], [191.0; 3]),
        (DynamicImage::ImageLumaA16(grey.to_luma_alpha16()), [191.0; 3], [191.0; 3]),
        (DynamicImage::ImageLuma8(grey.to_luma8()), [128.0; 3], [128.0; 3]),
        (DynamicImage::ImageLuma16(grey.to_luma16()), [128.0; 3], [128.0; 3]),
        (DynamicImage::ImageRgb16(grey.to_rgb16()), [128.0; 3], [128.0; 3]),
    ] {
        let made = make(&png(&picture), &Recipe { preset: Preset::Square, ..Recipe::default() }).unwrap();
        let seen = decoded(&made, 64, VariantFormat::Webp);
        near(mean(&seen, (0, 4), (0, 10)), left, 6.0);
        near(mean(&seen, (6, 10), (0, 10)), right, 6.0);
    }
}

#[test]
fn shrinking_while_decoding_keeps_fine_patterns() {
    // Rings that get finer outwards, as a woven basket or a grill would.
    let rings = RgbImage::from_fn(3000, 2250, |x, y| {
        let (x, y) = (f64::from(x) - 1500.0, f64::from(y) - 1125.0);
        Rgb([(127.5 + 127.0 * ((x * x + y * y) / 2600.0).sin()) as u8; 3])
    });
    let bytes = jpeg(&rings);
    let of =
        |headroom| decoded(&make(&bytes, &Recipe { headroom, ..Recipe::default() }).unwrap(), 640, VariantFormat::Jpeg);
    let apart = distance(&of(1.0), &of(8.0));
    assert!(apart < 4.0, "{apart}");
}

#[test]
fn what_a_file_says_beside_its_pixels_does_no_harm() {
    let plain = jpeg(&fields(400, 300));
    let wanted = decoded(&make(&plain, &Recipe::default()).unwrap(), 320, VariantFormat::Jpeg);
    let profile = [b"ICC_PROFILE\0\x01\x01", &[0x41; 5000][..]].concat();
    let exif = [b"Exif\0\0MM\0*\xff\xff\xff\xff", &b"GPS SecretCam"[..]].concat();
    let zip = [&plain[..], b"PK\x03\x04<html><script>alert(1)</script>"].concat();
    for odd in
        [with_segment(&plain, 0xe2, &profile), with_segment(&plain, 0xe1, &exif), zip, with_orientation(&plain, 99)]
    {
        let made = make(&odd, &Recipe::default()).unwrap();
        assert_eq!(distance(&decoded(&made, 320, VariantFormat::Jpeg), &wanted), 0.0);
    }
}

/// A JPEG whose header declares another size.
fn declaring(jpeg: &[u8], width: u16, height: u16) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let at = bytes.windows(2).position(|window| window == [0xff, 0xc0]).unwrap();
    bytes[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
    bytes[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

#[test]
fn limits_are_checked_on_the_header() {
    let plain = jpeg(&fields(400, 300));
    let refused = |bytes: &[u8]| inspect(bytes, &Limits::default()).map_err(|refusal| refusal.code).err();
    assert_eq!(refused(&declaring(&plain, 20_000, 400)), Some(Code::SideTooLong));
    assert_eq!(refused(&declaring(&plain, 8_000, 8_000)), Some(Code::TooManyPixels));
    assert_eq!(refused(&declaring(&plain, 400, 8)), Some(Code::TooSmall));
    assert_eq!(refused(&declaring(&plain, 400, 0)), Some(Code::Damaged));
    assert_eq!(refused(&vec![0xff; 20_000_001]), Some(Code::TooLarge));
    assert_eq!(refused(&jpeg(&fields(15, 300))), Some(Code::TooSmall));
    // Many passes over one picture.
    let scan = [&[0xff_u8, 0xda, 0, 8, 1, 1, 0, 0, 63, 0][..], &[0; 4]].concat();
    let at = plain.windows(2).position(|window| window == [0xff, 0xda]).unwrap();
    let scans = [&plain[..at], &scan.repeat(200), &plain[at..]].concat();
    assert_eq!(refused(&scans), Some(Code::Damaged));
}

#[test]
fn a_progressive_picture_is_judged_by_what_it_takes() {
    let picture = fields(64, 64);
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_progressive(true).unwrap();
    compressor.set_subsamp(turbojpeg::Subsamp::None).unwrap();
    let pixels = turbojpeg::Image {
        pixels: picture.as_raw().as_slice(),
        width: 64,
        pitch: 192,
        height: 64,
        format: turbojpeg::PixelFormat::RGB,
    };
    let mut bytes = compressor.compress_to_vec(pixels).unwrap();
    assert!(make(&bytes, &Recipe::default()).is_ok());
    let at = bytes.windows(2).position(|window| window == [0xff, 0xc2]).unwrap();
    // 48 megapixels, each of six bytes as coefficients.
    bytes[at + 5..at + 9].copy_from_slice(&[0x17, 0x70, 0x1f, 0x40]);
    let refusal = inspect(&bytes, &Limits::default()).unwrap_err();
    assert_eq!(refusal.code, Code::TooManyPixels);
}

#[test]
fn every_cut_of_a_file_is_refused() {
    let picture = fields(120, 90);
    let mut webp = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture.clone()).write_to(&mut webp, ImageFormat::WebP).unwrap();
    for whole in [jpeg(&picture), png(&DynamicImage::ImageRgb8(picture.clone())), webp.into_inner()] {
        assert!(make(&whole, &Recipe::default()).is_ok());
        for end in 0..whole.len() {
            // Behind the last pixel of a PNG stands an empty chunk that no decoder needs.
            if whole.starts_with(b"\x89PNG") && end >= whole.len() - 16 {
                break;
            }
            let cut = make(&whole[..end], &Recipe::default());
            assert!(cut.is_err(), "{end} bytes of {} of {:?}", whole.len(), &whole[..4]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the bytes are, there is an answer, and what is made is sound.
    #[test]
    fn damage_never_panics(kind in 0_usize..4, at in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let picture = fields(96, 72);
        let format = [ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP];
        let mut bytes = match format.get(kind) {
            Some(format) => {
                let mut bytes = std::io::Cursor::new(Vec::new());
                DynamicImage::ImageRgb8(picture).write_to(&mut bytes, *format).unwrap();
                bytes.into_inner()
            }
            None => with_orientation(&jpeg(&picture), 6),
        };
        for (index, value) in at {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let limits = Limits { pixels_max: 4_000_000, decode_bytes_max: 32 << 20, ..Limits::default() };
        if let Ok(made) = process(&bytes, &Recipe::default(), &limits, |_| {}) {
            for variant in made.variants {
                carries_nothing(&variant.bytes, variant.format);
            }
        }
    }
}
