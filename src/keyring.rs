//! Keys and revocations, from the bus to the door.

use std::sync::Arc;

use tokio::sync::watch;
use wayfare_api::{KEYS_TOPIC, REVOKED_TOPIC};
use wayfare_bus::{Bus, EventKind, Members};
use wayfare_net::tokens::Verifier;

/// Follows both topics until told to stop.
pub async fn follow(bus: Bus, verifier: Arc<Verifier>, mut stopped: watch::Receiver<bool>) {
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
    }
}
