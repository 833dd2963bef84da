//! A town at work, in front of a running server: restaurants, couriers, orders that come and go.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wayfare_driver::{Driver, DriverConfig, Event, TokenSource};
use wayfare_engine::Vehicle;

use crate::courier::{Courier, Manner};
use crate::desk::Desk;
use crate::rest::Rest;
use crate::town::Town;
use crate::transport::Transport;

mod follow;

/// Invented first names.
const NAMES: [&str; 12] =
    ["Ada", "Bram", "Chidi", "Dina", "Emre", "Flora", "Goran", "Hana", "Imani", "Jonas", "Kaya", "Luis"];
/// Faster than this many times, couriers would be as fast as the server believes no bicycle to be.
const SPEEDUP_MAX: f64 = 2.5;
/// The server may still be starting.
const SERVER_WITHIN: Duration = Duration::from_secs(30);
/// Open orders are called off at the end, if the server is still there to hear it.
const FAREWELL: Duration = Duration::from_secs(2);

/// How lively the town is.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Couriers at work. With two or more, there is always an order before its pick-up and one after, once the first is picked up.
    pub couriers: usize,
    /// Couriers ride this many times as fast, 0.2..=2.5. Stops take as long as ever: the server wants to see somebody stay.
    pub speedup: f64,
    /// Fixes per second of each courier; `None`: as often as the server asks.
    pub rate_hz: Option<f64>,
    /// Always holds the open orders as JSON:
    /// `[{"title":"Order 17: Trattoria da Rosa","trip":"trp_…","phase":"to_pickup","url":"/track/#trip=trp_…&token=…"}]`.
    pub orders: Option<watch::Sender<String>>,
    /// The same, written to a file whenever it changes; readers never see half of it.
    pub orders_file: Option<PathBuf>,
    /// How the couriers reach the server.
    pub transport: Transport,
    /// Couriers, kitchens and orders are drawn from this number; what comes of it still depends on the clock.
    pub seed: u64,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            couriers: 6,
            speedup: 1.0,
            rate_hz: None,
            orders: None,
            orders_file: None,
            seed: 7,
            transport: Transport::default(),
        }
    }
}

/// Opens the restaurants, sends the couriers to work, and keeps at it until `shutdown`.
///
/// # Errors
/// The server cannot be reached within 30 s, or refuses the restaurants or the couriers; the file of orders cannot be
/// emptied at the end. Later troubles of one courier are
/// logged, and the courier begins again.
pub async fn run_demo(
    base_url: &str,
    service_token: &str,
    town: Town,
    options: DemoOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (rest, town) = (Rest::new(base_url, service_token), Arc::new(town));
    let list = options.orders.clone().unwrap_or_else(|| watch::Sender::new("[]".into()));
    list.send_if_modified(|json| {
        let is_empty = json.is_empty();
        if is_empty {
            "[]".clone_into(json);
        }
        is_empty
    });
    let mut tasks = JoinSet::new();
    if let Some(file) = options.orders_file.clone() {
        tasks.spawn(write_list(list.subscribe(), file));
    }
    let (followed, to_follow) = mpsc::unbounded_channel();
    tokio::pin!(shutdown);
    let opening = open(&rest, &town, &options, list, followed, &mut tasks, to_follow);
    let desk = tokio::select! {
        desk = opening => desk?,
        () = &mut shutdown => return Ok(()),
    };
    shutdown.await;
    tasks.shutdown().await;
    // Whoever is not there any more needs no farewell.
    let _ = tokio::time::timeout(FAREWELL, desk.call_off()).await;
    if let Some(file) = &options.orders_file {
        tokio::fs::write(file, "[]").await?;
    }
    Ok(())
}

async fn open(
    rest: &Rest,
    town: &Arc<Town>,
    options: &DemoOptions,
    list: watch::Sender<String>,
    followed: mpsc::UnboundedSender<String>,
    tasks: &mut JoinSet<()>,
    to_follow: mpsc::UnboundedReceiver<String>,
) -> anyhow::Result<Arc<Desk>> {
    let stores = tokio::time::timeout(SERVER_WITHIN, open_stores(rest, town)).await;
    let stores = stores.context("the server did not answer in time")??;
    let couriers = options.couriers.max(1);
    let desk = Desk::new(rest.clone(), Arc::clone(town), stores, couriers, options.seed, list, followed);
    let desk = Arc::new(desk);
    tasks.spawn(follow::follow(rest.clone(), Arc::clone(&desk), to_follow));
    for number in 0..couriers {
        let hired = hire(rest, town, &desk, options, number).await?;
        // Two begin at a restaurant, so that something is on its way to a customer as soon as the server can believe it.
        tasks.spawn(hired.work(number < 2));
    }
    Ok(desk)
}

