//! Leases on Redis: a hash per partition of drivers, a key for any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fred::interfaces::KeysInterface as _;
use fred::types::{Expiration, SetOptions, Value};

use super::hub::Hub;
use super::scripts::{EXPIRE, GRANT, RENEW};
use super::{PARTITIONS, Running};
use crate::leases::{Lease, LeaseError};
use crate::topics::Away;

/// An expired lease is remembered for this long, so that its late writers are told apart from the newest.
const REMEMBERED_MS: i64 = 3_600_000;

/// See [`crate::Leases`].
pub struct Leases {
    pub(super) hub: Arc<Hub>,
    pub(super) _running: Arc<Running>,
    /// Which hash is looked through next.
    pub(super) swept: AtomicU32,
}

/// Where a lease is: key, field, and how long the key lives after the lease.
struct Place {
    key: String,
    field: String,
    after_ms: i64,
}

impl Leases {
    fn place(&self, key: &str) -> Place {
        match crate::Leases::driver_of(key) {
            Some(driver) => Place {
                key: self.partition((driver % u128::from(PARTITIONS)) as u32),
                field: format!("{driver:032x}"),
                after_ms: 0,
            },
            None => Place { key: self.hub.link.key(key, ":lease"), field: "-".into(), after_ms: REMEMBERED_MS },
        }
    }

    fn partition(&self, partition: u32) -> String {
        self.hub.link.key(&format!("drivers:{partition}"), ":leases")
    }

    async fn grant(&self, key: &str, holder: &str, ttl_ms: i64, by_force: bool) -> Result<Lease, LeaseError> {
        let place = self.place(key);
        let arguments: Vec<Value> = vec![
            place.field.into(),
            holder.into(),
            ttl_ms.max(0).into(),
            i64::from(by_force).into(),
            place.after_ms.into(),
        ];
        let reply = self.hub.link.run(&GRANT, &[&place.key], arguments).await.map_err(|error| self.away(&error))?;
        Ok(Lease { number: reply.as_u64().ok_or(LeaseError::Held)? })
    }

    fn away(&self, error: &fred::error::Error) -> Away {
        tracing::debug!(%error, "a lease is not known");
        self.hub.link.trouble.notify_one();
        Away
    }

    pub(crate) async fn acquire(&self, key: &str, holder: &str, ttl_ms: i64) -> Result<Lease, LeaseError> {
        self.grant(key, holder, ttl_ms, false).await
    }

    pub(crate) async fn take_over(&self, key: &str, holder: &str, ttl_ms: i64) -> Result<Lease, Away> {
        self.grant(key, holder, ttl_ms, true).await.map_err(|_| Away)
    }

    pub(crate) async fn renew(&self, key: &str, lease: Lease, ttl_ms: i64) -> Result<(), LeaseError> {
        self.prolong(key, lease, ttl_ms.max(1)).await
    }

    async fn prolong(&self, key: &str, lease: Lease, ttl_ms: i64) -> Result<(), LeaseError> {
        let place = self.place(key);
        let arguments: Vec<Value> =
            vec![place.field.into(), lease.number.to_string().into(), "".into(), ttl_ms.into(), place.after_ms.into()];
        let reply = self.hub.link.run(&RENEW, &[&place.key], arguments).await.map_err(|error| self.away(&error))?;
        reply.as_u64().map(|_| ()).ok_or(LeaseError::Held)
    }

    pub(crate) async fn release(&self, key: &str, lease: Lease) {
        // What fails here expires by itself.
        let _ = self.prolong(key, lease, 0).await;
    }

    pub(crate) async fn once(&self, key: &str, issued_ms: i64, ttl_ms: i64) -> bool {
        // What was used in an earlier epoch may be forgotten.
        if issued_ms < self.hub.epoch() as i64 {
            return false;
        }
        let key = self.hub.link.key(key, ":once");
        let expires = Some(Expiration::PX(ttl_ms.max(1)));
        let link = &self.hub.link;
        let set: Result<Value, _> =
            link.ask(|| link.commands.set(&key, "", expires.clone(), Some(SetOptions::NX), false)).await;
        match set {
            Ok(done) => !done.is_null(),
            Err(error) => {
                self.away(&error);
                false
            }
        }
    }

    /// Looks through one partition.
    pub(crate) async fn sweep(&self) {
        let partition = self.swept.fetch_add(1, Ordering::Relaxed) % PARTITIONS;
        let key = self.partition(partition);
        if let Err(error) = self.hub.link.run(&EXPIRE, &[&key], vec![REMEMBERED_MS.into()]).await {
            self.away(&error);
        }
    }
}
