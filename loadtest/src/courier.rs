//! A simulated courier: a real client with an invented body.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::time::Instant;
use wayfare_driver::{Driver, Fix, SendError};
use wayfare_engine::Vehicle;

use crate::clock::Clock;
use crate::desk::{Desk, Free, Order};
use crate::noise::{GpsNoise, normal};
use crate::town::{Flat, Place, Town};
use crate::walk::{Pose, Walk};

/// Least time at a door: the server believes in an arrival after 15 s without a break.
const STOP_S: f64 = 22.0;
/// Longest time a courier waits for others so that the list is never without an order on its way.
const PATIENCE_S: f64 = 240.0;
/// A standing phone still measures a little speed.
const STANDING_MPS: f64 = 0.15;

/// How a courier rides and speaks.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// What the courier rides.
    pub vehicle: Vehicle,
    /// Speed on a free road, m/s.
    pub cruise_mps: f64,
    /// Fixes per second; `None`: as often as the server asks.
    pub rate_hz: Option<f64>,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

/// A courier at work.
pub struct Courier {
    id: String,
    driver: Driver,
    interval: watch::Receiver<u32>,
    desk: Arc<Desk>,
    town: Arc<Town>,
    manner: Manner,
    noise: GpsNoise,
    random: fastrand::Rng,
    clock: Clock,
    here: Place,
    last_fix: Instant,
}

impl Courier {
    /// A courier who stands at `here`. `id` is the driver's, `drv_…`.
    pub fn new(id: String, driver: Driver, desk: Arc<Desk>, town: Arc<Town>, here: Place, manner: Manner) -> Self {
        Self {
            id,
            interval: driver.interval(),
            driver,
            desk,
            town,
            manner,
            noise: GpsNoise::new(manner.seed),
            random: fastrand::Rng::with_seed(manner.seed),
            clock: Clock::start(),
            here,
            last_fix: Instant::now(),
        }
    }

    /// Works for ever: order by order. With `head_start` the courier is already at the first restaurant.
    ///
    /// # Errors
    /// The server refuses an order, or does not answer, or tells the driver to stay away.
    pub async fn work(&mut self, mut head_start: bool) -> anyhow::Result<()> {
        loop {
            let at_door = std::mem::take(&mut head_start);
            let free = Free { driver: &self.id, here: (!at_door).then_some(&self.here) };
            let order = self.desk.next_order(free).await.context("no order")?;
            tracing::debug!(order = order.number, driver = self.id, "an order is taken");
            if at_door {
                self.here = self.town.stores[order.store].clone();
            }
            self.deliver(&order).await?;
        }
    }

    /// One order, from the restaurant to the customer.
    ///
    /// # Errors
    /// The driver was told to stay away, or the server does not take the hand-over.
    pub async fn deliver(&mut self, order: &Order) -> anyhow::Result<()> {
        let town = Arc::clone(&self.town);
        self.ride_to(&town.stores[order.store]).await?;
        let ready_at_ms = order.ready_at_ms;
        self.stay(|courier| courier.clock.now_ms() >= ready_at_ms).await?;
        self.ride_to(&town.homes[order.home]).await?;
        self.stay(|courier| courier.desk.may_hand_over(&order.trip)).await?;
        self.desk.hand_over(&order.trip).await.context("no hand-over")
    }

    async fn ride_to(&mut self, place: &Place) -> anyhow::Result<()> {
        let route = self.town.route(&self.here, place, self.manner.vehicle);
        let mut walk = Walk::new(&route, self.manner.cruise_mps, &mut self.random);
        let mut then = Instant::now();
        while !walk.is_done() {
            let is_due = tokio::select! {
                () = self.until_due() => true,
                // A phone that is asked seldom would ride on behind the end of its way.
                () = tokio::time::sleep(Duration::from_secs(1)) => false,
            };
            let now = Instant::now();
            walk.advance((now - then).as_secs_f64());
            then = now;
            if is_due {
                self.send(walk.pose())?;
            }
        }
        self.here = place.clone();
        Ok(())
    }

    /// Stands here until `done`, but not shorter than a stop takes.
    async fn stay(&mut self, done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let arrived = Instant::now();
        let at = self.town.spot(&self.here);
        loop {
            let stayed_s = arrived.elapsed().as_secs_f64();
            if stayed_s > PATIENCE_S || (stayed_s > STOP_S && done(self)) {
                return Ok(());
            }
            tokio::select! {
                () = self.until_due() => {}
                // A phone that stands is asked for fixes so seldom that one would leave late.
                () = tokio::time::sleep(Duration::from_secs(1)) => continue,
            }
            let (speed_mps, heading_deg) = (0.0, 0.0);
            self.send(Pose { at, speed_mps, heading_deg })?;
        }
    }

    /// Waits until the next fix is due; follows a change of the wanted rate at once.
    async fn until_due(&mut self) {
        loop {
            let wanted_ms = f64::from((*self.interval.borrow_and_update()).max(100));
            let interval_ms = self.manner.rate_hz.map_or(wanted_ms, |hz| 1000.0 / hz);
            let due = self.last_fix + Duration::from_secs_f64(interval_ms / 1000.0);
            let changed = tokio::select! {
                () = tokio::time::sleep_until(due) => false,
                changed = self.interval.changed() => changed.is_ok(),
            };
            if !changed {
                tokio::time::sleep_until(due).await;
                return;
            }
        }
    }

    fn send(&mut self, pose: Pose) -> anyhow::Result<()> {
        let elapsed_s = self.last_fix.elapsed().as_secs_f64();
        self.last_fix = Instant::now();
        let error = self.noise.next(elapsed_s);
        let position = self
            .town
            .position(Flat { east_m: pose.at.east_m + error.east_m, north_m: pose.at.north_m + error.north_m });
        let moving = pose.speed_mps > 0.5;
        let jitter_mps = if moving { 0.4 } else { STANDING_MPS };
        let speed_mps = (pose.speed_mps + jitter_mps * normal(&mut self.random)).max(0.0);
        let heading_deg = (pose.heading_deg + 6.0 * normal(&mut self.random)).rem_euclid(360.0);
        let fix = Fix {
            lat: position.lat_deg(),
            lon: position.lon_deg(),
            t_ms: Some(self.clock.now_ms()),
            accuracy_m: Some(error.accuracy_m),
            speed_mps: Some(speed_mps as f32),
            heading_deg: moving.then_some(heading_deg as f32),
            ..Fix::default()
        };
        match self.driver.send(fix) {
            Ok(()) => Ok(()),
            // The newest fix of a courier whose server is away for hours is the one to do without.
            Err(SendError::QueueFull { .. }) => Ok(()),
            Err(fatal @ (SendError::Stopped(_) | SendError::Disk { .. })) => Err(fatal.into()),
        }
    }
}
