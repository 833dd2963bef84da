//! The app's handle on a driver.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use wayfare_wire::codec::round_e7;
use wayfare_wire::messages::drive::{Fix, FromDriver, Phone};

use crate::config::{BadUrl, DriverConfig};
use crate::core::Core;
use crate::core::ladder::Ladder;
use crate::event::Event;
use crate::pipe::Dialer;
use crate::store::Store;
use crate::task;

/// A fix that was not taken. It comes back, so that the app can decide what to do with it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SendError {
    /// As many fixes as [`DriverConfig::queue_max`] allows are waiting for the server.
    #[error("the queue is full: {held} fixes wait for the server")]
    QueueFull {
        /// The fix.
        fix: Fix,
        /// How many are held.
        held: usize,
    },
    /// The driver has stopped; see [`Event::Stopped`].
    #[error("the driver has stopped")]
    Stopped(Fix),
    /// The queue's disk takes nothing.
    #[error("the queue on the disk takes nothing: {why}")]
    Disk {
        /// The fix.
        fix: Fix,
        /// What the system said.
        why: String,
    },
}

/// A driver that cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum BadStart {
    /// The address, or what the server is recognised by, is of no use.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// The queue on the disk cannot be opened.
    #[error("the queue in {dir} cannot be opened: {why}")]
    Queue {
        /// Where.
        dir: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// None of [`DriverConfig::ways`] can be gone.
    #[error("there is no way to the server: QUIC needs an address")]
    NoWay,
}

/// The driver has stopped while fixes were not acked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver has stopped; {held} fixes were not acked")]
pub struct Stopped {
    /// How many.
    pub held: usize,
}

/// What handle and task share.
pub(crate) struct Shared {
    pub(crate) core: Mutex<Core>,
    /// Locked after the core, never before.
    pub(crate) store: Option<Mutex<Store>>,
    /// There is something new to send.
    pub(crate) work: Notify,
    /// Everything was acked, or the driver stopped.
    pub(crate) settled: Notify,
    pub(crate) closing: Notify,
    pub(crate) stopped: AtomicBool,
}

impl Shared {
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        // The core keeps its invariants across panics: each of its steps is a few plain assignments.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn store(&self) -> Option<MutexGuard<'_, Store>> {
        self.store.as_ref().map(|store| store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// A connected driver, or one that is trying to be. Dropping it ends the connection without waiting for acks.
pub struct Driver {
    shared: Arc<Shared>,
    interval: watch::Receiver<u32>,
    /// Time of the last fix that [`Self::offer`] took.
    offered_ms: AtomicI64,
    task: JoinHandle<()>,
}

impl Driver {
    /// Starts to connect, in a task of the present tokio runtime, and goes on until it is closed or told to stay away.
    ///
    /// Read the events, or drop their receiver: when [`DriverConfig::events_max`] of them are unread, the driver waits.
    ///
    /// # Errors
    /// The URL is none, there is no way to go, or the queue on the disk cannot be opened.
    pub fn connect(config: DriverConfig) -> Result<(Self, mpsc::Receiver<Event>), BadStart> {
        let dialer = Dialer::new(&config)?;
        let ways = config.known_ways();
        if ways.is_empty() {
            return Err(BadStart::NoWay);
        }
        let session = config.session.filter(|session| *session != 0);
        let session = session.unwrap_or_else(|| fastrand::u64(1..));
        let mut core = Core::new(session, config.queue_max, fastrand::Rng::new(), Instant::now());
        let mut store = None;
        if let Some(dir) = &config.queue_dir {
            let failed = |why| BadStart::Queue { dir: dir.display().to_string(), why };
            let (opened, kept) = Store::open(dir, config.queue_bytes_max, session).map_err(failed)?;
            core.resume(kept);
            store = Some(Mutex::new(opened));
        }
        let (interval_tx, interval) = watch::channel(core.interval_ms());
        let (events, receiver) = mpsc::channel(config.events_max.max(1));
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            store,
            work: Notify::new(),
            settled: Notify::new(),
            closing: Notify::new(),
            stopped: AtomicBool::new(false),
        });
        let task = tokio::spawn(task::run(task::Task {
            dialer,
            ways: Ladder::new(ways),
            token: config.token,
            shared: Arc::clone(&shared),
            interval: interval_tx,
            events,
        }));
        let driver = Self { shared, interval, offered_ms: AtomicI64::new(i64::MIN), task };
        Ok((driver, receiver))
    }

    /// Takes a fix to be sent, as soon as there is a connection. Fixes that gather travel together. A fix without a
    /// time gets the present one, as it may be sent much later.
    ///
    /// # Errors
    /// The queue is full, or the driver has stopped; the fix comes back.
    pub fn send(&self, fix: Fix) -> Result<(), SendError> {
        self.send_all([fix])
    }

