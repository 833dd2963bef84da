//! What the server's update rate saves: two equal crowds of couriers in one town at the same time, one that sends at a fixed interval and one that
//! obeys, a share of the trips of both watched from beginning to end.
//!
//! Nothing is sped up: the server sees two ordinary towns. What counts is what the phones upload, and how old the positions are that the
//! watchers have while the order is on its way to them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wayfare_driver::{Driver, DriverConfig, Event};
use wayfare_engine::Vehicle;
use wayfare_wire::messages::watch::ToWatcher;

use crate::clock::Clock;
use crate::courier::{Courier, Manner};
use crate::desk::Desk;
use crate::rest::Rest;
use crate::town::Town;
use crate::transport::Transport;
use crate::view::View;
use crate::watcher::Watcher;

/// How often the age of a watched position is read.
const SAMPLE: Duration = Duration::from_millis(250);
/// A record reaches the watchers' side a moment after it was made.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// Couriers begin spread over this time, so that their trips are not in step.
const SPREAD: Duration = Duration::from_secs(60);

/// What to compare.
#[derive(Clone, Debug)]
pub struct RateOptions {
    /// The server, `http://host:port`.
    pub base_url: String,
    /// Creates records, and watches.
    pub service_token: String,
    /// How the drivers reach it.
    pub transport: Transport,
    /// Couriers of each crowd.
    pub couriers: usize,
    /// One of so many trips is watched; at least 1.
    pub watched_of: usize,
    /// What the first crowd sends at.
    pub fixed: Duration,
    /// How long to run before counting, so that trips of all phases are on their way.
    pub warm_up: Duration,
    /// How long to count.
    pub duration: Duration,
    /// Seed of town and couriers.
    pub seed: u64,
}

/// One crowd.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crowd {
    /// Messages of fixes that were acked.
    pub uploads: u64,
    /// The same per courier and hour.
    pub uploads_per_hour: f64,
    /// Trips that were watched.
    pub watched: u64,
    /// Age of a watched position while the order is on its way, half are younger, seconds.
    pub age_p50_s: f64,
    /// The same, 95 of 100 are younger.
    pub age_p95_s: f64,
    /// The mean.
    pub age_mean_s: f64,
    /// Ages that were read.
    pub samples: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateReport {
    /// Couriers of each crowd.
    pub couriers: usize,
    /// One of so many trips was watched.
    pub watched_of: usize,
    /// What the first crowd sent at, seconds.
    pub fixed_s: f64,
    /// How long was counted, seconds.
    pub seconds: f64,
    /// The crowd that sends at a fixed interval.
    pub fixed: Crowd,
    /// The crowd that obeys the server.
    pub policy: Crowd,
    /// Uploads that the second crowd saved, of those of the first: 0 to 1.
    pub saved: f64,
}

/// Sends both crowds to work, and counts.
///
/// # Errors
/// The server refuses records or connections, or nothing was watched.
pub async fn rate(options: &RateOptions) -> anyhow::Result<RateReport> {
    let rest = Rest::new(&options.base_url, &options.service_token);
    let town = Arc::new(Town::generate(options.seed));
    let mut tasks = JoinSet::new();
    let fixed = Counted::default();
    let policy = Counted::default();
    let mut desks = Vec::new();
    for (counted, rate_hz) in [(&fixed, Some(1.0 / options.fixed.as_secs_f64())), (&policy, None)] {
        desks.push(open(options, &rest, &town, counted, rate_hz, &mut tasks).await?);
    }
    tokio::time::sleep(options.warm_up).await;
    let (from, began) = ((fixed.start(), policy.start()), Instant::now());
    tokio::time::sleep(options.duration).await;
    let seconds = began.elapsed().as_secs_f64();
    let (fixed, policy) =
        (fixed.crowd(from.0, options.couriers, seconds), policy.crowd(from.1, options.couriers, seconds));
    tasks.shutdown().await;
    for desk in desks {
        desk.call_off().await;
    }
    let (fixed, policy) = (fixed.context("the fixed crowd")?, policy.context("the obeying crowd")?);
    let saved = 1.0 - policy.uploads as f64 / fixed.uploads.max(1) as f64;
    let (couriers, watched_of) = (options.couriers, options.watched_of);
    Ok(RateReport { couriers, watched_of, fixed_s: options.fixed.as_secs_f64(), seconds, fixed, policy, saved })
}

/// What is counted of one crowd.
#[derive(Clone, Default)]
struct Counted {
    uploads: Arc<AtomicU64>,
    watched: Arc<AtomicU64>,
    /// Ages in ms, from [`Self::start`] on.
    ages: Arc<std::sync::Mutex<Option<Vec<i64>>>>,
}

impl Counted {
    /// From now on ages count; gives the uploads so far.
    fn start(&self) -> u64 {
        *self.ages() = Some(Vec::new());
        self.uploads.load(Ordering::Relaxed)
    }

    fn note_age(&self, age_ms: i64) {
        if let Some(ages) = &mut *self.ages() {
            ages.push(age_ms);
        }
    }

