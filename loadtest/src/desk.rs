//! The order desk of the demo: takes orders, gives them to couriers, and keeps the list that the pages show.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use wayfare_engine::{Phase, Vehicle};

use crate::clock::Clock;
use crate::rest::{NewTrip, Point, Rest, RestError};
use crate::town::{Place, Town};

/// Way from store to customer, metres: two to four minutes by bicycle or motorbike.
const WAY_M: std::ops::Range<f64> = 500.0..1_100.0;
/// Couriers are sent to restaurants at most this far away, metres, unless nobody is nearer to an old order.
const APPROACH_M: f64 = 900.0;
/// An order that has waited this long goes to whoever is free, ms.
const OLD_MS: i64 = 60_000;
/// Orders taken while no courier is free. One is enough for the list always to show an order before its pick-up.
const WAITING: usize = 1;
/// Time the kitchen takes, ms.
const KITCHEN_MS: std::ops::Range<i64> = 30_000..90_000;
/// The same for an order whose courier is already at the door.
const AT_DOOR_MS: i64 = 10_000;

/// Who asks for an order.
#[derive(Clone, Copy, Debug)]
pub struct Free<'a> {
    /// The driver, `drv_…`.
    pub driver: &'a str,
    /// Where the courier is; `None`: at the door of whichever restaurant has the next order, which is nearly ready.
    pub here: Option<&'a Place>,
}

/// An order, from the moment it is taken.
#[derive(Clone, Debug)]
pub struct Order {
    /// Running number, from 1.
    pub number: u32,
    /// Its trip, `trp_…`.
    pub trip: String,
    /// Index of the restaurant in [`Town::stores`].
    pub store: usize,
    /// Index of the customer in [`Town::homes`].
    pub home: usize,
    /// When it was taken, Unix ms.
    pub taken_ms: i64,
    /// When the kitchen is ready, Unix ms.
    pub ready_at_ms: i64,
}

/// One line of the list.
#[derive(Clone, Debug, Serialize)]
struct Line {
    title: String,
    trip: String,
    phase: String,
    url: String,
    #[serde(skip)]
    number: u32,
}

#[derive(Default)]
struct Board {
    waiting: VecDeque<Order>,
    lines: HashMap<String, Line>,
}

/// The desk; shared by all couriers.
pub struct Desk {
    rest: Rest,
    town: std::sync::Arc<Town>,
    /// Ids of the restaurants, in the order of [`Town::stores`].
    stores: Vec<String>,
    clock: Clock,
    couriers: usize,
    next_number: AtomicU32,
    random: Mutex<fastrand::Rng>,
    board: Mutex<Board>,
    turn: tokio::sync::Mutex<()>,
    list: watch::Sender<String>,
    /// Trips whose phase is to be followed.
    followed: mpsc::UnboundedSender<String>,
}

impl Desk {
    /// A desk without orders, which will draw them from `seed`. `list` always holds the open orders as JSON, oldest first; each new trip is told to `followed`.
    pub fn new(
        rest: Rest,
        town: std::sync::Arc<Town>,
        stores: Vec<String>,
        couriers: usize,
        seed: u64,
        list: watch::Sender<String>,
        followed: mpsc::UnboundedSender<String>,
    ) -> Self {
        Self {
            rest,
            town,
            stores,
            clock: Clock::start(),
            couriers,
            next_number: AtomicU32::new(1),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            board: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            list,
            followed,
        }
    }

