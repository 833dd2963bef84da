//! Makes the variants of a file into a folder and says how long it took: `cargo run --release --example variants -- photo.jpg out`.

use std::time::Instant;

use wayfare_media_worker::{Limits, Recipe, process};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: variants FILE FOLDER".into());
    };
    let bytes = std::fs::read(&file)?;
    let started = Instant::now();
    let made = process(&bytes, &Recipe::default(), &Limits::default(), |step| {
        println!("{:>6.1} ms  {step:?}", started.elapsed().as_secs_f64() * 1e3);
    })?;
    println!(
        "{:>6.1} ms  {} x {}, colour {:?}",
        started.elapsed().as_secs_f64() * 1e3,
        made.source_width,
        made.source_height,
        made.colour
    );
    std::fs::create_dir_all(&folder)?;
    for variant in made.variants {
        let name = format!("{folder}/{}x{}.{}", variant.width, variant.height, variant.format.extension());
        println!("{name}: {} bytes", variant.bytes.len());
        std::fs::write(name, variant.bytes)?;
    }
    Ok(())
}
