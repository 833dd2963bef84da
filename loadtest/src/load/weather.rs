//! QUIC and WebSocket in the same bad weather: how old the newest position is that a watcher has, and whether anything is lost.
//!
//! Drivers of both kinds send at the same time, through [`Air`]; their watchers are connected directly, so that their own line adds nothing.
//! The age is looked at twenty times a second: from the fix's own time until now, whatever delayed it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;
use wayfare_driver::{Driver, DriverConfig, Event, Trust, Way};
use wayfare_wire::messages::watch::ToWatcher;

use super::circle::Circle;
use super::setup::{self, Record};
use crate::air::{Air, Weather};
use crate::clock::Clock;
use crate::rest::Rest;
use crate::watcher::Watcher;

/// Before ages are counted.
const WARM_UP: Duration = Duration::from_secs(10);
/// How often the age is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// After the last fix, time for all acks and for the tracks.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// What to send through what.
#[derive(Clone, Debug)]
pub struct WeatherOptions {
    /// The server, `http://127.0.0.1:port`; it must listen on every address.
    pub base_url: String,
    /// Creates records and watches.
    pub service_token: String,
    /// The port of its QUIC door.
    pub quic_port: u16,
    /// Its certificate.
    pub trust: Trust,
    /// What the air does.
    pub weather: Weather,
    /// Drivers on QUIC, and as many on WebSocket.
    pub drivers: usize,
    /// Between two fixes.
    pub interval: Duration,
    /// How long ages are counted.
    pub duration: Duration,
}

/// One kind of driver.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WayReport {
    /// `quic` or `ws`.
    pub way: &'static str,
    /// Fixes sent.
    pub sent: u64,
    /// Fixes acked.
    pub acked: u64,
    /// Points in the tracks at the end.
    pub kept: u64,
    /// Times a connection had to be made anew.
    pub reconnects: u64,
    /// Age of the newest position, milliseconds: half of the time it is younger,
    pub age_p50_ms: u64,
    /// and 95 % of the time,
    pub age_p95_ms: u64,
    /// and 99 %.
    pub age_p99_ms: u64,
}

/// Both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeatherReport {
    /// QUIC first.
    pub ways: Vec<WayReport>,
}

/// Drives both kinds through the same weather.
///
/// # Errors
/// No device, no connection, or the line of a watcher breaks.
pub async fn weather(options: &WeatherOptions) -> anyhow::Result<WeatherReport> {
    let port = reqwest::Url::parse(&options.base_url)?.port_or_known_default().context("the URL has no port")?;
    let _air = Air::open(options.weather, port, options.quic_port)?;
    let rest = Rest::new(&options.base_url, &options.service_token);
    let records = setup::records(&rest, 2 * options.drivers, false).await?;
    let (quic, ws) = records.split_at(options.drivers);
    let ways =
        tokio::join!(drive(options, port, Way::Quic, quic, &rest), drive(options, port, Way::WebSocket, ws, &rest));
    setup::tidy(&rest, &records).await;
    Ok(WeatherReport { ways: vec![ways.0?, ways.1?] })
}

/// What one driver has come to.
struct Driven {
    ages_ms: Histogram<u64>,
    sent: u64,
    acked: u64,
    reconnects: u64,
}

async fn drive(
    options: &WeatherOptions,
    port: u16,
    way: Way,
    records: &[Record],
    rest: &Rest,
) -> anyhow::Result<WayReport> {
    let mut driving = JoinSet::new();
    for record in records {
        driving.spawn(one(options.clone(), port, way, record.clone()));
    }
    let mut ages_ms = Histogram::<u64>::new_with_max(600_000, 3).context("these bounds are legal")?;
    let mut report = WayReport {
        way: way.name(),
        sent: 0,
        acked: 0,
        kept: 0,
        reconnects: 0,
        age_p50_ms: 0,
        age_p95_ms: 0,
        age_p99_ms: 0,
    };
    while let Some(driven) = driving.join_next().await {
        let driven = driven??;
        ages_ms.add(driven.ages_ms)?;
        report.sent += driven.sent;
        report.acked += driven.acked;
        report.reconnects += driven.reconnects;
    }
    for record in records {
        report.kept += rest.track_points(&record.trip).await?;
    }
    let age = |share| ages_ms.value_at_quantile(share);
    (report.age_p50_ms, report.age_p95_ms, report.age_p99_ms) = (age(0.5), age(0.95), age(0.99));
    Ok(report)
}