    /// The same for fixes that were taken together: as far as they fit, they travel in one message.
    ///
    /// # Errors
    /// As [`Self::send`]; those before the one that comes back were taken.
    pub fn send_all(&self, fixes: impl IntoIterator<Item = Fix>) -> Result<(), SendError> {
        let mut core = self.shared.core();
        let mut fixes = fixes.into_iter();
        let taken = fixes.try_for_each(|fix| self.take(&mut core, fix));
        drop(core);
        self.shared.work.notify_one();
        taken
    }

    fn take(&self, core: &mut Core, mut fix: Fix) -> Result<(), SendError> {
        if self.shared.is_stopped() {
            return Err(SendError::Stopped(fix));
        }
        fix.t_ms.get_or_insert_with(wall_ms);
        // Now, so that the message is the same whichever way it goes, and goes again.
        (fix.lat, fix.lon) = (round_e7(fix.lat), round_e7(fix.lon));
        let held = core.held();
        if core.is_full() {
            return Err(SendError::QueueFull { fix, held });
        }
        if let Some(mut store) = self.shared.store() {
            let kept = if store.is_long() { store.write_anew(&core.kept()) } else { Ok(()) };
            match kept.and_then(|()| store.push(&fix)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    return Err(SendError::QueueFull { fix, held });
                }
                Err(error) => return Err(SendError::Disk { fix, why: error.to_string() }),
            }
        }
        core.push(fix).map_err(|fix| SendError::QueueFull { fix, held })
    }

    /// The same for a sensor that measures more often than the server wants: takes the fix only if it is due, and says whether it was.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn offer(&self, fix: Fix) -> Result<bool, SendError> {
        let t_ms = fix.t_ms.unwrap_or_else(wall_ms);
        // A tenth early is in time: sensors are not that exact.
        let interval_ms = i64::from(*self.interval.borrow()) * 9 / 10;
        let last_ms = self.offered_ms.load(Ordering::Relaxed);
        if t_ms < last_ms.saturating_add(interval_ms) && t_ms >= last_ms {
            return Ok(false);
        }
        self.send(Fix { t_ms: Some(t_ms), ..fix })?;
        self.offered_ms.store(t_ms, Ordering::Relaxed);
        Ok(true)
    }

    /// Says how the phone is, and why no positions will come: an `outage` of `PROTOCOL.md`, or none when all is well again. Said at once
    /// where there is a connection, and after each `hello`; nothing is kept on the disk. Without a time it is so now.
    pub fn phone(&self, mut phone: Phone) {
        phone.at_ms.get_or_insert_with(wall_ms);
        self.shared.core().set_phone(phone);
        self.shared.work.notify_one();
    }

    /// Takes a delivery that was offered ([`Event::Delivery`]). Said until it is noted ([`Event::Noted`]), as far as this app lives: the server tells
    /// an offer again that it has no answer to. False: too much waits to be said.
    pub fn accept(&self, trip: impl Into<String>, offer: u64) -> bool {
        self.say(FromDriver::Accept { trip: trip.into(), offer })
    }

    /// Leaves a delivery that was offered to somebody else; the same otherwise.
    pub fn decline(&self, trip: impl Into<String>, offer: u64, reason: Option<String>) -> bool {
        self.say(FromDriver::Decline { trip: trip.into(), offer, reason })
    }

    /// Says by hand how far a trip has come (`at_pickup`, `to_dropoff`, `arrived`, `delivered`), where GPS does not; the same otherwise.
    pub fn status(&self, trip: impl Into<String>, phase: impl Into<String>) -> bool {
        self.say(FromDriver::Status { trip: trip.into(), phase: phase.into(), at_ms: Some(wall_ms()) })
    }

    fn say(&self, word: FromDriver) -> bool {
        let taken = self.shared.core().say(word);
        self.shared.work.notify_one();
        taken
    }

    /// Waits until everything sent so far, by whomever, is acked or refused.
    ///
    /// # Errors
    /// The driver stops before.
    pub async fn flush(&self) -> Result<(), Stopped> {
        loop {
            let mut settled = std::pin::pin!(self.shared.settled.notified());
            // Before looking, so that nothing slips between look and wait.
            settled.as_mut().enable();
            let held = self.shared.core().held();
            if held == 0 {
                return Ok(());
            }
            if self.shared.is_stopped() {
                return Err(Stopped { held });
            }
            settled.await;
        }
    }

    /// How often the server wants a fix, in ms; follows the phase of the trip.
    #[must_use]
    pub fn interval(&self) -> watch::Receiver<u32> {
        self.interval.clone()
    }

    /// Fixes not acked yet, sent or waiting.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.core().held()
    }

    /// Ends the connection and gives back what was not acked, oldest first. [`Driver::flush`] before it to wait for acks. What is in a
    /// queue on the disk stays there too, for the next start.
    pub async fn close(mut self) -> Vec<Fix> {
        self.shared.closing.notify_one();
        // An error is a panic of the task, which the runtime has reported.
        let _ = (&mut self.task).await;
        self.shared.core().take_back()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The phone's clock, Unix milliseconds.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
