//! What happens in each scenario.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use wayfare_wire::codec::DriveCodec;

use super::subject::{Kind, Subject};
use super::throttle::Throttle;
use super::{Run, Shown, SuiteOptions};
use crate::load::{self, Crowd, LoadOptions, LoadReport, StormOptions};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A town at work: every courier has one customer who watches
    Town,
    /// The same as fast as it goes: what a fix costs on its whole way
    Cost,
    /// One trip that thousands watch
    Hot,
    /// Maps of all couriers, for those who dispatch
    Dispatch,
    /// Watchers who have stopped reading, and the others meanwhile
    Slow,
    /// Ten times more than the server can do
    Overload,
    /// Everybody is cut at once
    Storm,
}

impl fmt::Display for Scenario {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.title())
    }
}

impl Scenario {
    fn title(self) -> &'static str {
        match self {
            Self::Town => "A delivery town",
            Self::Cost => "The whole way, as fast as it goes",
            Self::Hot => "One hot trip",
            Self::Dispatch => "Dispatch maps",
            Self::Slow => "Watchers who stop reading",
            Self::Overload => "Ten times too much",
            Self::Storm => "Everybody cut at once",
        }
    }

    pub(super) async fn run(self, options: &SuiteOptions) -> anyhow::Result<Shown> {
        let count = |whole: usize| ((whole as f64 * options.scale) as usize).max(1);
        let (mut runs, mut storm) = (Vec::new(), None);
        let about = match self {
            Self::Town => {
                let drivers = count(1_000);
                for kind in everybody(options) {
                    let load = |subject: &Subject| plain(options, kind, subject, drivers, 1);
                    runs.push(measure(kind, options, load, async |load| load::run(load, 1.0).await).await?);
                }
                format!(
                    "{drivers} couriers send a fix a second; each has one customer who watches. How soon the customer sees it."
                )
            }
            Self::Cost => {
                let drivers = count(200);
                for kind in everybody(options) {
                    let load = |subject: &Subject| plain(options, kind, subject, drivers, 1);
                    runs.push(measure(kind, options, load, async |load| load::closed(load, 1, 0.0).await).await?);
                }
                format!(
                    "{drivers} couriers, each with one watcher, send the next fix when the one before has arrived. What a fix costs the server on its whole way. \
                         Relays check and carry it; Wayfare also judges it, filters it, keeps it on the disk before it acks, and computes arrivals."
                )
            }
            Self::Hot => {
                let watchers = count(5_000);
                for kind in everybody(options) {
                    let load = |subject: &Subject| plain(options, kind, subject, 1, watchers);
                    runs.push(measure(kind, options, load, async |load| load::fan(load, 2, 0.0).await).await?);
                }
                format!("One courier, {watchers} watchers, two fixes on the way at once. What a delivery costs.")
            }
            Self::Dispatch => {
                let (drivers, maps) = (count(500), count(100));
                let kind = Kind::Wayfare;
                let load = |subject: &Subject| LoadOptions {
                    crowd: Crowd { maps, ..Crowd::default() },
                    // Who drives on as expected is told again only every 10 s.
                    duration: options.duration.max(Duration::from_secs(15)),
                    ..plain(options, kind, subject, drivers, 0)
                };
                runs.push(measure(kind, options, load, async |load| load::run(load, 1.0).await).await?);
                format!(
                    "{drivers} couriers send a fix a second; {maps} maps show them, each with 19 cells. A marker moves at most every 3 s."
                )
            }
            Self::Slow => {
                let (drivers, asleep) = (count(500), count(200));
                let kind = Kind::Wayfare;
                for asleep in [0, asleep] {
                    let load = |subject: &Subject| LoadOptions {
                        crowd: Crowd { asleep, ..Crowd::default() },
                        ..plain(options, kind, subject, drivers, 1)
                    };
                    let mut run = measure(kind, options, load, async |load| load::run(load, 2.0).await).await?;
                    run.name = format!("{asleep} asleep");
                    runs.push(run);
                }
                format!(
                    "{drivers} couriers send two fixes a second, each has one watcher. Then the same beside {asleep} watchers who have stopped reading, with a receive buffer of 4 KiB."
                )
            }
            Self::Overload => {
                let drivers = count(200);
                let subject = Subject::start(Kind::Wayfare, options, &[]).await?;
                let throttle = Throttle::on(subject.pid);
                let load = plain(options, Kind::Wayfare, &subject, drivers, 1);
                let can = load::closed(&load, 1, 0.0).await?;
                let rate_hz = (10.0 * can.fixes_per_s / drivers as f64).min(900.0);
                let carried = load::newest(&load, rate_hz).await;
                drop(throttle);
                subject.end().await;
                let told = format!(
                    "A server that gets a tenth of its core carries {:.0} fixes a second, one after the other, of {drivers} couriers. Now {:.0} a second are due; what there is no room for is left out by the couriers, \
                     newest first, as apps do that obey the server. How old the newest position is that a watcher has.",
                    can.fixes_per_s,
                    rate_hz * drivers as f64
                );
                runs.push(Run { name: "as much as it can".into(), report: can });
                runs.push(Run { name: "ten times that".into(), report: carried? });
                told
            }
            Self::Storm => {
                let (drivers, others) = (count(5_000), count(200));
                let subject = Subject::start(Kind::Wayfare, options, &[]).await?;
                let load = plain(options, Kind::Wayfare, &subject, others, 1);
                let report = load::storm(&StormOptions { others: load, rate_hz: 1.0, drivers }).await;
                subject.end().await;
                storm = Some(report?);
                format!(
                    "{drivers} couriers are cut in the same moment, while {others} others go on, each with a watcher. How soon they are back, and what the others wait meanwhile."
                )
            }
        };
        Ok(Shown { title: self.title(), about, runs, storm })
    }
}

/// Ours, and the peers if they are there.
fn everybody(options: &SuiteOptions) -> Vec<Kind> {
    let peers = options.peers.iter().flat_map(|_| Kind::PEERS);
    std::iter::once(Kind::Wayfare).chain(peers).collect()
}

fn plain(options: &SuiteOptions, kind: Kind, subject: &Subject, drivers: usize, watchers: usize) -> LoadOptions {
    LoadOptions {
        base_url: subject.url.clone(),
        service_token: subject.token.clone(),
        drivers,
        watchers,
        warm_up: load::WARM_UP,
        duration: options.duration,
        pid: Some(subject.pid),
        threads: 1,
        progress: options.progress,
        codec: DriveCodec::Proto,
        speaks: kind.speaks(),
        crowd: Crowd::default(),
    }
}

/// Starts a server, measures, ends it.
async fn measure(
    kind: Kind,
    options: &SuiteOptions,
    load: impl Fn(&Subject) -> LoadOptions,
    run: impl AsyncFn(&LoadOptions) -> anyhow::Result<LoadReport>,
) -> anyhow::Result<Run> {
    // Everybody comes in within a moment.
    let arrivals = [("GATE_ARRIVALS_PER_SECOND", "100000"), ("GATE_ARRIVALS_BURST", "100000")];
    let subject = Subject::start(kind, options, &arrivals).await?;
    let report = run(&load(&subject)).await;
    subject.end().await;
    Ok(Run { name: kind.name().to_owned(), report: report? })
}
