//! Watches one trip and holds the server to its promises.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use wayfare_wire::ErrorCode;
use wayfare_wire::messages::watch::ToWatcher;

use super::report::Note;
use crate::rest::Rest;
use crate::view::View;
use crate::watcher::Watcher;

/// A record reaches the watchers' side a moment after it was made: an unknown topic is asked for again, this often,
const AGAIN: Duration = Duration::from_millis(50);
/// and for this long.
const UNKNOWN_MAX: Duration = Duration::from_secs(10);

/// Begins to watch a trip as its operator. Returns once the server has confirmed; the handle ends with the topic.
pub(super) async fn watch(rest: &Rest, trip: &str, notes: UnboundedSender<Note>) -> anyhow::Result<JoinHandle<()>> {
    let mut watcher = Watcher::connect(rest.base_url(), rest.service_token()).await?;
    let (topic, asked) = (format!("trip:{trip}:ops"), Instant::now());
    watcher.subscribe(&topic).await?;
    loop {
        match watcher.next().await? {
            Some(ToWatcher::Subscribed { .. }) => break,
            Some(ToWatcher::Error(error)) if error.code == ErrorCode::NotFound && asked.elapsed() < UNKNOWN_MAX => {
                let _ = notes.send(Note::Unknown);
                tokio::time::sleep(AGAIN).await;
                watcher.subscribe(&topic).await?;
            }
            Some(ToWatcher::Error(error)) => anyhow::bail!("{trip}: {}", error.message),
            Some(_) => {}
            None => anyhow::bail!("{trip}: the server closed"),
        }
    }
    let trip = trip.to_owned();
    Ok(tokio::spawn(async move {
        let end = follow(&mut watcher, &notes, &trip).await;
        let _ = notes.send(match end {
            Ok(()) => Note::Watched,
            Err(error) => Note::Fault(format!("{trip}: {error:#}")),
        });
        watcher.close().await;
    }))
}

async fn follow(watcher: &mut Watcher, notes: &UnboundedSender<Note>, trip: &str) -> anyhow::Result<()> {
    let mut view = View::default();
    while !view.is_ended() {
        let Some(frame) = watcher.next().await? else {
            anyhow::bail!("the server closed before the trip ended");
        };
        if let Err(fault) = view.apply(&frame) {
            let _ = notes.send(Note::Fault(format!("{trip}: {fault}")));
        }
        let patch = match &frame {
            ToWatcher::Delta { patch, .. } => patch,
            ToWatcher::Snapshot { state, .. } => state,
            _ => continue,
        };
        let has = |field: &str| patch.get(field).is_some_and(|value| !value.is_null());
        if has("position") {
            let _ = notes.send(Note::Position);
        }
        if has("eta") {
            let _ = notes.send(Note::Eta);
        }
    }
    Ok(())
}
