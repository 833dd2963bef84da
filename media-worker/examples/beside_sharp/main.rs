//! The pipeline beside sharp (npm): the same photographs, the same six files, the same colours, one core.
//!
//!     npm install --prefix media-worker/peers
//!     taskset -c 1 cargo run --release -p wayfare-media-worker --example beside_sharp -- --peers media-worker/peers
//!
//! Both are processes that get one photograph after the other: ours is a worker's child as `wayfare media-worker` starts it, with the same allocator; sharp's is
//! `sharp.mjs`. They take turns, a round each, and every process is new. A photograph's cost is the processor time (user and system) of a process between its order and
//! its answer, once the first of all is made; peak memory is what the kernel says of the process. Quality is SSIMULACRA2 (the crate `ssimulacra2`) of each file against a
//! neutral reduction of the original. Without `--peers` ours runs alone. At the end ours makes every file of the folder, each in a new child.

mod process;
mod quality;
mod report;

use std::path::{Path, PathBuf};

use process::{Cost, Ours, Sharp};
use report::Table;
use wayfare_media_worker::Recipe;

// As in `wayfare`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failed = Box<dyn std::error::Error>;

/// What cameras made, two of 12 megapixels and two of 2.
const PHOTOGRAPHS: [&str; 4] =
    ["photo-12mp.jpg", "photo-12mp-p3.jpg", "orient-landscape-1.jpg", "orient-landscape-6.jpg"];

struct Options {
    peers: Option<PathBuf>,
    images: PathBuf,
    rounds: usize,
    /// How often a process makes each photograph in a round.
    times: usize,
    recipe: Recipe,
}

fn options() -> Result<Options, Failed> {
    let mut options = Options {
        peers: None,
        images: std::env::var_os("WAYFARE_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from).join("images"),
        rounds: 5,
        times: 4,
        recipe: Recipe::default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--peers" => options.peers = Some(value.into()),
            "--images" => options.images = value.into(),
            "--rounds" => options.rounds = value.parse()?,
            "--times" => options.times = value.parse()?,
            _ => return Err(format!("there is no {name}: --peers, --images, --rounds, --times").into()),
        }
    }
    Ok(options)
}

/// What one side did in all rounds.
#[derive(Default)]
struct Side {
    /// By photograph, milliseconds of processor time for one, a figure a round.
    ms: Vec<Vec<f64>>,
    /// Of whole processes, a figure a round: processor time in milliseconds, peak memory in MB, also before the first photograph.
    whole_ms: Vec<f64>,
    peak_mb: Vec<f64>,
    start_ms: Vec<f64>,
    start_mb: Vec<f64>,
}

impl Side {
    /// A round: a process that has made nothing yet makes each photograph once, and then `times` times.
    fn round(&mut self, times: usize, photographs: &[PathBuf], peer: &mut impl process::Peer) -> Result<(), Failed> {
        self.ms.resize(photographs.len(), Vec::new());
        let start = peer.cost()?;
        self.start_ms.push(start.cpu_ms);
        self.start_mb.push(start.peak_mb);
        peer.make(&photographs[0])?;
        for (photograph, ms) in photographs.iter().zip(&mut self.ms) {
            let before = peer.cost()?;
            for _ in 0..times {
                peer.make(photograph)?;
            }
            ms.push((peer.cost()?.cpu_ms - before.cpu_ms) / times as f64);
        }
        let Cost { cpu_ms, peak_mb } = peer.cost()?;
        self.whole_ms.push(cpu_ms);
        self.peak_mb.push(peak_mb);
        Ok(())
    }
}

/// Widths and heights, the widest first, of the preset that is made if nobody says another. All photographs here are wider than the widest.
fn sizes(recipe: &Recipe) -> Vec<(u32, u32)> {
    recipe.widths.iter().rev().map(|width| (*width, width * 3 / 4)).collect()
}

fn main() -> Result<std::process::ExitCode, Failed> {
    if std::env::args().nth(1).as_deref() == Some(process::CHILD) {
        return Ok(wayfare_media_worker::run_child(256 << 20, None));
    }
    let options = options()?;
    let photographs: Vec<PathBuf> = PHOTOGRAPHS.iter().map(|name| options.images.join(name)).collect();
    if let Some(peers) = &options.peers {
        beside(&options, peers, &photographs)?;
    }
    every_file(&options)?;
    Ok(std::process::ExitCode::SUCCESS)
}

fn beside(options: &Options, peers: &Path, photographs: &[PathBuf]) -> Result<(), Failed> {
    let (mut ours, mut sharp) = (Side::default(), Side::default());
    let mut versions = String::new();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        ours.round(options.times, photographs, &mut Ours::start(&options.recipe)?)?;
        let mut peer = Sharp::start(peers, &options.recipe)?;
        sharp.round(options.times, photographs, &mut peer)?;
        versions.clone_from(&peer.versions);
    }
    let mut table = Table::new("", &["ours", "sharp", "ours / sharp", "images/s per core, ours", "sharp"]);
    for (at, path) in photographs.iter().enumerate() {
        table.row(&report::cost(&format!("{}, ms of CPU", report::name(path)), &ours.ms[at], &sharp.ms[at]));
    }
    let mean = |side: &Side| -> Vec<f64> {
        (0..options.rounds)
            .map(|round| side.ms.iter().map(|ms| ms[round]).sum::<f64>() / photographs.len() as f64)
            .collect()
    };
    table.row(&report::cost("one of them, ms of CPU", &mean(&ours), &mean(&sharp)));
    let whole = format!("a process that starts and makes {}, ms", 1 + options.times * photographs.len());
    table.row(&report::pair(&whole, &ours.whole_ms, &sharp.whole_ms));
    table.row(&report::pair("its start, ms of CPU", &ours.start_ms, &sharp.start_ms));
    table.row(&report::pair("its peak memory, MB", &ours.peak_mb, &sharp.peak_mb));
    table.row(&report::pair("after its start, MB", &ours.start_mb, &sharp.start_mb));
    println!("{versions}; medians of {} rounds\n", options.rounds);
    println!("{table}");
    quality::compare(&options.recipe, peers, photographs)
}

/// Every file of the folder in a child of its own.
fn every_file(options: &Options) -> Result<(), Failed> {
    let mut names: Vec<PathBuf> =
        options.images.read_dir()?.map(|file| Ok(file?.path())).collect::<std::io::Result<_>>()?;
    names.retain(|path| path.extension().is_none_or(|extension| extension != "md"));
    names.sort();
    let mut table = Table::new("file", &["bytes", "verdict", "ms of CPU, start included", "peak memory, MB"]);
    for path in names {
        let mut ours = Ours::start(&options.recipe)?;
        let verdict = ours.verdict(&path)?;
        let Cost { cpu_ms, peak_mb } = process::Peer::cost(&ours)?;
        let bytes = std::fs::metadata(&path)?.len().to_string();
        table.row(&[report::name(&path), bytes, verdict, format!("{cpu_ms:.1}"), format!("{peak_mb:.1}")]);
    }
    println!("{table}");
    Ok(())
}
