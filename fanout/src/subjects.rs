//! Bounds per bearer: open connections, and tries at what does not exist.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ahash::AHashMap;
use wayfare_net::bucket::{Buckets, Rate};
use wayfare_wire::{Claims, Role};

/// A hundred misses at once, then one every two seconds: guessing ids is hopeless long before that.
const MISSES: Rate = Rate { per_second: 0.5, burst: 100.0 };

/// Bearers remembered for misses.
const SUBJECTS_MAX: usize = 100_000;

/// Counts per bearer; shared by all shards of a node.
#[derive(Clone)]
pub struct Subjects(Arc<Mutex<Inner>>);

struct Inner {
    open: AHashMap<String, u32>,
    misses: Buckets,
}

/// One open connection of a bearer; counted until dropped.
pub struct Open {
    subjects: Subjects,
    subject: String,
}

impl Default for Subjects {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner { open: AHashMap::new(), misses: Buckets::new(MISSES, SUBJECTS_MAX) })))
    }
}

impl Subjects {
    /// Counts a connection in; `None` when the bearer has its share already.
    pub fn open(&self, claims: &Claims) -> Option<Open> {
        let most = match claims.role {
            // A person has a few devices with a few tabs; a link may be passed around a family; a shop has screens.
            Role::Customer | Role::Driver => 32,
            Role::Share => 256,
            Role::Store => 256,
            Role::Support | Role::Admin | Role::Service => u32::MAX,
        };
        let mut inner = self.lock();
        let open = inner.open.entry(claims.sub.clone()).or_insert(0);
        if *open >= most {
            return None;
        }
        *open += 1;
        drop(inner);
        Some(Open { subjects: self.clone(), subject: claims.sub.clone() })
    }

    /// Notes that the bearer asked for what it may not know of; false when it has done so too often.
    pub fn miss(&self, claims: &Claims) -> bool {
        self.lock().misses.take(&claims.sub, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut inner = self.subjects.lock();
        if let Some(open) = inner.open.get_mut(&self.subject) {
            *open -= 1;
            if *open == 0 {
                inner.open.remove(&self.subject);
            }
        }
    }
}