/// The first request waits for a server that is still starting.
async fn open_stores(rest: &Rest, town: &Town) -> anyhow::Result<Vec<String>> {
    let mut stores = Vec::with_capacity(town.stores.len());
    for place in &town.stores {
        let at = town.position(town.spot(place));
        let id = loop {
            match rest.create_store(&place.name, at).await {
                Ok(id) => break id,
                Err(crate::rest::RestError::Unreachable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(refused) => return Err(refused.into()),
            }
        };
        stores.push(id);
    }
    Ok(stores)
}

/// A courier with everything needed to begin again after a mishap.
struct Hired {
    id: String,
    rest: Rest,
    desk: Arc<Desk>,
    town: Arc<Town>,
    manner: Manner,
    home: usize,
    transport: Transport,
}

async fn hire(
    rest: &Rest,
    town: &Arc<Town>,
    desk: &Arc<Desk>,
    options: &DemoOptions,
    number: usize,
) -> anyhow::Result<Hired> {
    let mut random = fastrand::Rng::with_seed(options.seed.wrapping_add(1 + number as u64));
    // 21 to 25 km/h by bicycle, 28 to 35 km/h by motorbike.
    let (vehicle, cruise_mps) = match number % 2 {
        0 => (Vehicle::Bicycle, 5.8 + 1.2 * random.f64()),
        _ => (Vehicle::Motorbike, 7.8 + 1.9 * random.f64()),
    };
    let name = NAMES[number % NAMES.len()];
    let id = rest.create_driver(name, vehicle, None).await?;
    Ok(Hired {
        id,
        rest: rest.clone(),
        desk: Arc::clone(desk),
        town: Arc::clone(town),
        transport: options.transport.clone(),
        manner: Manner {
            vehicle,
            cruise_mps: cruise_mps * options.speedup.clamp(0.2, SPEEDUP_MAX),
            rate_hz: options.rate_hz,
            seed: random.u64(..),
        },
        home: random.usize(..town.homes.len()),
    })
}

impl Hired {
    async fn work(self, mut head_start: bool) {
        loop {
            if let Err(error) = self.shift(std::mem::take(&mut head_start)).await {
                tracing::warn!(driver = self.id, %error, "a courier begins again");
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }

    async fn shift(&self, head_start: bool) -> anyhow::Result<()> {
        let (rest, id) = (self.rest.clone(), self.id.clone());
        let token = TokenSource::provider(move || {
            let (rest, id) = (rest.clone(), id.clone());
            async move { Ok(rest.token("driver", &id).await?) }
        });
        let config = self.transport.apply(DriverConfig::new(self.rest.base_url(), token));
        let (driver, events) = Driver::connect(config)?;
        let log = tokio::spawn(log_troubles(self.id.clone(), events));
        let here = self.town.homes[self.home].clone();
        let (desk, town) = (Arc::clone(&self.desk), Arc::clone(&self.town));
        let mut courier = Courier::new(self.id.clone(), driver, desk, town, here, self.manner);
        let result = courier.work(head_start).await;
        log.abort();
        result
    }
}

async fn log_troubles(driver: String, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected { .. } | Event::Acked(_) | Event::Delivery(_) | Event::Withdrawn { .. } => {}
            trouble => tracing::info!(driver, ?trouble, "a courier's phone"),
        }
    }
}

async fn write_list(mut list: watch::Receiver<String>, file: PathBuf) {
    let draft = file.with_extension("json.new");
    loop {
        let json = list.borrow_and_update().clone();
        let written = async {
            tokio::fs::write(&draft, json).await?;
            tokio::fs::rename(&draft, &file).await
        };
        if let Err(error) = written.await {
            tracing::warn!(file = %file.display(), %error, "the list of orders was not written");
        }
        if list.changed().await.is_err() {
            return;
        }
    }
}
