//! Keys and revocations, from the bus to the door.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use wayfare_api::{KEYS_TOPIC, REVOKED_TOPIC};
use wayfare_bus::{Bus, EventKind, Members};
use wayfare_net::tokens::Verifier;

/// Follows both topics until told to stop. Says `heard` once it knows the keys and what is revoked, as far as the bus does: no door may open before.
pub async fn follow(bus: Bus, verifier: Arc<Verifier>, heard: oneshot::Sender<()>, mut stopped: watch::Receiver<bool>) {
    let (mut heard, mut waits_for) = (Some(heard), [true; 2]);
    let mut subscriber = bus.topics.subscriber(1024);
    let topics = [KEYS_TOPIC, REVOKED_TOPIC];
    for (tag, topic) in topics.iter().enumerate() {
        subscriber.subscribe(topic, tag as u64).await;
    }
    let (mut events, mut keys) = (Vec::new(), Members::default());
    loop {
        tokio::select! {
            () = subscriber.recv(&mut events) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        for event in events.drain(..) {
            let is_keys = topics.get(event.tag as usize) == Some(&KEYS_TOPIC);
            let mut revoked = Members::default();
            let known =
                matches!(event.kind, EventKind::Snapshot(_)) || !is_keys && matches!(event.kind, EventKind::Absent);
            if let (true, Some(waits)) = (known, waits_for.get_mut(event.tag as usize)) {
                *waits = false;
            }
            // Of the keys it counts who is left; of revocations only what is new.
            let members = if is_keys { &mut keys } else { &mut revoked };
            match event.kind {
                EventKind::Snapshot(snapshot) => *members = snapshot.members,
                EventKind::Delta { patch, .. } => members.apply(&patch),
                EventKind::Absent | EventKind::Stale | EventKind::End(_) => continue,
            }
            for (name, value) in revoked.iter() {
                if let Ok(before_s) = serde_json::from_slice(value) {
                    verifier.revoke(name, before_s);
                }
            }
            if is_keys {
                // What is no text is no key.
                let believed = keys.iter().map(|(id, key)| (&**id, serde_json::from_slice(key).unwrap_or_default()));
                let wrong = verifier.set_keys(believed);
                if wrong > 0 {
                    tracing::error!(wrong, "some of the signing keys on the bus are no keys");
                }
            }
        }
        if waits_for == [false; 2]
            && let Some(heard) = heard.take()
        {
            let _ = heard.send(());
        }
    }
}
