//! One driver of a replay: connects, drives its traces one after the other, and is watched.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep_until, timeout};
use wayfare_driver::{Driver, DriverConfig, Event, Fix, SendError, TokenSource};
use wayfare_engine::{Position, Vehicle};

use super::report::Note;
use super::traces::{Group, Trace};
use super::{SETTLE, Timeline, check};
use crate::clock::Clock;
use crate::rest::{NewTrip, Point, Rest};
use crate::transport::Transport;

/// On duty this long before the first fix, ms.
const EARLY_MS: i64 = 60_000;
/// Pause when the driver's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What all drivers of a replay share.
pub(super) struct Scene {
    pub(super) rest: Rest,
    pub(super) transport: Transport,
    pub(super) timeline: Timeline,
    pub(super) clock: Clock,
}

impl Scene {
    /// Waits until what was recorded at `recorded_ms` is due.
    pub(super) async fn until(&self, recorded_ms: i64) {
        let due = self.clock.instant(self.timeline.due_ms(recorded_ms));
        sleep_until(due.into()).await;
    }
}

/// All traces of one driver.
pub(super) async fn ride(scene: &Arc<Scene>, group: &Group, notes: &UnboundedSender<Note>) -> anyhow::Result<()> {
    let since_ms = scene.timeline.taken_ms(group.first_ms()) - EARLY_MS;
    let rest = scene.rest.clone();
    let id = rest.create_driver(&group.name, Vehicle::Car, Some(since_ms)).await?;
    let (fetch, sub) = (rest.clone(), id.clone());
    let token = TokenSource::provider(move || {
        let (rest, sub) = (fetch.clone(), sub.clone());
        async move { Ok(rest.token("driver", &sub).await?) }
    });
    let (driver, mut events) = Driver::connect(scene.transport.apply(DriverConfig::new(rest.base_url(), token)))?;
    let listener = {
        let (notes, name) = (notes.clone(), group.name.clone());
        tokio::spawn(async move {
            let mut connected = false;
            while let Some(event) = events.recv().await {
                if let Some(note) = note_of(event, &name, &mut connected) {
                    let _ = notes.send(note);
                }
            }
        })
    };
    for trace in &group.traces {
        drive(scene, &driver, &id, trace, notes).await?;
    }
    let left = driver.close().await;
    if !left.is_empty() {
        let fault = format!("{}: {} fixes were never acked", group.name, left.len());
        let _ = notes.send(Note::Fault(fault));
    }
    // The channel has ended with the driver.
    let _ = listener.await;
    rest.end_duty(&id).await?;
    Ok(())
}

fn note_of(event: Event, name: &str, connected: &mut bool) -> Option<Note> {
    match event {
        // A recorded ride decides nothing.
        Event::Delivery(_) | Event::Withdrawn { .. } | Event::Noted { .. } => None,
        Event::Acked(acked) => Some(Note::Acked(acked)),
        Event::Connected { .. } if std::mem::replace(connected, true) => Some(Note::Reconnected),
        Event::Connected { .. } => None,
        Event::Disconnected { reason, .. } => {
            tracing::info!(name, reason, "a driver comes back");
            None
        }
        Event::Error(error) => {
            tracing::info!(name, ?error, "a driver was told");
            None
        }
        fatal @ (Event::Refused { .. } | Event::Stopped { .. }) => Some(Note::Fault(format!("{name}: {fatal:?}"))),
    }
}

/// One trace, as one trip.
async fn drive(
    scene: &Arc<Scene>,
    driver: &Driver,
    id: &str,
    trace: &Trace,
    notes: &UnboundedSender<Note>,
) -> anyhow::Result<()> {
    scene.until(trace.points[0].t_ms).await;
    let trip = scene.rest.create_trip(&new_trip(trace, id)?).await?;
    let watched = check::watch(&scene.rest, &trip.id, notes.clone()).await?;
    for point in &trace.points {
        scene.until(point.t_ms).await;
        let fix =
            Fix { lat: point.lat, lon: point.lon, t_ms: Some(scene.timeline.taken_ms(point.t_ms)), ..Fix::default() };
        while let Err(error) = driver.send(fix) {
            let SendError::QueueFull { .. } = error else {
                return Err(error.into());
            };
            tokio::time::sleep(FULL_PAUSE).await;
        }
        let _ = notes.send(Note::Sent);
    }
    timeout(SETTLE, driver.flush()).await.context("acks did not come in time")??;
    scene.rest.complete(&trip.id).await?;
    timeout(SETTLE, watched).await.context("the trip's topic did not end in time")?.context("the watcher")
}

/// A trip from the first point of a trace to its last.
fn new_trip(trace: &Trace, driver: &str) -> anyhow::Result<NewTrip> {
    let (first, last) = (trace.points[0], trace.points[trace.points.len() - 1]);
    Ok(NewTrip {
        store: None,
        customer: "cus-replay".into(),
        driver: Some(driver.to_owned()),
        driver_since_ms: None,
        pickup: Point::new(Position::new(first.lat, first.lon)?, "start"),
        dropoff: Point::new(Position::new(last.lat, last.lon)?, "end"),
        ready_at_ms: None,
        reference: Some(trace.name.clone()),
    })
}
