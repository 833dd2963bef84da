//! What a tracker needs to go on elsewhere or after a restart, as bytes.
//!
//! One version byte, then every part in turn, each written and read by its own module. Floats are kept
//! bit for bit, so that a restored tracker gives the same effects as the one that was saved.

use crate::Vehicle;
use crate::bytes::{Reader, Writer};
use crate::driving::Driving;
use crate::duty::Duty;
use crate::evenness::Evenness;
use crate::following::Following;
use crate::gate::Gate;
use crate::geofence::GeofenceState;
use crate::itinerary::Itinerary;
use crate::journey::Journey;
use crate::motion::{Motion, load_marker, save_marker};
use crate::phone::Phone;
use crate::seen::{Recent, Sessions};
use crate::tracker::Tracker;

/// Raised whenever the form changes.
const VERSION: u8 = 6;

/// The form before, which ends one part earlier, is read too.
const VERSION_BEFORE: u8 = 5;

/// Why bytes are no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by a build with another form.
    #[error("checkpoint version {found} is unknown; this build reads version {known}")]
    Version {
        /// Version of the bytes.
        found: u8,
        /// Version this build reads.
        known: u8,
    },
    /// The bytes end in the middle.
    #[error("checkpoint of {at} bytes ends too early")]
    Truncated {
        /// Length of the bytes.
        at: usize,
    },
    /// A part holds what no tracker can have written.
    #[error("checkpoint part {field} is damaged")]
    Invalid {
        /// The part.
        field: &'static str,
    },
}

impl Tracker {
    /// Appends the tracker to `out`: some 200 bytes at first, about 1.2 KiB on a trip with a full memory of fixes, and
    /// about 150 bytes for every further trip. Allocates only if `out` must grow.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.u8(VERSION);
        w.u8(self.vehicle as u8);
        w.uint(self.plan_version);
        w.time(self.clock_high);
        w.option(self.newest, Writer::time);
        w.time(self.heard);
        w.option(self.silent_at, Writer::time);
        w.bool(self.silent);
        self.sessions.save(&mut w);
        self.recent.save(&mut w);
        self.gate.save(&mut w);
        self.duty.save(&mut w);
        self.motion.save(&mut w);
        w.option(self.told.as_ref(), |w, marker| save_marker(marker, w));
        self.journey.save(&mut w);
        self.itinerary.save(&mut w);
        self.driving.save(&mut w);
        self.geofences.save(&mut w);
        self.phone.save(&mut w);
        self.evenness.save(&mut w);
    }

    /// A tracker from the bytes of [`Tracker::checkpoint`].
    ///
    /// # Errors
    /// When the bytes are of another version, cut off, or damaged. No bytes make it panic.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut r = Reader::new(bytes);
        let found = r.u8()?;
        if !(VERSION_BEFORE..=VERSION).contains(&found) {
            return Err(RestoreError::Version { found, known: VERSION });
        }
        let vehicle = Vehicle::from_number(r.u8()?).ok_or(RestoreError::Invalid { field: "vehicle" })?;
        let tracker = Self {
            vehicle,
            plan_version: r.uint("plan version")?,
            clock_high: r.time("clock")?,
            newest: r.option("newest", |r| r.time("newest"))?,
            heard: r.time("heard")?,
            silent_at: r.option("silence", |r| r.time("silence"))?,
            silent: r.bool("silence")?,
            sessions: Sessions::load(&mut r)?,
            recent: Recent::load(&mut r)?,
            gate: Gate::load(&mut r)?,
            duty: Duty::load(&mut r)?,
            motion: Motion::load(&mut r)?,
            told: r.option("told", load_marker)?,
            journey: Journey::load(&mut r)?,
            itinerary: Itinerary::load(&mut r)?,
            driving: Driving::load(&mut r)?,
            following: Following::default(),
            geofences: GeofenceState::load(&mut r)?,
            phone: Phone::load(&mut r)?,
            evenness: if found == VERSION { Evenness::load(&mut r)? } else { Evenness::default() },
        };
        r.finish()?;
        Ok(tracker)
    }
}
