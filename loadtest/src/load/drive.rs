//! Drivers by the driver's library, on any transport, without watchers: what a fix and an idle connection cost the server.
//!
//! Each driver sends `batch` fixes as one message and waits for its ack: a closed loop, held to the 40 messages a second of the library's
//! own pace. The library costs more than the server, so fixes per second say little; what the server spent on one is what is measured.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::task::LocalSet;
use wayfare_driver::{Driver, DriverConfig, Event};

use super::circle::Circle;
use super::process::{self, Usage};
use super::report::mib;
use super::{WARM_UP, setup};
use crate::clock::Clock;
use crate::rest::Rest;
use crate::transport::Transport;

/// Pause before memory is read, so that nothing is on its way any more.
const SETTLE: Duration = Duration::from_secs(3);
/// Handshakes on their way at the same time.
const AT_ONCE: usize = 32;
/// A server that takes longer is not worth measuring.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct DriveOptions {
    /// The server, `http://host:port`.
    pub base_url: String,
    /// Creates records.
    pub service_token: String,
    /// How the drivers reach it.
    pub transport: Transport,
    /// Drivers, each with one trip and one connection.
    pub drivers: usize,
    /// Fixes in one message; 0: the connections are only held.
    pub batch: usize,
    /// How long to count, after warming up.
    pub duration: Duration,
    /// The server's process.
    pub pid: u32,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriveReport {
    /// `quic`, `ws` or `http`.
    pub transport: &'static str,
    /// `wayfare.drive.v1.proto` or `….json`; requests are JSON whatever it says.
    pub codec: &'static str,
    /// Drivers.
    pub drivers: usize,
    /// Fixes in one message.
    pub batch: usize,
    /// More resident memory of the server per connection, once all were open and nothing had been sent, bytes.
    pub bytes_per_driver: f64,
    /// The same at the end.
    pub bytes_per_driver_held: f64,
    /// Server CPU per handshake, hello included, microseconds.
    pub cpu_us_per_connection: f64,
    /// Fixes acked in the time that was counted.
    pub fixes: u64,
    /// The same per second.
    pub fixes_per_second: f64,
    /// Server CPU per fix, microseconds.
    pub cpu_us_per_fix: f64,
    /// Cores that the server used meanwhile.
    pub cores: f64,
    /// Connections that broke.
    pub broken: u64,
    /// Fixes that were acked and not kept. Judging those costs less: with any of them the figure is of something else.
    pub refused: u64,
}

/// Opens all connections, reads the server's memory, and drives.
///
/// # Errors
/// Records or connections cannot be made, or the process cannot be read.
pub async fn drive(options: &DriveOptions) -> anyhow::Result<DriveReport> {
    process::check_open_files(options.drivers)?;
    let rest = Rest::new(&options.base_url, &options.service_token);
    let records = match options.batch {
        0 => setup::idle_drivers(&rest, options.drivers).await?,
        _ => setup::records(&rest, options.drivers, false).await?,
    };
    let report = LocalSet::new().run_until(measure(options, &records)).await;
    setup::tidy(&rest, &records).await;
    report
}

