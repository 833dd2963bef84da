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
    let mut events = Vec::new();
    loop {
        tokio::select! {
            () = subscriber.recv(&mut events) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        for event in events.drain(..) {
            let mut members = Members::default();
            match event.kind {
                EventKind::Snapshot(snapshot) => members = snapshot.members,
                EventKind::Delta { patch, .. } => members.apply(&patch),
                EventKind::Absent | EventKind::Stale | EventKind::End(_) => continue,
            }
            for (name, value) in members.iter() {
                if topics.get(event.tag as usize) == Some(&KEYS_TOPIC) {
                    if let Ok(key) = serde_json::from_slice::<&str>(value) {
                        verifier.add_key(name, key);
                    }
                } else if let Ok(before_s) = serde_json::from_slice(value) {
                    verifier.revoke(name, before_s);
                }
            }
        }
    }
}
