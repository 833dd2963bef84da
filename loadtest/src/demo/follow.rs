//! Follows the phases of all open trips over one watcher connection, so that the list shows what the server thinks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wayfare_wire::messages::watch::ToWatcher;

use crate::desk::Desk;
use crate::rest::Rest;
use crate::view::View;
use crate::watcher::Watcher;

/// Pause before the next connection.
const PAUSE: Duration = Duration::from_secs(1);
/// A record reaches the watchers' side a moment after it was made: an unknown topic is asked for again, this often,
const AGAIN: Duration = Duration::from_millis(500);
/// and for this long.
const UNKNOWN_MAX: Duration = Duration::from_secs(15);

/// Runs until the demo ends.
pub(super) async fn follow(rest: Rest, desk: Arc<Desk>, mut new_trips: mpsc::UnboundedReceiver<String>) {
    let mut followed = Followed { desk, since: BTreeMap::new(), views: HashMap::new(), unknown: Vec::new() };
    loop {
        match followed.watch(&rest, &mut new_trips).await {
            Ok(()) => return,
            Err(error) => tracing::info!(%error, "the demo's watcher comes back"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The open trips.
struct Followed {
    desk: Arc<Desk>,
    /// Since when each is followed.
    since: BTreeMap<String, Instant>,
    /// What is held of each, by its alias on the present connection.
    views: HashMap<u32, (String, View)>,
    /// Those that the watchers' side did not know when it was asked.
    unknown: Vec<String>,
}

impl Followed {
    /// One connection. `Ok`: the demo is over.
    async fn watch(&mut self, rest: &Rest, new_trips: &mut mpsc::UnboundedReceiver<String>) -> anyhow::Result<()> {
        let mut watcher = Watcher::connect(rest.base_url(), rest.service_token()).await?;
        self.views.clear();
        self.unknown.clear();
        for trip in self.since.keys() {
            watcher.subscribe(&topic(trip)).await?;
        }
        let mut again = tokio::time::interval(AGAIN);
        loop {
            tokio::select! {
                trip = new_trips.recv() => {
                    let Some(trip) = trip else { return Ok(()) };
                    watcher.subscribe(&topic(&trip)).await?;
                    self.since.insert(trip, Instant::now());
                }
                message = watcher.next() => {
                    let Some(message) = message? else { anyhow::bail!("the server closed") };
                    self.take(message)?;
                }
                _ = again.tick() => for trip in std::mem::take(&mut self.unknown) {
                    watcher.subscribe(&topic(&trip)).await?;
                }
            }
        }
    }

    fn take(&mut self, message: ToWatcher) -> anyhow::Result<()> {
        let alias = match &message {
            ToWatcher::Subscribed { topic, alias, .. } => {
                let trip = trip_of(topic).to_owned();
                self.views.insert(*alias, (trip, View::default()));
                return Ok(());
            }
            ToWatcher::Error(error) => {
                if let Some(topic) = error.topic.as_deref() {
                    self.refused(trip_of(topic));
                }
                return Ok(());
            }
            ToWatcher::Snapshot { alias, .. } | ToWatcher::Delta { alias, .. } | ToWatcher::End { alias, .. } => *alias,
            _ => return Ok(()),
        };
        let Some((trip, view)) = self.views.get_mut(&alias) else {
            return Ok(());
        };
        view.apply(&message)?;
        if let Some(phase) = view.phase() {
            self.desk.set_phase(trip, phase);
        }
        if view.is_ended() {
            self.desk.forget(trip);
            self.since.remove(trip);
            self.views.remove(&alias);
        }
        Ok(())
    }

    /// Too new to be known, or over: time tells.
    fn refused(&mut self, trip: &str) {
        let is_new = self.since.get(trip).is_some_and(|since| since.elapsed() < UNKNOWN_MAX);
        if is_new {
            self.unknown.push(trip.to_owned());
        } else {
            self.since.remove(trip);
            self.desk.forget(trip);
        }
    }
}

fn topic(trip: &str) -> String {
    format!("trip:{trip}:ops")
}

/// The trip that [`topic`] names.
fn trip_of(topic: &str) -> &str {
    let id = topic.strip_prefix("trip:").unwrap_or(topic);
    id.strip_suffix(":ops").unwrap_or(id)
}
