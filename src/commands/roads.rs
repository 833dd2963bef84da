//! `wayfare roads build` and `wayfare roads info`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use wayfare_atlas::{Step, build_city, open_city};
use wayfare_engine::roads::Profile;

/// What to do with roads.
#[derive(Subcommand)]
pub enum Options {
    /// Build a roads file from an OpenStreetMap extract (.osm.pbf).
    Build(Build),
    /// Tell what is in a roads file.
    Info {
        /// The roads file.
        file: PathBuf,
    },
}

/// Where from and where to.
#[derive(Args)]
pub struct Build {
    /// The extract, like city.osm.pbf.
    extract: PathBuf,
    /// The roads file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Whose roads: car, bicycle, foot.
    #[arg(long, value_delimiter = ',', default_value = "car,bicycle,foot", value_parser = profile)]
    profiles: Vec<Profile>,
    /// Whom the data belongs to, shown with every map.
    #[arg(long)]
    attribution: Option<String>,
}

/// A profile by its word.
pub fn profile(word: &str) -> Result<Profile, String> {
    Profile::from_code(word).ok_or_else(|| format!("{word:?} is not car, bicycle or foot"))
}

/// Does it.
pub fn run(options: Options) -> anyhow::Result<()> {
    match options {
        Options::Build(options) => build(&options),
        Options::Info { file } => info(&file),
    }
}

fn build(options: &Build) -> anyhow::Result<()> {
    ensure!(
        options.output.extension().is_none_or(|end| end != "pbf"),
        "--output {} ends like an extract; choose another name, like city.roads",
        options.output.display()
    );
    let started = Instant::now();
    let bar = Bar::new(options.profiles.len());
    let built = build_city(&options.extract, &options.profiles, options.attribution.as_deref(), |step| bar.show(step))
        .with_context(|| options.extract.display().to_string());
    bar.end();
    let built = built?;
    built.write(&options.output).with_context(|| format!("cannot write {}", options.output.display()))?;
    let extract = built.extract;
    println!("{} of {} ways can be travelled, {} nodes", extract.ways, extract.ways_read, extract.nodes);
    println!(
        "{} maxspeeds read, {} not; {} conditional tags ignored",
        extract.speeds, extract.speeds_unread, extract.conditional
    );
    println!(
        "{} turn restrictions, {} ignored (via a way, conditional, or incomplete)",
        extract.restrictions, extract.restrictions_ignored
    );
    if extract.nodes_missing > 0 {
        println!("{} nodes are not in the extract: ways are cut there", extract.nodes_missing);
    }
    for (profile, stats) in &built.networks {
        println!(
            "{:8} {:.0} km, {} streets ({:.0} % with a speed of their own), {} junctions (+{} for restrictions), {} arcs; {} streets lead one way \
             only, {} are connected to nothing",
            profile.code(),
            stats.length_km,
            stats.streets,
            stats.tagged * 100.0,
            stats.junctions - stats.copies,
            stats.copies,
            stats.arcs,
            stats.one_way_out,
            stats.unreachable
        );
    }
    let (size, took) = (built.bytes.len() as f64 / 1e6, started.elapsed().as_secs_f64());
    println!("{}: {size:.1} MB in {took:.1} s", options.output.display());
    Ok(())
}

fn info(file: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let networks = open_city(file, &[])?;
    let took = started.elapsed().as_secs_f64();
    for network in &networks {
        let bounds = network.bounds();
        println!(
            "{:8} {} streets, {} junctions, {} segments, {:.0} MB in memory",
            network.profile().code(),
            network.streets().len(),
            network.junction_count(),
            network.segment_count(),
            network.memory_bytes() as f64 / 1e6
        );
        println!("         {:.4}..{:.4} N, {:.4}..{:.4} E", bounds.south, bounds.north, bounds.west, bounds.east);
        println!(
            "         content {:016x}, data of {}, {}",
            network.content_hash(),
            day(network.data_s()),
            network.attribution()
        );
    }
    println!("opened in {took:.2} s");
    Ok(())
}

/// The last second of the year 9999.
const CALENDAR_ENDS_S: u64 = 253_402_300_799;

/// The date of a Unix second, or that it is unknown.
fn day(unix_s: i64) -> String {
    match u64::try_from(unix_s) {
        Ok(since_s @ 1..=CALENDAR_ENDS_S) => {
            let mut day = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since_s)).to_string();
            day.truncate("2024-02-29".len());
            day
        }
        _ => "an unknown day".into(),
    }
}

/// A progress bar on a terminal; silent elsewhere.
struct Bar {
    profiles: usize,
    built: std::cell::Cell<usize>,
    shown: bool,
}

impl Bar {
    fn new(profiles: usize) -> Self {
        Self { profiles, built: std::cell::Cell::new(0), shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, step: Step) {
        const WIDTH: usize = 30;
        let (share, what) = match step {
            // Reading is about as long as building one network.
            Step::Reading(share) => (share / (self.profiles + 1) as f64, "reading the extract".to_owned()),
            Step::Building(profile) => {
                let built = self.built.replace(self.built.get() + 1) + 1;
                (built as f64 / (self.profiles + 1) as f64, format!("building roads for {}", profile.code()))
            }
        };
        if self.shown {
            let full = (share * WIDTH as f64) as usize;
            let bar = format!("{}{}", "#".repeat(full), "·".repeat(WIDTH - full.min(WIDTH)));
            let _ = write!(std::io::stderr(), "\r[{bar}] {:3.0} % {what:<28}", share * 100.0);
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r{:70}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_are_those_of_the_calendar() {
        let known = [(1, "1970-01-01"), (1_433_550_182, "2015-06-06"), (1_709_164_800, "2024-02-29")];
        let edges =
            [(253_402_300_799, "9999-12-31"), (253_402_300_800, "an unknown day"), (i64::MIN, "an unknown day")];
        for (unix_s, day) in known.into_iter().chain(edges) {
            assert_eq!(super::day(unix_s), day);
        }
    }
}
