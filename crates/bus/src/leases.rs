//! Leases: who owns what, until when, and the number that tells an old owner from a new one.

use std::sync::Arc;

use crate::topics::Away;
use crate::{embedded, redis};

/// Ownership of a key for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Fencing number: grows with every new owner of any key, over restarts too. Goes along with whatever the owner writes.
    pub number: u64,
}

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Someone else owns the key.
    #[error("the lease is held by another owner")]
    Held,
    /// The bus does not answer; a lease that was held may be held still. Never from the embedded bus.
    #[error("the lease is not known: {0}")]
    Away(#[from] Away),
}

/// The leases of a bus. Cheap to clone.
#[derive(Clone)]
pub enum Leases {
    /// Inside this process.
    Embedded(Arc<embedded::LeaseTable>),
    /// On Redis.
    Redis(Arc<redis::Leases>),
}

impl Leases {
    /// Takes the lease of `key` for `ttl_ms` if it is free, expired, or already this holder's (which renews it, same number).
    ///
    /// # Errors
    /// [`LeaseError`]; held while another holder has it.
    pub async fn acquire(&self, key: &str, holder: &str, ttl_ms: i64) -> Result<Lease, LeaseError> {
        match self {
            Self::Embedded(table) => table.acquire(key, holder, ttl_ms),
            Self::Redis(leases) => leases.acquire(key, holder, ttl_ms).await,
        }
    }

    /// Key of a driver's lease, whose number entries of the fix log carry.
    pub fn driver_key(driver: u128) -> String {
        format!("driver:{driver:032x}")
    }

    /// The driver whose lease this key names, if it is one.
    pub(crate) fn driver_of(key: &str) -> Option<u128> {
        u128::from_str_radix(key.strip_prefix("driver:")?, 16).ok()
    }

    /// Takes the lease whoever holds it: the newest wins, and the old owner's number is refused from now on.
    ///
    /// # Errors
    /// [`Away`]; never from the embedded bus.
    pub async fn take_over(&self, key: &str, holder: &str, ttl_ms: i64) -> Result<Lease, Away> {
        match self {
            Self::Embedded(table) => Ok(table.take_over(key, holder, ttl_ms)),
            Self::Redis(leases) => leases.take_over(key, holder, ttl_ms).await,
        }
    }

    /// Prolongs a lease that is still the newest of its key.
    ///
    /// # Errors
    /// [`LeaseError`]; held if it was lost.
    pub async fn renew(&self, key: &str, lease: Lease, ttl_ms: i64) -> Result<(), LeaseError> {
        match self {
            Self::Embedded(table) => table.renew(key, lease, ttl_ms),
            Self::Redis(leases) => leases.renew(key, lease, ttl_ms).await,
        }
    }

    /// Gives a lease back; nothing happens if it was lost already. Where the bus does not answer, it expires by itself.
    pub async fn release(&self, key: &str, lease: Lease) {
        match self {
            Self::Embedded(table) => table.release(key, lease),
            Self::Redis(leases) => leases.release(key, lease).await,
        }
    }

    /// True exactly once per key within `ttl_ms` (for what may be used once). Never true for something issued before this bus
    /// could remember its use (`issued_ms`, Unix milliseconds), nor while it does not answer.
    pub async fn once(&self, key: &str, issued_ms: i64, ttl_ms: i64) -> bool {
        match self {
            Self::Embedded(table) => table.once(key, issued_ms, ttl_ms),
            Self::Redis(leases) => leases.once(key, issued_ms, ttl_ms).await,
        }
    }

    pub(crate) async fn sweep(&self) {
        match self {
            Self::Embedded(table) => table.sweep(),
            Self::Redis(leases) => leases.sweep().await,
        }
    }
}
