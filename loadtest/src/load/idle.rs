//! What a connection costs that does nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::client::{Opened, Server};
use super::counts::Live;
use super::peer::Speaks;
use super::process::{self, Usage};
use super::report::mib;
use super::worker::{Pace, Window, Worker};
use super::{progress, setup};
use crate::clock::Clock;
use crate::rest::Rest;
use wayfare_wire::codec::DriveCodec;

/// Least trips that the watchers share.
const TRIPS: usize = 100;
/// Pause before memory is read, so that nothing is on its way any more.
const SETTLE: Duration = Duration::from_secs(3);
/// Requests on their way at the same time.
const AT_ONCE: usize = 16;

/// How many connections to hold, and how long.
#[derive(Clone, Debug)]
pub struct IdleOptions {
    /// The server, `http://host:port`.
    pub base_url: String,
    /// Creates records and watches.
    pub service_token: String,
    /// Watchers.
    pub watchers: usize,
    /// Topics of each; the server's `fanout.topics_per_connection_max` must allow so many.
    pub topics: usize,
    /// Drivers that send nothing.
    pub drivers: usize,
    /// How long to hold them; over a minute shows whether heartbeats cost memory.
    pub hold: Duration,
    /// The server's process.
    pub pid: u32,
    /// A line of progress on standard error.
    pub progress: bool,
}

/// Resident memory of the server, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IdleReport {
    /// Watchers held.
    pub watchers: usize,
    /// Topics of each.
    pub topics: usize,
    /// Drivers held.
    pub drivers: usize,
    /// With all records, before any connection.
    pub rss_before: u64,
    /// With the watchers.
    pub rss_watchers: u64,
    /// With the drivers as well.
    pub rss_all: u64,
    /// After they were held.
    pub rss_held: u64,
    /// More memory per watcher.
    pub bytes_per_watcher: f64,
    /// The same for each of its subscriptions, the connection's own included.
    pub bytes_per_subscription: f64,
    /// More memory per driver.
    pub bytes_per_driver: f64,
    /// CPU time of the server while they were held, in cores.
    pub cores_held: f64,
    /// Connections that the server closed meanwhile.
    pub connections_closed: u64,
}

/// Opens connections, holds them, and reads the server's memory at each step.
///
/// # Errors
/// Records or connections cannot be made, or the process cannot be read.
pub async fn idle(options: &IdleOptions) -> anyhow::Result<IdleReport> {
    process::check_open_files(options.watchers + options.drivers)?;
    let rest = Rest::new(&options.base_url, &options.service_token);
    let server = Server::new(&options.base_url, &options.service_token, Speaks::Wayfare)?;
    let trips = (0..TRIPS.min(options.watchers).max(options.topics)).map(|number| {
        let rest = rest.clone();
        async move { rest.create_trip(&setup::trip(number, None)).await }
    });
    let trips: Vec<_> = stream::iter(trips).buffer_unordered(AT_ONCE).try_collect().await?;
    let drivers = (0..options.drivers).map(|number| setup::idle_driver(&rest, number));
    let drivers: Vec<_> = stream::iter(drivers).buffer_unordered(AT_ONCE).try_collect().await?;

    let clock = Clock::start();
    let worker = Worker::new(Pace::Idle, clock, Arc::new(Live::default()), Speaks::Wayfare)?;
    let settled = async || {
        tokio::time::sleep(SETTLE).await;
        Usage::of(options.pid)
    };
    let before = settled().await?;
    let door = server.clone();
    let topics: Vec<String> = trips.iter().map(|trip| format!("trip:{}:ops", trip.id)).collect();
    let each = options.topics;
    let watch = move |number: usize| {
        let own: Vec<String> = topics.iter().cycle().skip(number % topics.len()).take(each).cloned().collect();
        door.watch_topics(&own, None)
    };
    let worker = open(worker, "watchers", options.watchers, options.progress, watch).await?;
    let with_watchers = settled().await?;
    let drive = move |number: usize| {
        let (_, token): &(String, String) = &drivers[number];
        server.drive_wayfare(token, fastrand::u64(1..), DriveCodec::Json)
    };
    let worker = open(worker, "drivers", options.drivers, options.progress, drive).await?;
    let with_all = settled().await?;
    let (start_ms, hold_ms) = (clock.now_ms(), options.hold.as_millis() as i64);
    let end_ms = start_ms + hold_ms;
    let window = Window { start_ms, from_ms: start_ms, to_ms: end_ms, end_ms };
    let counts = tokio::task::spawn_blocking(move || worker.run(window)).await??;
    let held = Usage::of(options.pid)?;
    if options.progress {
        progress::clear();
    }
    for trip in &trips {
        let _ = rest.cancel(&trip.id, "the load test ended").await;
    }
    let more =
        |from: Usage, to: Usage, count: usize| (to.rss_bytes as f64 - from.rss_bytes as f64) / count.max(1) as f64;
    Ok(IdleReport {
        watchers: options.watchers,
        topics: options.topics,
        drivers: options.drivers,
        rss_before: before.rss_bytes,
        rss_watchers: with_watchers.rss_bytes,
        rss_all: with_all.rss_bytes,
        rss_held: held.rss_bytes,
        bytes_per_watcher: more(before, with_watchers, options.watchers),
        bytes_per_subscription: more(before, with_watchers, options.watchers * options.topics),
        bytes_per_driver: more(with_watchers, with_all, options.drivers),
        cores_held: held.cpu_us.saturating_sub(with_all.cpu_us) as f64 / 1000.0 / hold_ms.max(1) as f64,
        connections_closed: counts.closed,
    })
}

/// Opens `count` connections, one after the other, beside the runtime.
async fn open(
    mut worker: Worker,
    what: &'static str,
    count: usize,
    show: bool,
    connect: impl Fn(usize) -> anyhow::Result<Opened> + Send + 'static,
) -> anyhow::Result<Worker> {
    let opening = tokio::task::spawn_blocking(move || {
        for number in 0..count {
            worker.add_idle(connect(number)?)?;
            if show && number % 100 == 0 {
                progress::step(what, number, count);
            }
        }
        Ok(worker)
    });
    opening.await?
}

impl fmt::Display for IdleReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "memory before    {:>10.1} MiB", mib(self.rss_before))?;
        let (watchers, drivers) = (self.watchers, self.drivers);
        writeln!(
            out,
            "with watchers    {:>10.1} MiB   {watchers} watchers, {:.0} bytes each",
            mib(self.rss_watchers),
            self.bytes_per_watcher
        )?;
        if self.topics > 1 {
            let (topics, bytes) = (self.topics, self.bytes_per_subscription);
            writeln!(
                out,
                "  subscriptions  {:>10}       {topics} topics each, {bytes:.0} bytes per subscription",
                watchers * topics
            )?;
        }
        if drivers > 0 {
            writeln!(
                out,
                "and drivers      {:>10.1} MiB   {drivers} drivers, {:.0} bytes each",
                mib(self.rss_all),
                self.bytes_per_driver
            )?;
        }
        write!(
            out,
            "after holding    {:>10.1} MiB   {:.3} cores, {} connections closed by the server",
            mib(self.rss_held),
            self.cores_held,
            self.connections_closed
        )
    }
}
