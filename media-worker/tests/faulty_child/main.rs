//! A child for tests: pictures that begin with certain words do to it what a broken decoder would. Anything else goes through the real pipeline.

use std::process::ExitCode;

use wayfare_media_worker::{Failure, Limits, Made, Recipe, Step, process, run_child};

// As in `wayfare`: what a child may have is shared by two allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let memory_mib: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(256);
    run_child(memory_mib << 20, Some(pipeline))
}

fn pipeline(bytes: &[u8], recipe: &Recipe, limits: &Limits, on_step: &mut dyn FnMut(Step)) -> Result<Made, Failure> {
    match bytes {
        b"panic" => panic!("as a decoder might"),
        b"abort" => std::process::abort(),
        b"nonsense" => {
            println!("this is no frame at all, but long enough to be read as one");
            std::process::exit(0)
        }
        b"spin" => {
            let mut turns = 0_u64;
            loop {
                turns = std::hint::black_box(turns + 1);
            }
        }
        b"hog" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
            }
        }
        b"environment" => {
            let mut names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
            names.sort();
            Err(Failure::Fault(names.join(" ")))
        }
        b"file" => Err(Failure::Fault(match std::fs::write("/tmp/wayfare-child", b"x") {
            Ok(()) => "a file was written".into(),
            Err(error) => format!("no file: {error}"),
        })),
        _ => process(bytes, recipe, limits, on_step),
    }
}
