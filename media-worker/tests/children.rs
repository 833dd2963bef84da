//! What broken decoders do to their process, and what it costs: one try of one picture.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::path::PathBuf;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, RgbaImage};
use wayfare_media_worker::{ChildCommand, Code, Limits, Made, Recipe, Step, Trouble, Workbench};

fn bench(memory_mib: u64, deadline: Duration) -> Workbench {
    let command = ChildCommand::new(env!("CARGO_BIN_EXE_faulty-child"), [memory_mib.to_string()]);
    Workbench::new(command, Limits::default(), deadline)
}

async fn make(bench: &mut Workbench, bytes: &[u8]) -> Result<Made, Trouble> {
    bench.process(bytes, &Recipe::default(), |_| {}).await
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn dish() -> Vec<u8> {
    let picture = RgbImage::from_fn(400, 300, |x, y| Rgb([(x / 2) as u8, (y / 2) as u8, 90]));
    encoded(&DynamicImage::ImageRgb8(picture), ImageFormat::Png)
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_child_serves_picture_after_picture() {
    let mut bench = bench(256, PATIENT);
    let mut steps = Vec::new();
    let made = bench.process(&dish(), &Recipe::default(), |step| steps.push(step)).await.unwrap();
    assert_eq!(steps.len(), 1 + made.variants.len());
    assert!(matches!(steps[0], Step::Decoding { variants: 4 }));
    assert!(made.thumb_hash.len() > 10);
    let first = bench.child_id().unwrap();
    assert_eq!(make(&mut bench, &dish()).await.unwrap(), made);
    // A refusal is no failure of the child.
    assert!(
        matches!(make(&mut bench, b"hello").await, Err(Trouble::Refused(no)) if no.code == Code::UnsupportedFormat)
    );
    assert_eq!(bench.child_id(), Some(first));
}

#[tokio::test]
async fn a_child_that_fails_is_replaced_and_says_why() {
    let mut bench = bench(128, PATIENT);
    for (bytes, why) in [
        (&b"panic"[..], "as a decoder might"),
        (b"abort", "signal: 6"),
        (b"hog", "allocation"),
        (b"nonsense", "too long"),
    ] {
        let trouble = make(&mut bench, bytes).await.unwrap_err();
        assert!(trouble.to_string().contains(why), "{trouble}");
        assert!(bench.child_id().is_none());
        assert!(make(&mut bench, &dish()).await.is_ok(), "the next picture is made");
    }
}

#[tokio::test]
async fn an_endless_decode_ends_with_its_deadline_or_its_processor_time() {
    let mut impatient = bench(128, Duration::from_secs(1));
    assert!(matches!(make(&mut impatient, b"spin").await, Err(Trouble::Late(_))));
    assert!(make(&mut impatient, &dish()).await.is_ok());
}

#[tokio::test]
async fn a_child_whose_worker_is_gone_does_not_spin_for_ever() {
    // Dropped halfway, as when a job is cancelled: the child is killed.
    let mut bench = bench(128, PATIENT);
    make(&mut bench, &dish()).await.unwrap();
    let id = bench.child_id().unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(300), make(&mut bench, b"spin")).await;
    assert!(bench.child_id().is_none());
    for _ in 0..200 {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the child lives on");
}

#[tokio::test]
async fn a_child_knows_no_secret_and_writes_no_file() {
    let mut bench = bench(128, PATIENT);
    let said = make(&mut bench, b"environment").await.unwrap_err().to_string();
    assert!(said.split(' ').all(|name| name.starts_with("MALLOC_") || name.starts_with("MIMALLOC_")), "{said}");
    let said = make(&mut bench, b"file").await.unwrap_err().to_string();
    assert!(said.contains("no file") || said.contains("signal: 25"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let command = ChildCommand::new("/nowhere/at/all", [""; 0]);
    let mut bench = Workbench::new(command, Limits::default(), PATIENT);
    assert!(matches!(make(&mut bench, &dish()).await, Err(Trouble::Start(_))));
}

/// Whatever the limits let through fits into a child, and whatever does not fit is refused: never killed.
#[tokio::test]
async fn the_largest_pictures_fit_into_a_child() {
    let mut bench = bench(256, PATIENT);
    let rgb = |width, height| DynamicImage::ImageRgb8(RgbImage::from_pixel(width, height, Rgb([9, 99, 199])));
    let large = [
        ("RGB", encoded(&rgb(8_160, 6_120), ImageFormat::Png)),
        ("RGBA", encoded(&DynamicImage::ImageRgba8(RgbaImage::new(7_400, 5_600)), ImageFormat::Png)),
        ("too much RGBA", encoded(&DynamicImage::ImageRgba8(RgbaImage::new(7_600, 5_700)), ImageFormat::Png)),
        ("16 bits", encoded(&DynamicImage::ImageRgb16(image::ImageBuffer::new(4_800, 3_600)), ImageFormat::Png)),
        ("lossless WebP", encoded(&rgb(4_600, 4_600), ImageFormat::WebP)),
        ("too much WebP", encoded(&rgb(6_400, 4_700), ImageFormat::WebP)),
        ("GIF", encoded(&rgb(4_900, 4_200), ImageFormat::Gif)),
        ("JPEG", jpeg(8_160, 6_120, false)),
        ("progressive JPEG", jpeg(8_160, 6_120, true)),
    ];
    for (name, bytes) in large {
        match make(&mut bench, &bytes).await {
            Ok(made) => assert!(made.variants.len() == 6 && !name.starts_with("too much"), "{name}"),
            Err(Trouble::Refused(no)) => {
                assert!(name.starts_with("too much") && no.code == Code::TooManyPixels, "{name}: {no}")
            }
            Err(trouble) => panic!("{name}: {trouble}"),
        }
    }
}

/// What the kernel calls the most that was resident.
fn peak_mib(bench: &Workbench) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bench.child_id().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// A GIF of one pixel that says so again and again.
fn gif_of_many_frames(frames: usize) -> Vec<u8> {
    let head = b"GIF89a\x40\0\x40\0\x80\0\0\0\0\0\xff\xff\xff";
    let frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    [&head[..], &frame.repeat(frames), b"\x3b"].concat()
}

/// Whatever a stranger sends, its child stays far within its memory: by what was resident, not by what it asked for.
#[tokio::test]
async fn no_file_takes_more_memory_than_a_child_may_have() {
    let mut files = vec![("a hundred thousand frames".to_owned(), gif_of_many_frames(100_000))];
    let data = std::env::var_os("WAYFARE_DATA").map_or_else(|| PathBuf::from("../../shared/data"), PathBuf::from);
    match data.join("images").read_dir() {
        Ok(folder) => files.extend(folder.map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())
        })),
        Err(_) => eprintln!("WAYFARE_DATA holds no pictures; only generated ones are tried"),
    }
    for (name, bytes) in &files {
        let mut bench = bench(256, PATIENT);
        match make(&mut bench, bytes).await {
            Ok(_) | Err(Trouble::Refused(_)) => {}
            Err(trouble) => panic!("{name}: {trouble}"),
        }
        // Photographs of 12 megapixels take 40, and bombs are refused by their headers.
        let most_mib = if name.starts_with("bomb") { 32 } else { 96 };
        let peak_mib = peak_mib(&bench);
        assert!(peak_mib <= most_mib, "{name}: {peak_mib} MiB");
    }
}

fn jpeg(width: usize, height: usize, progressive: bool) -> Vec<u8> {
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_progressive(progressive).unwrap();
    compressor.set_subsamp(turbojpeg::Subsamp::Sub2x2).unwrap();
    let pixels = vec![120_u8; width * height * 3];
    let image =
        turbojpeg::Image { pixels: &pixels[..], width, pitch: width * 3, height, format: turbojpeg::PixelFormat::RGB };
    compressor.compress_to_vec(image).unwrap()
}

/// A chunk that unpacks to hundreds of megabytes costs neither memory nor the picture.
#[tokio::test]
async fn a_bomb_beside_the_pixels_is_harmless() {
    let mut bench = bench(128, PATIENT);
    let (picture, zeros) = (dish(), deflated_zeros(300 << 20));
    for kind in [b"iCCP", b"zTXt"] {
        let mut packed = b"name\0\0".to_vec();
        packed.extend_from_slice(&zeros);
        let bytes = [&picture[..33], &chunk(kind, &packed), &picture[33..]].concat();
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        match make(&mut bench, &bytes).await {
            Ok(_) | Err(Trouble::Refused(_)) => {}
            Err(trouble) => panic!("{}: {trouble}", String::from_utf8_lossy(kind)),
        }
    }
    let peak_mib = peak_mib(&bench);
    assert!(peak_mib <= 64, "{peak_mib} MiB");
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let checked = [&kind[..], body].concat();
    [&(body.len() as u32).to_be_bytes()[..], &checked, &crc32fast::hash(&checked).to_be_bytes()].concat()
}

fn deflated_zeros(length: usize) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; length], 6)
}
