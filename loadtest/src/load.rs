//! Many drivers and watchers, to measure the server.
//!
//! Seven measurements: [`run`] is open loop (fixes are due at fixed times, whatever the server does) and measures latency;
//! [`closed`] keeps one fix on its way per driver and measures cost; [`fan`] has one driver and many watchers;
//! [`idle`] only holds connections and measures memory; [`drive()`](drive) sends by the driver's library on any transport; [`storm()`](storm) cuts
//! everybody at once; `weather` compares QUIC and WebSocket on a bad line.
//!
//! The generator must cost less than the server. Each of its threads owns its connections: one poll loop, one read
//! buffer, frames read in place, `t_ms` found by a text search; no task, timer or allocation per connection or message.
//! `t_ms` names a fix: it is the millisecond at which the fix was due, different for each fix of a driver.
//! Watchers watch `trip:{id}:ops`, which shows the position from the assignment on.
//!
//! Server and generator should share a clock (best: one machine). A closed loop may send a driver's fixes faster than the
//! server lets one client speak (50 messages a second); `rate_max_hz` keeps below that unless the server's limit was raised.

mod circle;
mod client;
mod counts;
mod drive;
mod frames;
mod idle;
mod peer;
mod process;
mod progress;
mod report;
mod setup;
mod storm;
mod trace;
#[cfg(target_os = "linux")]
mod weather;
mod worker;

pub use drive::{DriveOptions, DriveReport, drive};
pub use idle::{IdleOptions, IdleReport, idle};
pub use peer::Speaks;
pub use report::{LoadReport, Quantiles, ServerUsage};
pub use storm::{StormOptions, StormReport, relay, storm};
pub use trace::Sample;
#[cfg(target_os = "linux")]
pub use weather::{WayReport, WeatherOptions, WeatherReport, weather};

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use wayfare_engine::MapCell;
use wayfare_wire::Topic;
use wayfare_wire::codec::DriveCodec;

use crate::clock::Clock;
use crate::rest::Rest;
use counts::{Counts, Live};
use process::Usage;
use worker::{Pace, Window, Worker};

/// Fixes sent before counting begins, so that caches and pages are warm, if nothing else is asked.
pub const WARM_UP: Duration = Duration::from_secs(2);
/// After the last fix, time for what is still on its way.
const DRAIN: Duration = Duration::from_secs(2);

/// Where to measure, and how long.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The server, `http://host:port`.
    pub base_url: String,
    /// Creates records and watches.
    pub service_token: String,
    /// Drivers, each with one trip and one connection.
    pub drivers: usize,
    /// Watchers of each trip, each with one connection.
    pub watchers: usize,
    /// How long fixes are sent before counting begins. Thousands of trips that begin in one second are news for the records: they are at it for
    /// some seconds.
    pub warm_up: Duration,
    /// How long to count. Windows of at least 8 s tell something.
    pub duration: Duration,
    /// The server's process, to measure its CPU and memory.
    pub pid: Option<u32>,
    /// Threads of the generator.
    pub threads: usize,
    /// A line of progress on standard error.
    pub progress: bool,
    /// How drivers write.
    pub codec: DriveCodec,
    /// What the server is: ours, or a relay to compare with.
    pub speaks: Speaks,
    /// Who else is there.
    pub crowd: Crowd,
}

/// Others beside the drivers and their watchers; only our own server knows them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crowd {
    /// Watchers who have stopped reading, each of the first trip, with a receive buffer of 4 KiB.
    pub asleep: usize,
    /// Maps of all drivers, each with as many cells as a screen shows.
    pub maps: usize,
}

/// What one who has stopped reading still takes.
const ASLEEP_BYTES: usize = 4096;

/// Cells of one map: a screen at street zoom with a margin.
const CELLS_OF_A_MAP: usize = 19;

/// Open loop: every driver sends `rate_hz` fixes a second.
///
/// # Errors
/// Records or connections cannot be made, or a process cannot be read.
pub async fn run(options: &LoadOptions, rate_hz: f64) -> anyhow::Result<LoadReport> {
    measure("open loop", options, Pace::Open { rate_hz }).await
}

/// Open loop that leaves out what cannot be sent in time: measures how old the newest positions are when there is too much of everything.
///
/// # Errors
/// As [`run`].
pub async fn newest(options: &LoadOptions, rate_hz: f64) -> anyhow::Result<LoadReport> {
    measure("open loop, newest first", options, Pace::Newest { rate_hz }).await
}

/// Closed loop: a driver sends its next fix when all its watchers got one of the `in_flight` before, and at most `rate_max_hz`
/// times a second (0: no limit).
///
/// # Errors
/// As [`run`].
pub async fn closed(options: &LoadOptions, in_flight: usize, rate_max_hz: f64) -> anyhow::Result<LoadReport> {
    // Without a watcher nothing would ever arrive.
    let options = LoadOptions { watchers: options.watchers.max(1), ..options.clone() };
    let pace = Pace::Closed { in_flight: in_flight.max(1), rate_max_hz };
    measure("closed loop", &options, pace).await
}

/// Fan-out: one driver, closed loop, as many watchers as `options` says.
///
/// # Errors
/// As [`run`].
pub async fn fan(options: &LoadOptions, in_flight: usize, rate_max_hz: f64) -> anyhow::Result<LoadReport> {
    // One topic lives in one thread.
    let options = LoadOptions { drivers: 1, threads: 1, watchers: options.watchers.max(1), ..options.clone() };
    let pace = Pace::Closed { in_flight: in_flight.max(1), rate_max_hz };
    measure("fan-out", &options, pace).await
}

