//! Who is bringing bytes of an upload just now, in this process.
//!
//! A client whose line broke asks how much is kept, often before we have noticed that the old line is dead. Whatever came over that is kept first, so that nothing is sent
//! twice and the old request does not take the place of the new one. It is a courtesy, not a lock: where it does not reach (another process, a store of files that hangs) the
//! records decide, as they do anyway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use wayfare_wire::ids::Upload;

/// Nobody waits longer for somebody else's bytes.
const WAIT: Duration = Duration::from_secs(1);

/// What had come when the line broke is read within this: it is in the buffers of this machine.
const QUIET: Duration = Duration::from_millis(100);

/// Requests that bring bytes; at most one is known per upload, the newest.
#[derive(Default)]
pub struct Turns(Arc<Mutex<HashMap<Upload, watch::Sender<bool>>>>);

/// Ends with the request.
pub struct Turn {
    turns: Arc<Mutex<HashMap<Upload, watch::Sender<bool>>>>,
    upload: Upload,
    called_off: watch::Receiver<bool>,
    /// Once it is called off: when it ends, whatever comes still.
    until: Option<Instant>,
}

impl Turns {
    pub fn enter(&self, upload: Upload) -> Turn {
        let (sender, called_off) = watch::channel(false);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(upload, sender);
        Turn { turns: Arc::clone(&self.0), upload, called_off, until: None }
    }

    /// Has whoever brings bytes of this upload keep what it has and end, and waits for that a moment.
    pub async fn call_off(&self, upload: Upload) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&upload);
        let Some(sender) = sender else { return };
        sender.send_replace(true);
        let _ = timeout(WAIT, sender.closed()).await;
    }
}

impl Turn {
    /// The next bytes; nothing if none come for `silent`, or if this turn is called off and what had come by then is read.
    pub async fn bounded<T>(&mut self, bytes: impl Future<Output = T>, silent: Duration) -> Option<T> {
        let mut bytes = std::pin::pin!(bytes);
        if self.until.is_none() {
            tokio::select! {
                biased;
                bytes = &mut bytes => return Some(bytes),
                () = tokio::time::sleep(silent) => return None,
                // Also if somebody has taken this turn's place.
                _ = self.called_off.wait_for(|called_off| *called_off) => self.until = Some(Instant::now() + WAIT),
            }
        }
        let until = self.until.unwrap_or_else(Instant::now);
        if Instant::now() >= until {
            return None;
        }
        timeout_at(until.min(Instant::now() + QUIET), bytes).await.ok()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(&self.upload).is_some_and(|sender| sender.subscribe().same_channel(&self.called_off)) {
            turns.remove(&self.upload);
        }
    }
}
