//! Everybody at once: drivers who are cut in the same moment, and how soon they are back; others meanwhile.
//!
//! The drivers, by the driver's library, reach the server through a relay of the generator's own. Cutting means that the relay resets all
//! its connections. The others have connections that stay, with a watcher each; what they wait is measured before and during the storm.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
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
    // Each driver takes its own socket and two of the relay.
    process::check_open_files(3 * options.drivers + 4 * options.others.drivers)?;
    let others = &options.others;
    let rest = Rest::new(&others.base_url, &others.service_token);
    let making = (0..options.drivers).map(|number| setup::idle_driver(&rest, number));
    let records: Vec<(String, String)> = stream::iter(making).buffer_unordered(16).try_collect().await?;
    let server = reqwest::Url::parse(&others.base_url)?.socket_addrs(|| None)?;
    let relay = Relay::start(*server.first().context("the URL has no address")?).await?;
    let url = format!("http://{}", relay.address);

    let (told, mut returns) = mpsc::unbounded_channel();
    let connecting = records.iter().map(|(_, token)| connect(&url, token, told.clone()));
    let drivers: Vec<Driver> = stream::iter(connecting).buffer_unordered(AT_ONCE).try_collect().await?;

    let quiet = run(&LoadOptions { duration: QUIET, ..others.clone() }, options.rate_hz).await?;
    let during = LoadOptions { duration: WATCHED, ..others.clone() };
    let (during, (after, put_off)) = tokio::join!(run(&during, options.rate_hz), async {
        tokio::time::sleep(BEFORE_CUT).await;
        while returns.try_recv().is_ok() {}
        let cut = Instant::now();
        relay.cut();
        count_returns(&mut returns, cut, options.drivers).await
    });
    let during = during?;
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

async fn connect(url: &str, token: &str, told: mpsc::UnboundedSender<Return>) -> anyhow::Result<Driver> {
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

/// Carries bytes between drivers and the server until it is told to cut.
struct Relay {
    address: SocketAddr,
    cut: watch::Sender<u64>,
}

impl Relay {
    async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (cut, heard) = watch::channel(0);
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server, heard.clone()));
            }
        });
        Ok(Self { address, cut })
    }

    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

async fn carry(mut near: TcpStream, server: SocketAddr, mut cut: watch::Receiver<u64>) {
    let Ok(mut far) = TcpStream::connect(server).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_buffer, far_buffer) = (2048, 2048);
    cut.mark_unchanged();
    tokio::select! {
        _ = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, near_buffer, far_buffer) => {}
        _ = cut.changed() => {
            // Closed with a reset, as by a node that is gone.
            let _ = (near.set_zero_linger(), far.set_zero_linger());
        }
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
