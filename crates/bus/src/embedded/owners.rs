//! Who owns which field of a topic that many write to.

use std::time::{Duration, Instant};

use ahash::AHashMap;

use crate::fields::{Fields, Name};

/// How long the owner of a removed field is remembered: three times the longest lease of a driver. By then whoever lost it knows.
const REMEMBERED: Duration = Duration::from_secs(180);

#[derive(Default)]
pub struct Owners(AHashMap<Name, Owner>);

struct Owner {
    lease: u64,
    /// Since when the field is gone.
    removed: Option<Instant>,
}

impl Owners {
    /// Notes the writer of these fields; false, and nothing is noted, if one of them has an owner with a higher number.
    pub fn admit(&mut self, fields: &Fields, lease: u64) -> bool {
        if fields.names().any(|(name, _)| self.0.get(name).is_some_and(|owner| owner.lease > lease)) {
            return false;
        }
        for (name, removed) in fields.names() {
            let removed = removed.then(Instant::now);
            match self.0.get_mut(name) {
                Some(owner) => *owner = Owner { lease, removed },
                None => drop(self.0.insert(name.clone(), Owner { lease, removed })),
            }
        }
        true
    }

    /// Forgets owners of fields that are long gone.
    pub fn sweep(&mut self, now: Instant) {
        self.0.retain(|_, owner| owner.removed.is_none_or(|removed| now.duration_since(removed) < REMEMBERED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_removed_fields_are_forgotten_in_time() {
        let mut owners = Owners::default();
        let mut fields = Fields::new();
        fields.set_json("stays", "1").set_null("goes");
        assert!(owners.admit(&fields, 7));
        owners.sweep(Instant::now());
        assert_eq!(owners.0.len(), 2);
        assert!(!owners.admit(&fields, 6));
        owners.sweep(Instant::now() + REMEMBERED);
        assert_eq!(owners.0.keys().map(|name| &**name).collect::<Vec<_>>(), ["stays"]);
    }
}