async fn measure(kind: &str, options: &LoadOptions, pace: Pace) -> anyhow::Result<LoadReport> {
    let connections = options.connections();
    process::check_open_files(connections)?;
    let rest = Rest::new(&options.base_url, &options.service_token);
    let before = options.pid.map(Usage::of).transpose()?;
    let records = match options.speaks {
        Speaks::Wayfare => setup::records(&rest, options.drivers, options.progress).await?,
        Speaks::Relay | Speaks::SocketIo => setup::rooms(options.drivers),
    };
    let (clock, live) = (Clock::start(), Arc::new(Live::default()));
    let threads = options.threads.clamp(1, options.drivers.max(1));
    let shares = setup::share(&records, threads);
    let workers = connect(options, &shares, pace, clock, &live).await?;

    let warm_ms = options.warm_up.as_millis() as i64;
    let from_ms = clock.now_ms() + warm_ms + 200;
    let window = Window {
        start_ms: from_ms - warm_ms,
        from_ms,
        to_ms: from_ms + options.duration.as_millis() as i64,
        end_ms: from_ms + (options.duration + DRAIN).as_millis() as i64,
    };
    let threads = workers.into_iter().map(|worker| {
        let named = std::thread::Builder::new().name("load".into());
        named.spawn(move || worker.run(window))
    });
    let threads: Vec<_> = threads.collect::<Result<_, _>>()?;
    let trace = trace::record(Arc::clone(&live), window, clock, options.pid);
    let shown = options.progress.then(|| progress::show(Arc::clone(&live), window, clock));
    let at = |unix_ms| tokio::time::sleep_until(clock.instant(unix_ms).into());
    at(window.from_ms).await;
    let usage = |pid: Option<u32>| pid.map(Usage::of).transpose();
    let (server_from, own_from) = (usage(options.pid)?, Usage::of(std::process::id())?);
    at(window.to_ms).await;
    let (server_to, own_to) = (usage(options.pid)?, Usage::of(std::process::id())?);
    let mut counts = Counts::default();
    for thread in threads {
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        let counted = joined.map_err(|_| anyhow::anyhow!("a thread of the generator panicked"))?;
        counts.add(counted?);
    }
    if let Some(shown) = shown {
        shown.abort();
        progress::clear();
    }
    if options.speaks == Speaks::Wayfare {
        setup::tidy(&rest, &records).await;
    }
    Ok(LoadReport::new(&report::Measured {
        kind,
        options,
        counts: &counts,
        server: server_from.zip(server_to),
        generator: (own_from, own_to),
        rss_before: before.map(|usage| usage.rss_bytes),
        trace: trace.await?,
    }))
}

/// Opens all connections, each share in a thread of its own.
async fn connect(
    options: &LoadOptions,
    shares: &[Vec<setup::Record>],
    pace: Pace,
    clock: Clock,
    live: &Arc<Live>,
) -> anyhow::Result<Vec<Worker>> {
    let server = client::Server::new(&options.base_url, &options.service_token, options.speaks)?;
    let cells = cells_of(shares.iter().flatten());
    let joining = shares.iter().enumerate().map(|(number, share)| {
        // The crowd stands with the first thread.
        let (cells, crowd) = (cells.clone(), if number == 0 { options.crowd } else { Crowd::default() });
        let (server, share, live) = (server.clone(), share.clone(), Arc::clone(live));
        let (watchers, codec) = (options.watchers, options.codec);
        tokio::task::spawn_blocking(move || {
            let mut worker = Worker::new(pace, clock, live, server.speaks())?;
            for record in &share {
                worker.add_ride(&server, record, watchers, codec)?;
            }
            for number in 0..crowd.maps {
                // Each looks at another place.
                let start = number * 7 % cells.len().max(1);
                let seen: Vec<String> =
                    cells.iter().cycle().skip(start).take(CELLS_OF_A_MAP.min(cells.len())).cloned().collect();
                worker.add_map(server.watch_topics(&seen, None)?)?;
            }
            let first = share.first().map(|record| format!("trip:{}:ops", record.trip));
            for topic in first.iter().cycle().take(crowd.asleep) {
                worker.add_asleep(server.watch_topics(std::slice::from_ref(topic), Some(ASLEEP_BYTES))?);
            }
            anyhow::Ok(worker)
        })
    });
    let mut workers = Vec::with_capacity(shares.len());
    for joined in futures_util::future::join_all(joining).await {
        workers.push(joined?.context("opening connections")?);
    }
    Ok(workers)
}

/// Topics of the cells that drivers are in at some time of their circle, near ones beside each other.
fn cells_of<'a>(records: impl Iterator<Item = &'a setup::Record>) -> Vec<String> {
    let mut cells: Vec<String> = Vec::new();
    for record in records {
        let circle = circle::Circle::new(record.number);
        for t_ms in (0..circle::TURN_MS).step_by(circle::TURN_MS as usize / 8) {
            let Some(cell) = MapCell::of_position(circle.at(t_ms)) else { continue };
            let topic = Topic::Area(cell).to_string();
            if !cells.contains(&topic) {
                cells.push(topic);
            }
        }
    }
    cells
}

impl LoadOptions {
    /// All connections that such a measurement opens.
    pub fn connections(&self) -> usize {
        self.drivers * (1 + self.watchers) + self.crowd.asleep + self.crowd.maps
    }
}