    /// Gives an order to a courier: the one that waits if it suits, otherwise a new one. Takes another one in if none waits.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn next_order(&self, free: Free<'_>) -> Result<Order, RestError> {
        // One courier after the other, or several would each take an order in.
        let _turn = self.turn.lock().await;
        let waiting = self.pick(free);
        let order = match waiting {
            Some(order) => order,
            None => self.take_order(Some(free)).await?,
        };
        self.rest.assign(&order.trip, free.driver).await?;
        while self.board().waiting.len() < WAITING {
            let another = self.take_order(None).await?;
            self.board().waiting.push_back(another);
        }
        Ok(order)
    }

    /// The waiting order, if it is old or its restaurant near.
    fn pick(&self, free: Free<'_>) -> Option<Order> {
        let mut board = self.board();
        let order = board.waiting.front()?;
        let is_old = self.clock.now_ms() - order.taken_ms > OLD_MS;
        let suits = free.here.is_some_and(|here| is_old || self.is_near(here, order.store));
        suits.then(|| board.waiting.pop_front()).flatten()
    }

    fn is_near(&self, here: &Place, store: usize) -> bool {
        self.town.route(here, &self.town.stores[store], Vehicle::Bicycle).length_m <= APPROACH_M
    }

    /// Whether this order may be handed over now: not while it is the only one on its way to a customer, so that a visitor
    /// always finds one to look at.
    #[must_use]
    pub fn may_hand_over(&self, trip: &str) -> bool {
        let board = self.board();
        let mut others = board.lines.values().filter(|line| line.trip != trip);
        self.couriers < 2 || others.any(|line| is_picked_up(&line.phase))
    }

    /// The order was handed over: it leaves the list.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn hand_over(&self, trip: &str) -> Result<(), RestError> {
        self.rest.complete(trip).await?;
        self.forget(trip);
        Ok(())
    }

    /// Notes how far a trip has come.
    pub fn set_phase(&self, trip: &str, phase: &str) {
        let mut board = self.board();
        let Some(line) = board.lines.get_mut(trip) else {
            return;
        };
        if line.phase != phase {
            phase.clone_into(&mut line.phase);
            self.publish(&board);
        }
    }

    /// The trip is over.
    pub fn forget(&self, trip: &str) {
        let mut board = self.board();
        board.waiting.retain(|order| order.trip != trip);
        if board.lines.remove(trip).is_some() {
            self.publish(&board);
        }
    }

    /// Calls off everything that is still open.
    pub async fn call_off(&self) {
        let trips: Vec<String> = self.board().lines.keys().cloned().collect();
        let cancels = trips.iter().map(|trip| self.rest.cancel(trip, "the demo ended"));
        // The server may be shutting down as well: then there is nothing left to tidy.
        futures_util::future::join_all(cancels).await;
        trips.iter().for_each(|trip| self.forget(trip));
    }

    /// Takes an order, near a courier if it is for one.
    async fn take_order(&self, free: Option<Free<'_>>) -> Result<Order, RestError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (store, home, kitchen_ms) = self.draw(free);
        let (restaurant, customer) = (&self.town.stores[store], &self.town.homes[home]);
        let at = |place| self.town.position(self.town.spot(place));
        let taken_ms = self.clock.now_ms();
        let ready_at_ms = taken_ms + kitchen_ms;
        let new_trip = NewTrip {
            store: Some(self.stores[store].clone()),
            customer: format!("cus-{}", home + 1),
            driver: None,
            driver_since_ms: None,
            pickup: Point::new(at(restaurant), restaurant.name.clone()),
            dropoff: Point::new(at(customer), customer.name.clone()),
            ready_at_ms: Some(ready_at_ms),
            reference: Some(number.to_string()),
        };
        let trip = self.rest.create_trip(&new_trip).await?;
        let token = self.rest.token("share", &trip.id).await?;
        let line = Line {
            title: format!("Order {number}: {}", restaurant.name),
            trip: trip.id.clone(),
            phase: trip.phase,
            url: format!("/track/#trip={}&token={token}", trip.id),
            number,
        };
        let mut board = self.board();
        board.lines.insert(trip.id.clone(), line);
        self.publish(&board);
        drop(board);
        // Nobody follows any more when the demo is ending.
        let _ = self.followed.send(trip.id.clone());
        Ok(Order { number, trip: trip.id, store, home, taken_ms, ready_at_ms })
    }

    /// A restaurant, a customer at a fair distance, and the kitchen's time.
    fn draw(&self, free: Option<Free<'_>>) -> (usize, usize, i64) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let here = free.and_then(|free| free.here);
        let near = |store: &usize| here.is_none_or(|here| self.is_near(here, *store));
        let drawn = (0..30).map(|_| random.usize(..self.stores.len())).find(near);
        let store = drawn.unwrap_or(0);
        let from = &self.town.stores[store];
        let fair = |home: &usize| {
            let route = self.town.route(from, &self.town.homes[*home], Vehicle::Bicycle);
            WAY_M.contains(&route.length_m)
        };
        let drawn = (0..50).map(|_| random.usize(..self.town.homes.len())).find(fair);
        let kitchen_ms = match free {
            Some(Free { here: None, .. }) => AT_DOOR_MS,
            _ => random.i64(KITCHEN_MS),
        };
        (store, drawn.unwrap_or(0), kitchen_ms)
    }

    fn publish(&self, board: &Board) {
        let mut lines: Vec<&Line> = board.lines.values().collect();
        lines.sort_by_key(|line| line.number);
        // Strings only: this cannot fail.
        let json = serde_json::to_string(&lines).unwrap_or_default();
        self.list.send_replace(json);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_picked_up(phase: &str) -> bool {
    Phase::from_code(phase).is_some_and(|phase| phase.is_picked_up() && !phase.is_terminal())
}
