//! What is learned from driving: how fast roads are now, how wrong estimates were, how wide an interval must be.
//!
//! Trackers hand out [`Lesson`]s as effects; somebody puts them into one [`Learner`], and twice a minute trackers are given what it has
//! become. Nothing is tuned per city: everything starts from nothing and is forgotten with time.

mod calibration;
mod decay;
mod speeds;

pub use calibration::{Calibration, Estimate};
pub use speeds::{Pace, RoadKind, SpeedField, cell_for_speeds};

use crate::bytes::{Reader, Writer};
use crate::roads::Profile;
use crate::{Millis, RestoreError};

/// Something that was found out by driving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lesson {
    /// A piece of way was driven, by this profile.
    Pace(Profile, Pace),
    /// A stop was reached, by this profile, and this is what had been believed on the way there.
    Arrival(Profile, Arrival),
}

/// An estimate of one drive, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When the stop was reached.
    pub at: Millis,
    /// Seconds the model gave before calibration.
    pub model_s: f32,
    /// What was told: median and interval, seconds.
    pub told: Estimate,
    /// Seconds it took.
    pub real_s: f32,
    /// Estimated on roads; otherwise on a straight line.
    pub on_roads: bool,
}

/// Everything learned of one profile. Some hundred kilobytes for a city; bounded.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// How fast it is under way.
    pub speeds: SpeedField,
    /// How wrong estimates on straight lines were, and on roads.
    pub calibration: [Calibration; 2],
}

/// Everything learned: what cars meet says nothing about bicycles.
#[derive(Clone, Debug, Default)]
pub struct Learner {
    profiles: [Learned; 3],
    /// Lessons taken in.
    pub lessons: u64,
}

/// Version of the form of [`Learner::save`].
const VERSION: u8 = 1;

impl Learner {
    /// What is known of a profile.
    #[must_use]
    pub fn of(&self, profile: Profile) -> &Learned {
        &self.profiles[profile as usize]
    }

    /// Takes a lesson in. Below a microsecond.
    pub fn learn(&mut self, lesson: &Lesson) {
        self.lessons = self.lessons.saturating_add(1);
        match lesson {
            Lesson::Pace(profile, pace) => self.profiles[*profile as usize].speeds.learn(pace),
            Lesson::Arrival(profile, arrival) => {
                self.profiles[*profile as usize].calibration[usize::from(arrival.on_roads)].learn(arrival);
            }
        }
    }

    /// Forgets places of which nothing is left to know.
    pub fn tidy(&mut self, at: Millis) {
        self.profiles.iter_mut().for_each(|learned| learned.speeds.tidy(at));
    }

    /// Appends everything to `out`.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.u8(VERSION);
        w.uint(self.lessons);
        for learned in &self.profiles {
            learned.calibration.iter().for_each(|calibration| calibration.save(&mut w));
            learned.speeds.save(&mut w);
        }
    }

    /// What [`Learner::save`] wrote.
    ///
    /// # Errors
    /// When the bytes are of another version, cut off, or damaged. No bytes make it panic.
    pub fn load(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut r = Reader::new(bytes);
        let found = r.u8()?;
        if found != VERSION {
            return Err(RestoreError::Version { found, known: VERSION });
        }
        let mut learner = Self { lessons: r.uint("lessons")?, ..Self::default() };
        for learned in &mut learner.profiles {
            learned.calibration = [Calibration::load(&mut r)?, Calibration::load(&mut r)?];
            learned.speeds = SpeedField::load(&mut r)?;
        }
        r.finish()?;
        Ok(learner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;

    fn taught() -> Learner {
        let mut learner = Learner::default();
        let place = Position::new(41.15, -8.61).unwrap();
        for step in 0..500 {
            let at = Millis(1_372_640_000_000 + step * 20_000);
            let kind = if step % 2 == 0 { RoadKind::Street(crate::roads::RoadClass::Primary) } else { RoadKind::Air };
            let cell = cell_for_speeds(place.offset(0.0, step as f64 * 20.0));
            learner.learn(&Lesson::Pace(Profile::Car, Pace { at, kind, cell, log_ratio: 0.3, weight_s: 20.0 }));
            let told = Estimate { median_s: 300.0, low_s: 200.0, high_s: 450.0 };
            let on_roads = step % 3 == 0;
            learner
                .learn(&Lesson::Arrival(Profile::Foot, Arrival { at, model_s: 280.0, told, real_s: 330.0, on_roads }));
        }
        learner
    }

    #[test]
    fn what_was_learned_comes_back_from_its_bytes() {
        let (learner, mut bytes) = (taught(), Vec::new());
        learner.save(&mut bytes);
        let again = Learner::load(&bytes).unwrap();
        let mut bytes_again = Vec::new();
        again.save(&mut bytes_again);
        assert_eq!(bytes, bytes_again);
        assert_eq!(again.lessons, 1_000);
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_panic() {
        let mut bytes = Vec::new();
        taught().save(&mut bytes);
        for at in 0..bytes.len().min(400) {
            assert!(Learner::load(&bytes[..at]).is_err());
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            let _ = Learner::load(&changed);
        }
    }
}