async fn measure(options: &DriveOptions, records: &[setup::Record]) -> anyhow::Result<DriveReport> {
    tokio::time::sleep(SETTLE).await;
    let before = Usage::of(options.pid)?;
    let (broken, refused) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let connecting = records.iter().map(|record| connect(options, record, Rc::clone(&broken), Rc::clone(&refused)));
    let drivers: Vec<Driver> = stream::iter(connecting).buffer_unordered(AT_ONCE).try_collect().await?;
    let connected = Usage::of(options.pid)?;
    tokio::time::sleep(SETTLE).await;
    let settled = Usage::of(options.pid)?;

    let acked = Rc::new(Cell::new(0_u64));
    let (riding, idle) = if options.batch > 0 { (drivers, Vec::new()) } else { (Vec::new(), drivers) };
    let rides: Vec<_> = riding
        .into_iter()
        .enumerate()
        .map(|(number, driver)| tokio::task::spawn_local(ride(number, driver, options.batch, Rc::clone(&acked))))
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (from, acked_from, began) = (Usage::of(options.pid)?, acked.get(), std::time::Instant::now());
    tokio::time::sleep(options.duration).await;
    let (to, fixes, took) = (Usage::of(options.pid)?, acked.get() - acked_from, began.elapsed());
    rides.iter().for_each(tokio::task::JoinHandle::abort);
    drop(idle);

    let (count, cpu_us) = (options.drivers.max(1) as f64, (to.cpu_us - from.cpu_us) as f64);
    Ok(DriveReport {
        transport: options.transport.way.name(),
        codec: options.transport.codec.subprotocol(),
        drivers: options.drivers,
        batch: options.batch,
        bytes_per_driver: (settled.rss_bytes as f64 - before.rss_bytes as f64) / count,
        bytes_per_driver_held: (to.rss_bytes as f64 - before.rss_bytes as f64) / count,
        cpu_us_per_connection: (connected.cpu_us - before.cpu_us) as f64 / count,
        fixes,
        fixes_per_second: fixes as f64 / took.as_secs_f64(),
        cpu_us_per_fix: if fixes == 0 { 0.0 } else { cpu_us / fixes as f64 },
        cores: cpu_us / 1e6 / took.as_secs_f64(),
        broken: broken.get(),
        refused: refused.get(),
    })
}

async fn connect(
    options: &DriveOptions,
    record: &setup::Record,
    broken: Rc<Cell<u64>>,
    refused: Rc<Cell<u64>>,
) -> anyhow::Result<Driver> {
    let config = options.transport.apply(DriverConfig::new(&*options.base_url, &*record.token));
    let (driver, mut events) = Driver::connect(config)?;
    let first = tokio::time::timeout(CONNECT_WITHIN, events.recv()).await.context("no connection in time")?;
    anyhow::ensure!(matches!(first, Some(Event::Connected { .. })), "no connection: {first:?}");
    tokio::task::spawn_local(async move {
        while let Some(event) = events.recv().await {
            match event {
                Event::Disconnected { .. } | Event::Stopped { .. } => broken.set(broken.get() + 1),
                Event::Acked(acked) => {
                    let lost = acked.verdicts.iter().filter(|verdict| !matches!(&***verdict, "accepted" | "late"));
                    refused.set(refused.get() + lost.count() as u64);
                }
                _ => {}
            }
        }
    });
    Ok(driver)
}

/// One message at a time. `t_ms` goes on by a few milliseconds per fix, so that the past lasts for the whole run.
async fn ride(number: usize, driver: Driver, batch: usize, acked: Rc<Cell<u64>>) {
    let circle = Circle::new(number);
    let mut t_ms = Clock::start().now_ms() - 600_000;
    loop {
        let sent = driver.send_all((0..batch as i64).map(|step| circle.fix(t_ms + 2 * step)));
        if sent.is_err() || driver.flush().await.is_err() {
            return;
        }
        t_ms += 2 * batch as i64;
        acked.set(acked.get() + batch as u64);
    }
}

impl fmt::Display for DriveReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drivers, transport, codec, batch, .. } = self;
        writeln!(out, "{drivers} drivers on {transport} ({codec}), {batch} fixes per message")?;
        let memory = mib(self.bytes_per_driver.max(0.0) as u64 * self.drivers as u64);
        write!(
            out,
            "connections      {:>10.0} bytes each ({memory:.1} MiB), {:.0} us of the server's processor each",
            self.bytes_per_driver, self.cpu_us_per_connection
        )?;
        if self.batch == 0 {
            let (held, broken) = (self.bytes_per_driver_held, self.broken);
            return write!(
                out,
                "\nafter holding    {held:>10.0} bytes each, {:.3} cores, {broken} connections broken",
                self.cores
            );
        }
        write!(
            out,
            "\nfixes            {:>10.0} /s acked, {:.2} us of the server's processor each, {:.2} cores, {} connections broken, {} fixes refused",
            self.fixes_per_second, self.cpu_us_per_fix, self.cores, self.broken, self.refused
        )
    }
}