    fn crowd(&self, uploads_before: u64, couriers: usize, seconds: f64) -> anyhow::Result<Crowd> {
        let uploads = self.uploads.load(Ordering::Relaxed) - uploads_before;
        let mut ages = self.ages().take().unwrap_or_default();
        anyhow::ensure!(!ages.is_empty(), "no watched order was on its way: more couriers, or more time");
        ages.sort_unstable();
        let at = |share: f64| ages[((ages.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
        Ok(Crowd {
            uploads,
            uploads_per_hour: uploads as f64 / couriers.max(1) as f64 / seconds * 3600.0,
            watched: self.watched.load(Ordering::Relaxed),
            age_p50_s: at(0.5),
            age_p95_s: at(0.95),
            age_mean_s: ages.iter().sum::<i64>() as f64 / ages.len() as f64 / 1000.0,
            samples: ages.len() as u64,
        })
    }

    fn ages(&self) -> std::sync::MutexGuard<'_, Option<Vec<i64>>> {
        self.ages.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A desk with its couriers at work and its watchers watching.
async fn open(
    options: &RateOptions,
    rest: &Rest,
    town: &Arc<Town>,
    counted: &Counted,
    rate_hz: Option<f64>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Arc<Desk>> {
    let mut stores = Vec::with_capacity(town.stores.len());
    for place in &town.stores {
        stores.push(rest.create_store(&place.name, town.position(town.spot(place))).await?);
    }
    let (followed, trips) = mpsc::unbounded_channel();
    let list = watch::Sender::new("[]".into());
    // As if for one courier: nobody waits at a door so that visitors find something to look at.
    let desk = Arc::new(Desk::new(rest.clone(), Arc::clone(town), stores, 1, options.seed, list, followed));
    for number in 0..options.couriers {
        let mut random = fastrand::Rng::with_seed(options.seed.wrapping_add(1 + number as u64));
        let vehicle = if number % 2 == 0 { Vehicle::Bicycle } else { Vehicle::Motorbike };
        let cruise_mps = if number % 2 == 0 { 5.8 + 1.2 * random.f64() } else { 7.8 + 1.9 * random.f64() };
        let id = rest.create_driver("Courier", vehicle, None).await?;
        let token = rest.token("driver", &id).await?;
        let config = options.transport.apply(DriverConfig::new(rest.base_url(), token));
        let home = town.homes[random.usize(..town.homes.len())].clone();
        let begins = SPREAD.mul_f64(number as f64 / options.couriers as f64);
        let manner = Manner { vehicle, cruise_mps, rate_hz, seed: random.u64(..) };
        let (desk, town, uploads) = (Arc::clone(&desk), Arc::clone(town), Arc::clone(&counted.uploads));
        tasks.spawn(async move {
            tokio::time::sleep(begins).await;
            let (driver, mut events) = match Driver::connect(config) {
                Ok(connected) => connected,
                Err(error) => return tracing::warn!(%error, "a courier cannot begin"),
            };
            let mut courier = Courier::new(id, driver, desk, town, home, manner);
            tokio::select! {
                worked = courier.work(false) => tracing::warn!(?worked, "a courier stops"),
                () = async {
                    while let Some(event) = events.recv().await {
                        match event {
                            Event::Acked(_) => drop(uploads.fetch_add(1, Ordering::Relaxed)),
                            Event::Connected { .. } | Event::Delivery(_) | Event::Withdrawn { .. } => {}
                            trouble => tracing::info!(?trouble, "a courier's phone"),
                        }
                    }
                } => {}
            }
        });
    }
    tasks.spawn(watch_some(rest.clone(), options.watched_of.max(1), trips, counted.clone()));
    Ok(desk)
}

/// Watches one of so many trips, each on a connection of its own.
async fn watch_some(rest: Rest, of: usize, mut trips: mpsc::UnboundedReceiver<String>, counted: Counted) {
    let mut watchers = JoinSet::new();
    let mut number = 0;
    while let Some(trip) = trips.recv().await {
        // The first is not the one: of few trips, as many are watched as of many.
        if number % of == of / 2 {
            let (rest, counted) = (rest.clone(), counted.clone());
            watchers.spawn(async move {
                if let Err(error) = watch_trip(&rest, &trip, &counted).await {
                    tracing::warn!(%error, trip, "a watcher gives up");
                }
            });
        }
        number += 1;
    }
}

/// Watches what a customer sees until the trip is over.
async fn watch_trip(rest: &Rest, trip: &str, counted: &Counted) -> anyhow::Result<()> {
    tokio::time::sleep(KNOWN_WITHIN).await;
    let mut watcher = Watcher::connect(rest.base_url(), rest.service_token()).await?;
    watcher.subscribe(&format!("trip:{trip}")).await?;
    counted.watched.fetch_add(1, Ordering::Relaxed);
    let (clock, mut view, mut sample) = (Clock::start(), View::default(), tokio::time::interval(SAMPLE));
    loop {
        tokio::select! {
            message = watcher.next() => {
                let message = message?.context("the server closed")?;
                if let ToWatcher::Error(error) = &message {
                    anyhow::bail!("{}", error.message);
                }
                view.apply(&message)?;
            }
            // At the door nothing moves any more, and what stands is told seldom, whatever phones send.
            _ = sample.tick() => if let (Some("to_dropoff" | "arriving"), Some(taken_ms)) = (view.phase(), view.position_ms()) {
                counted.note_age(clock.now_ms() - taken_ms);
            },
        }
        if view.is_ended() {
            return Ok(());
        }
    }
}

impl fmt::Display for RateReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { couriers, watched_of, fixed_s, seconds, .. } = self;
        writeln!(out, "twice {couriers} couriers for {seconds:.0} s, one of {watched_of} trips watched")?;
        for (name, crowd) in [(format!("fixed, {fixed_s} s"), &self.fixed), ("as asked".into(), &self.policy)] {
            writeln!(
                out,
                "{name:<16} {:>7} uploads, {:>5.0} per courier and hour; {} trips watched, position's age p50 {:.2} s, p95 {:.2} s, mean {:.2} s \
                 ({} samples)",
                crowd.uploads,
                crowd.uploads_per_hour,
                crowd.watched,
                crowd.age_p50_s,
                crowd.age_p95_s,
                crowd.age_mean_s,
                crowd.samples
            )?;
        }
        write!(out, "saved            {:>6.1} %", self.saved * 100.0)
    }
}
