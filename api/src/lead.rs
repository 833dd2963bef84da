//! Which of the processes that share the records does what one of them has to: follows logs, writes history, ends offers, erases and
//! forgets. A lease on the bus says so. Two that think so for a moment do no harm, only the same work: cursors move once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::House;

const LEASE: &str = "records";
const LEASE_MS: i64 = 15_000;
const RENEW: Duration = Duration::from_secs(5);

/// Whether this process does.
#[derive(Default)]
pub struct Lead(AtomicBool);

impl House {
    /// Whether this process does what one of them has to.
    pub fn leads(&self) -> bool {
        self.lead.0.load(Ordering::Relaxed)
    }
}

/// Takes the lead and keeps it, or waits until whoever has it is gone, until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    // The same after a fall: what a dead process held is its successor's at once.
    let holder = format!("api-{}", house.config.node);
    let held = loop {
        let held = house.bus.leases.acquire(LEASE, &holder, LEASE_MS).await.ok();
        if house.lead.0.swap(held.is_some(), Ordering::Relaxed) != held.is_some() {
            tracing::debug!(leads = held.is_some(), "who leads has changed");
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            _ = stop.wait_for(|stop| *stop) => break held,
        }
    };
    house.lead.0.store(false, Ordering::Relaxed);
    if let Some(lease) = held {
        house.bus.leases.release(LEASE, lease).await;
    }
}
