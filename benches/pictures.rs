//! Menu pictures: one core, from the bytes of a photograph to six files.
//!
//! The photographs of 12 megapixels are read from `images` in `WAYFARE_DATA` (default `../shared/data`); otherwise a generated one, and it says so.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use wayfare_media_worker::{Limits, Quality, Recipe, VariantFormat, inspect, process};

fn photos() -> Vec<(String, Vec<u8>)> {
    let folder = std::env::var_os("WAYFARE_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let read = |name: &str| Some((name.to_owned(), std::fs::read(folder.join("images").join(name)).ok()?));
    let found: Vec<_> = ["photo-12mp.jpg", "photo-12mp-p3.jpg"].into_iter().filter_map(read).collect();
    if !found.is_empty() {
        return found;
    }
    eprintln!("WAYFARE_DATA holds no photographs; a generated one is made");
    let (width, height) = (4032, 3024);
    let pixels: Vec<u8> = (0..width * height * 3).map(|at| ((at / 7) ^ (at / 4099)) as u8).collect();
    let image =
        turbojpeg::Image { pixels: &pixels[..], width, pitch: width * 3, height, format: turbojpeg::PixelFormat::RGB };
    let bytes = turbojpeg::compress(image, 90, turbojpeg::Subsamp::Sub2x2).expect("it is encoded").to_vec();
    vec![("generated".into(), bytes)]
}

fn pictures(criterion: &mut Criterion) {
    let limits = Limits::default();
    let six = Recipe::default();
    let fast = Recipe { quality: Quality { webp_effort: 2, ..Quality::default() }, ..six.clone() };
    let jpeg = Recipe { formats: vec![VariantFormat::Jpeg], ..six.clone() };
    for (name, bytes) in photos() {
        let mut group = criterion.benchmark_group(format!("pictures/{name}"));
        group.sample_size(20);
        group.bench_function("header", |bench| bench.iter(|| inspect(black_box(&bytes), &limits).is_ok()));
        for (what, recipe) in [("six", &six), ("six, WebP effort 2", &fast), ("three JPEG", &jpeg)] {
            group.bench_function(what, |bench| {
                bench.iter(|| process(black_box(&bytes), recipe, &limits, |_| {}).is_ok())
            });
        }
        group.finish();
    }
}

criterion_group!(benches, pictures);
criterion_main!(benches);