async fn one(options: WeatherOptions, port: u16, way: Way, record: Record) -> anyhow::Result<Driven> {
    let clock = Clock::start();
    let newest_ms = Arc::new(AtomicI64::new(0));
    let mut watcher = Watcher::connect(&options.base_url, &options.service_token).await?;
    watcher.subscribe(&format!("trip:{}:ops", record.trip)).await?;
    let told = Arc::clone(&newest_ms);
    let watching = tokio::spawn(async move {
        while let Ok(Some(message)) = watcher.next().await {
            let t_ms = match &message {
                ToWatcher::Snapshot { state, .. } => state["position"]["t_ms"].as_i64(),
                ToWatcher::Delta { patch, .. } => patch["position"]["t_ms"].as_i64(),
                _ => None,
            };
            told.fetch_max(t_ms.unwrap_or(0), Ordering::Relaxed);
        }
    });
    let config = DriverConfig {
        ways: vec![way],
        quic: Some(format!("{}:{}", Air::SERVER, options.quic_port)),
        trust: options.trust.clone(),
        ..DriverConfig::new(format!("http://{}:{port}", Air::SERVER), &*record.token)
    };
    let (driver, mut events) = Driver::connect(config)?;
    let counting = tokio::spawn(async move {
        let (mut acked, mut connected) = (0_u64, 0_u64);
        while let Some(event) = events.recv().await {
            match event {
                Event::Connected { .. } => connected += 1,
                Event::Acked(message) => acked += message.fixes.len() as u64,
                Event::Stopped { code, reason } => {
                    tracing::error!(?way, ?code, ?reason, "a driver was told to stay away")
                }
                _ => {}
            }
        }
        (acked, connected.saturating_sub(1))
    });
    let circle = Circle::new(record.number);
    let (from, end) = (clock.now_ms() + WARM_UP.as_millis() as i64, WARM_UP + options.duration);
    let end_ms = clock.now_ms() + end.as_millis() as i64;
    let mut ages_ms = Histogram::<u64>::new_with_max(600_000, 3).context("these bounds are legal")?;
    let (mut fixes, mut looks) = (tokio::time::interval(options.interval), tokio::time::interval(LOOK));
    let mut sent = 0;
    while clock.now_ms() < end_ms {
        tokio::select! {
            _ = fixes.tick() => {
                driver.send(circle.fix(clock.now_ms()))?;
                sent += 1;
            }
            _ = looks.tick() => {
                let (now_ms, newest_ms) = (clock.now_ms(), newest_ms.load(Ordering::Relaxed));
                if now_ms >= from && newest_ms > 0 {
                    ages_ms.saturating_record((now_ms - newest_ms).max(0) as u64);
                }
            }
        }
    }
    let flushed = tokio::time::timeout(SETTLE_WITHIN, driver.flush()).await;
    flushed.context("fixes were not acked in time")??;
    // Records are folded into tracks every few seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;
    driver.close().await;
    watching.abort();
    let (acked, reconnects) = counting.await?;
    Ok(Driven { ages_ms, sent, acked, reconnects })
}

impl fmt::Display for WeatherReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "way     sent   acked    kept  reconnects  age of the newest position: p50     p95     p99")?;
        for (number, way) in self.ways.iter().enumerate() {
            write!(
                out,
                "{}{:<5} {:>6}  {:>6}  {:>6}  {:>10}  {:>27} ms  {:>4} ms {:>4} ms",
                if number == 0 { "" } else { "\n" },
                way.way,
                way.sent,
                way.acked,
                way.kept,
                way.reconnects,
                way.age_p50_ms,
                way.age_p95_ms,
                way.age_p99_ms
            )?;
        }
        Ok(())
    }
}
