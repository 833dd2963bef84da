//! `wayfare eval`: how good arrivals, free-flow times and matches are, on recorded trips.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use wayfare_atlas::open_city;
use wayfare_engine::roads::{Network, Profile};
use wayfare_eval::Report;

/// What to evaluate.
#[derive(Subcommand)]
pub enum Options {
    /// Arrivals foreseen on real trips, replayed in order of time: each trip is predicted only from what had happened before.
    Eta {
        /// The roads file; without one, on straight lines.
        #[arg(long)]
        roads: Option<PathBuf>,
        /// Recorded trips: trace,t,lat,lon.
        #[arg(long)]
        trips: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Positions that watchers of real trips are told: how many, in how many bytes.
    Watch {
        /// The roads file; without one, on straight lines.
        #[arg(long)]
        roads: Option<PathBuf>,
        /// Recorded trips: trace,t,lat,lon.
        #[arg(long)]
        trips: PathBuf,
        /// A position is told when watchers see the courier further away than this, metres.
        #[arg(long, default_value_t = 10.0)]
        tolerance: f32,
        /// Print JSON in place of Markdown.
        #[arg(long)]
        json: bool,
    },
    /// Matched ways against a reference's.
    Match {
        /// The roads file.
        #[arg(long)]
        roads: PathBuf,
        /// Recorded trips: trace,t,lat,lon.
        #[arg(long)]
        trips: PathBuf,
        /// The reference's matches: trace,i,type,way_id.
        reference: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Free-flow times and lengths against a reference's.
    Static {
        /// The roads file.
        #[arg(long)]
        roads: PathBuf,
        /// The reference: id,o_lat,o_lon,d_lat,d_lon,ref_dist_m,ref_time_s.
        reference: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

/// What to print and write.
#[derive(Args)]
pub struct Output {
    /// Write what was predicted to this file, as CSV, for others to score.
    #[arg(long)]
    predictions: Option<PathBuf>,
    /// Print JSON in place of Markdown.
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    match options {
        Options::Eta { roads, trips, output } => {
            let network = roads.as_deref().map(car).transpose()?;
            let traces = wayfare_eval::read_trips(&read(trips)?).with_context(|| trips.display().to_string())?;
            output.give(wayfare_eval::evaluate_arrivals(network, &traces))
        }
        Options::Watch { roads, trips, tolerance, json } => {
            let network = roads.as_deref().map(car).transpose()?;
            let traces = wayfare_eval::read_trips(&read(trips)?).with_context(|| trips.display().to_string())?;
            let report = wayfare_eval::evaluate_watched(network.as_ref(), &traces, *tolerance);
            let output = Output { predictions: None, json: *json };
            output.give((report, String::new()))
        }
        Options::Match { roads, trips, reference, output } => {
            let network = car(roads)?;
            let traces = wayfare_eval::read_trips(&read(trips)?).with_context(|| trips.display().to_string())?;
            let ways = wayfare_eval::read_reference_ways(&read(reference)?)
                .with_context(|| reference.display().to_string())?;
            output.give(wayfare_eval::evaluate_match(&network, &traces, &ways))
        }
        Options::Static { roads, reference, output } => {
            let network = car(roads)?;
            let rows = wayfare_eval::read_static(&read(reference)?).with_context(|| reference.display().to_string())?;
            output.give(wayfare_eval::evaluate_static(&network, &rows))
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn car(file: &Path) -> anyhow::Result<Arc<Network>> {
    let network = open_city(file, &[Profile::Car])?.into_iter().next();
    Ok(Arc::new(network.with_context(|| format!("{} has no roads for cars", file.display()))?))
}

impl Output {
    fn give(&self, (report, predictions): (Report, String)) -> anyhow::Result<()> {
        if let Some(file) = &self.predictions {
            std::fs::write(file, predictions).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if self.json {
            println!("{}", report.json())
        } else {
            println!("{}", report.markdown())
        }
        Ok(())
    }
}
