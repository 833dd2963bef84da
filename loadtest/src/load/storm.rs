//! Everybody at once: drivers who are cut in the same moment, and how soon they are back; others meanwhile.
//!
//! The drivers, by the driver's library, reach the server through relays: processes of the generator's own, because one process may not
//! have as many sockets. Cutting means killing them; the next moment others stand in their places. The others have connections that stay, with a watcher each; what they wait is measured before and during the storm.

use std::fmt;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use wayfare_driver::{Driver, DriverConfig, Event, Way};

use super::process;
use super::report::Quantiles;
use super::{LoadOptions, run, setup};
use crate::rest::Rest;

/// Handshakes on their way at the same time while everybody comes in for the first time.
const AT_ONCE: usize = 64;
/// A server that takes longer is not worth measuring.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// How long the others are measured before the storm.
const QUIET: Duration = Duration::from_secs(15);
/// From the beginning of the others' second run to the cut: their records, connections and warming up.
const BEFORE_CUT: Duration = Duration::from_secs(6);
/// How long it is watched who comes back.
const WATCHED: Duration = Duration::from_secs(60);

/// Drivers of one relay: each takes two of its sockets.
const RELAYED_MOST: usize = 4_000;
/// What a relay reads at once.
const RELAY_BYTES: usize = 2048;

/// How many, and who else.
#[derive(Clone, Debug)]
pub struct StormOptions {
    /// The others: their server, number and so on. Their duration is not used.
    pub others: LoadOptions,
    /// Fixes per second of each of the others.
    pub rate_hz: f64,
    /// Drivers who are cut.
    pub drivers: usize,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StormReport {
    /// Drivers who were cut.
    pub drivers: usize,
    /// Those who were back within [`WATCHED`].
    pub back: usize,
    /// Half of them were back after this, seconds.
    pub back_p50_s: f64,
    /// The last one, seconds.
    pub back_last_s: f64,
    /// Attempts that were answered with a time to come again, or failed.
    pub put_off: u64,
    /// What the others waited before: due until delivered.
    pub others_before: Option<Quantiles>,
    /// The same during the storm.
    pub others_during: Option<Quantiles>,
    /// Fixes of the others that did not arrive during the storm.
    pub others_lost: u64,
}

/// Connects everybody, measures the others, cuts, measures again.
///
/// # Errors
/// Records or connections cannot be made.
pub async fn storm(options: &StormOptions) -> anyhow::Result<StormReport> {
    process::check_open_files(options.drivers + 4 * options.others.drivers)?;
    let others = &options.others;
    let rest = Rest::new(&others.base_url, &others.service_token);
    let making = (0..options.drivers).map(|number| setup::idle_driver(&rest, number));
    let records: Vec<(String, String)> = stream::iter(making).buffer_unordered(16).try_collect().await?;
    let server = reqwest::Url::parse(&others.base_url)?.socket_addrs(|| None)?;
    let server = *server.first().context("the URL has no address")?;
    let mut relays = Vec::new();
    for _ in 0..options.drivers.div_ceil(RELAYED_MOST) {
        relays.push(Relay::start(SocketAddr::from(([127, 0, 0, 1], 0)), server).await?);
    }

    let (told, mut returns) = mpsc::unbounded_channel();
    let connecting = records.iter().enumerate().map(|(number, (_, token))| {
        connect(format!("http://{}", relays[number % relays.len()].address), token, told.clone())
    });
    let drivers: Vec<Driver> = stream::iter(connecting).buffer_unordered(AT_ONCE).try_collect().await?;

    let quiet = run(&LoadOptions { duration: QUIET, ..others.clone() }, options.rate_hz).await?;
    let during = LoadOptions { duration: WATCHED, ..others.clone() };
    let (during, returned) = tokio::join!(run(&during, options.rate_hz), async {
        tokio::time::sleep(BEFORE_CUT).await;
        while returns.try_recv().is_ok() {}
        let cut = Instant::now();
        try_join_all(relays.iter_mut().map(Relay::cut)).await?;
        anyhow::Ok(count_returns(&mut returns, cut, options.drivers).await)
    });
    let ((after, put_off), during) = (returned?, during?);
    let seconds = |us: u64| us as f64 / 1e6;
    let report = StormReport {
        drivers: options.drivers,
        back: after.len() as usize,
        back_p50_s: seconds(after.value_at_quantile(0.5)),
        back_last_s: seconds(after.max()),
        // The cut itself is one for each.
        put_off: put_off.saturating_sub(options.drivers as u64),
        others_before: quiet.delivery,
        others_during: during.delivery,
        others_lost: during.lost,
    };
    drop(drivers);
    let ending = stream::iter(&records).map(|(driver, _)| async {
        let _ = rest.end_duty(driver).await;
    });
    ending.buffer_unordered(16).collect::<()>().await;
    Ok(report)
}

/// Until all are back or it has taken too long: how long each took, microseconds, and how many attempts were in vain.
async fn count_returns(
    returns: &mut mpsc::UnboundedReceiver<Return>,
    cut: Instant,
    drivers: usize,
) -> (Histogram<u64>, u64) {
    let mut after = Histogram::<u64>::new_with_max(120_000_000, 3).expect("these bounds are legal");
    let mut put_off = 0_u64;
    let end = tokio::time::Instant::from_std(cut + WATCHED);
    while after.len() < drivers as u64 {
        match tokio::time::timeout_at(end, returns.recv()).await {
            Ok(Some(Return::Back(at))) => after.saturating_record((at - cut).as_micros() as u64),
            Ok(Some(Return::PutOff)) => put_off += 1,
            Ok(None) | Err(_) => break,
        }
    }
    (after, put_off)
}

enum Return {
    Back(Instant),
    PutOff,
}

async fn connect(url: String, token: &str, told: mpsc::UnboundedSender<Return>) -> anyhow::Result<Driver> {
    let config = DriverConfig { ways: vec![Way::WebSocket], ..DriverConfig::new(url, token) };
    let (driver, mut events) = Driver::connect(config)?;
    tokio::time::timeout(CONNECT_WITHIN, async {
        while let Some(event) = events.recv().await {
            match event {
                Event::Connected { .. } => return Ok(()),
                Event::Stopped { reason, .. } => anyhow::bail!("stopped: {reason}"),
                _ => {}
            }
        }
        anyhow::bail!("the driver ended")
    })
    .await
    .context("no connection in time")??;
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let said = match event {
                Event::Connected { .. } => told.send(Return::Back(Instant::now())),
                Event::Disconnected { .. } | Event::Stopped { .. } => told.send(Return::PutOff),
                _ => continue,
            };
            if said.is_err() {
                return;
            }
        }
    });
    Ok(driver)
}

