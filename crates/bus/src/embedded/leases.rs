//! Leases in memory. They die with the process, and so do their holders.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;

use crate::leases::{Lease, LeaseError, Leases};

/// All leases of this process.
pub struct LeaseTable {
    epoch_ms: u64,
    inner: Mutex<Inner>,
}

struct Inner {
    next: u64,
    held: AHashMap<Box<str>, Entry>,
    /// Newest number of each driver's lease, without its name: asked for with every entry of a flush.
    drivers: AHashMap<u128, u64>,
}

struct Entry {
    number: u64,
    holder: Box<str>,
    until: Instant,
    /// Used by `once`: neither renewed nor taken over.
    spent: bool,
}

impl LeaseTable {
    /// Numbers start at the epoch shifted up, so that they grow over restarts as long as fewer than 2^20 leases are
    /// taken per millisecond of a process's life.
    pub(super) fn new(epoch_ms: u64) -> Self {
        Self {
            epoch_ms,
            inner: Mutex::new(Inner { next: epoch_ms << 20, held: AHashMap::new(), drivers: AHashMap::new() }),
        }
    }

    pub(crate) fn acquire(&self, key: &str, holder: &str, ttl_ms: i64) -> Result<Lease, LeaseError> {
        let mut inner = self.lock();
        if let Some(entry) = inner.held.get_mut(key).filter(|entry| entry.until > Instant::now()) {
            if *entry.holder != *holder {
                return Err(LeaseError::Held);
            }
            entry.until = until(ttl_ms);
            return Ok(Lease { number: entry.number });
        }
        Ok(inner.grant(key, holder, ttl_ms))
    }

    pub(crate) fn take_over(&self, key: &str, holder: &str, ttl_ms: i64) -> Lease {
        self.lock().grant(key, holder, ttl_ms)
    }

    pub(crate) fn renew(&self, key: &str, lease: Lease, ttl_ms: i64) -> Result<(), LeaseError> {
        let mut inner = self.lock();
        // An expired lease that nobody took meanwhile is still the newest.
        let entry = inner.held.get_mut(key).filter(|entry| entry.number == lease.number).ok_or(LeaseError::Held)?;
        entry.until = until(ttl_ms);
        Ok(())
    }

    pub(crate) fn release(&self, key: &str, lease: Lease) {
        let mut inner = self.lock();
        if inner.held.get(key).is_some_and(|entry| entry.number == lease.number) {
            inner.held.remove(key);
            if let Some(driver) = Leases::driver_of(key) {
                inner.drivers.remove(&driver);
            }
        }
    }

    pub(crate) fn once(&self, key: &str, issued_ms: i64, ttl_ms: i64) -> bool {
        if issued_ms < self.epoch_ms as i64 {
            return false;
        }
        let mut inner = self.lock();
        if inner.held.get(key).is_some_and(|entry| entry.until > Instant::now()) {
            return false;
        }
        inner.grant(key, "", ttl_ms);
        if let Some(entry) = inner.held.get_mut(key) {
            entry.spent = true;
        }
        true
    }

    /// The newest number given for a driver, also of a lease that has expired; `None` when it was released or swept.
    pub(crate) fn newest_of(&self, driver: u128) -> Option<u64> {
        self.lock().drivers.get(&driver).copied()
    }

    /// Expired leases stay for a while, so that their late writers are told apart from the newest; what was spent goes at once.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let Inner { held, drivers, .. } = &mut *self.lock();
        held.retain(|key, entry| {
            let grace = if entry.spent { Duration::ZERO } else { Duration::from_secs(3600) };
            let stays = entry.until + grace > now;
            if let (false, Some(driver)) = (stays, Leases::driver_of(key)) {
                drivers.remove(&driver);
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn grant(&mut self, key: &str, holder: &str, ttl_ms: i64) -> Lease {
        self.next += 1;
        let entry = Entry { number: self.next, holder: holder.into(), until: until(ttl_ms), spent: false };
        self.held.insert(key.into(), entry);
        if let Some(driver) = Leases::driver_of(key) {
            self.drivers.insert(driver, self.next);
        }
        Lease { number: self.next }
    }
}

fn until(ttl_ms: i64) -> Instant {
    Instant::now() + Duration::from_millis(ttl_ms.max(0) as u64)
}
