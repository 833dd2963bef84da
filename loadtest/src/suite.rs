//! Every scenario, one after the other, each against a fresh server of its own, with relays on public libraries beside ours where they can do the
//! same; and one page that shows it all.

mod page;
mod plot;
mod scenario;
mod subject;
mod throttle;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::load::{LoadReport, StormReport};

pub use scenario::Scenario;

/// What to run.
#[derive(Clone, Debug)]
pub struct SuiteOptions {
    /// The `wayfare` binary.
    pub wayfare: PathBuf,
    /// A folder with the relays and their libraries (`loadtest/peers` after `npm install`); without it ours runs alone.
    pub peers: Option<PathBuf>,
    /// Scenarios, in this order.
    pub scenarios: Vec<Scenario>,
    /// How long each is counted.
    pub duration: Duration,
    /// All numbers of drivers and watchers are multiplied by this.
    pub scale: f64,
    /// The core that servers run on, by `taskset`; any if absent.
    pub server_core: Option<u32>,
    /// Progress on standard error.
    pub progress: bool,
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct SuiteReport {
    /// What it ran on.
    pub machine: String,
    /// In the order in which they ran.
    pub scenarios: Vec<Shown>,
}

/// A scenario and what it showed.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its name.
    pub title: &'static str,
    /// What happens in it.
    pub about: String,
    /// Who was measured, in the order of running.
    pub runs: Vec<Run>,
    /// The storm has other figures.
    pub storm: Option<StormReport>,
}

/// One server in one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Which server, and what was special.
    pub name: String,
    /// What it showed.
    pub report: LoadReport,
}

/// Runs everything.
///
/// # Errors
/// A server cannot be started, or a measurement fails; what ran before is lost.
pub async fn suite(options: &SuiteOptions) -> anyhow::Result<SuiteReport> {
    let mut scenarios = Vec::new();
    for scenario in &options.scenarios {
        if options.progress {
            eprintln!("{scenario}");
        }
        scenarios.push(scenario.run(options).await?);
    }
    Ok(SuiteReport { machine: machine(), scenarios })
}

impl SuiteReport {
    /// As one page that needs nothing else.
    pub fn page(&self) -> String {
        page::of(self)
    }
}

/// The processor and how many cores of it.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{}, {cores} cores", model.unwrap_or("an unknown processor"))
}