/// A process that carries bytes between drivers and the server. Dropped, it is killed.
struct Relay {
    address: SocketAddr,
    server: SocketAddr,
    child: Child,
}

impl Relay {
    async fn start(listen: SocketAddr, server: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("relay").arg(listen.to_string()).arg(server.to_string());
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let said = child.stdout.take().context("a relay has an output")?;
        let line = BufReader::new(said).lines().next_line().await?.context("a relay did not start")?;
        Ok(Self { address: line.parse()?, server, child })
    }

    /// Ends all connections at once, and stands there again.
    async fn cut(&mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        *self = Self::start(self.address, self.server).await?;
        Ok(())
    }
}

/// The process that [`storm`] starts: says where it listens, and carries until it is killed.
///
/// # Errors
/// It cannot listen there.
pub async fn relay(listen: SocketAddr, server: SocketAddr, said: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // Its predecessor's connections are still being closed.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let listener = socket.listen(16_384)?;
    said(listener.local_addr()?);
    loop {
        let (mut near, _) = listener.accept().await?;
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(server).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let _ = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, RELAY_BYTES, RELAY_BYTES).await;
        });
    }
}

impl fmt::Display for StormReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} drivers cut at once: {} are back, half after {:.1} s, the last after {:.1} s",
            self.drivers, self.back, self.back_p50_s, self.back_last_s
        )?;
        writeln!(out, "put off         {:>8} times", self.put_off)?;
        for (name, quantiles) in [("others before", self.others_before), ("others during", self.others_during)] {
            if let Some(q) = quantiles {
                writeln!(out, "{name}   p50 {:.2} ms   p99 {:.2} ms   p99.9 {:.2} ms", q.p50_ms, q.p99_ms, q.p999_ms)?;
            }
        }
        write!(out, "others' fixes that did not arrive: {}", self.others_lost)
    }
}
