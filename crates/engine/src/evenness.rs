//! Whether a feed is too even to come from a receiver: always the same accuracy, and positions that lie on straight lines, evenly spaced, to
//! the decimetre. Apps that make positions up are like that.
//!
//! Either alone is innocent. Some phones give one accuracy for minutes; within a second any car moves evenly. Both together, over steps of
//! three seconds and more, are not: a car on cruise control strays by some 0.2 m along its way in three seconds and a good receiver by as much
//! again in every direction, so that one step in eight is even by chance, and sixteen of twenty-four about once in 10^9. Standing is no
//! evidence: receivers hold a standing position on purpose.
//!
//! It is a mark for people to look at. No fix is refused for it.

use crate::bytes::{Reader, Writer};
use crate::geo::EARTH_RADIUS_M;
use crate::{Fix, Millis, Position, RestoreError};

/// Steps looked at together.
const WINDOW: u32 = 24;

/// So many even ones of them, all with one accuracy, are no chance.
const EVEN_STEPS: u32 = 16;

/// With no more than this the feed looks like one of a receiver.
const REAL_STEPS: u32 = 4;

/// A step that ends within this of where the one before leads is even, metres: five times what positions are rounded to.
const EVEN_M: f64 = 0.1;

/// Fixes that follow sooner are passed over, ms: in a shorter time a car does not stray enough.
const STEP_MS_MIN: i64 = 3_000;

/// After a longer step nothing can be said, ms.
const STEP_MS_MAX: i64 = 30_000;

/// A shorter step may be standing, metres.
const STEP_M_MIN: f64 = 8.0;

/// See the module. On the heap from the first fix on: most drivers who are connected drive nowhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Evenness(Option<Box<Walk>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Walk {
    accuracy_m: f32,
    last: Option<Spot>,
    before: Option<Spot>,
    /// The last steps with this accuracy, one bit each, 1 for even.
    steps: u32,
    /// Steps in a row after which the feed looked real.
    real: u8,
    since: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Spot {
    position: Position,
    taken: Millis,
}

impl Evenness {
    /// Since when the feed is too even.
    pub(crate) fn since(&self) -> Option<Millis> {
        self.0.as_ref()?.since
    }

    /// Looks at an accepted fix, in the order of time. `afresh`: the driver is somewhere else. Says whether the mark came or went.
    pub(crate) fn see(&mut self, fix: &Fix, afresh: bool) -> bool {
        if self.0.is_none() && fix.accuracy_m().is_none() {
            return false;
        }
        self.0.get_or_insert_default().see(fix, afresh)
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.0.as_deref(), |w, walk| walk.save(w));
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        Ok(Self(r.option("evenness", Walk::load)?.map(Box::new)))
    }
}

impl Walk {
    fn see(&mut self, fix: &Fix, afresh: bool) -> bool {
        // Unknown is 0: no evidence, but a number that changed.
        let accuracy_m = fix.accuracy_m().unwrap_or(0.0);
        if accuracy_m.to_bits() != self.accuracy_m.to_bits() {
            (self.accuracy_m, self.steps) = (accuracy_m, 0);
        }
        let here = Spot { position: fix.position(), taken: fix.taken() };
        let Some(last) = self.last.filter(|_| !afresh) else {
            (self.before, self.last) = (None, Some(here));
            return false;
        };
        let step_ms = here.taken.since_ms(last.taken);
        if step_ms < STEP_MS_MIN {
            return false;
        }
        let (east_m, north_m) = last.to(&here);
        let moves = step_ms <= STEP_MS_MAX && east_m.hypot(north_m) >= STEP_M_MIN;
        let before = self.before.replace(last).filter(|_| moves);
        self.last = Some(here);
        if !moves {
            self.before = None;
        }
        let Some(before) = before else { return false };
        // Where the same speed and course would have led.
        let times = step_ms as f64 / last.taken.since_ms(before.taken) as f64;
        let (led_east_m, led_north_m) = before.to(&last);
        let off_m = (led_east_m * times - east_m).hypot(led_north_m * times - north_m);
        let even = accuracy_m > 0.0 && off_m <= EVEN_M;
        self.steps = (self.steps << 1 | u32::from(even)) & ((1 << WINDOW) - 1);
        self.conclude(here.taken)
    }

    fn conclude(&mut self, taken: Millis) -> bool {
        let even = self.steps.count_ones();
        if self.since.is_none() {
            let found = even >= EVEN_STEPS;
            if found {
                (self.since, self.real) = (Some(taken), 0);
            }
            return found;
        }
        self.real = if even <= REAL_STEPS { self.real.saturating_add(1) } else { 0 };
        let over = u32::from(self.real) >= WINDOW;
        if over {
            self.since = None;
        }
        over
    }

    fn save(&self, w: &mut Writer<'_>) {
        w.f32(self.accuracy_m);
        for spot in [self.last, self.before] {
            w.option(spot, |w, spot| {
                w.position(spot.position);
                w.time(spot.taken);
            });
        }
        w.uint(self.steps.into());
        w.u8(self.real);
        w.option(self.since, Writer::time);
    }

    fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        const NAME: &str = "evenness";
        let spot = |r: &mut Reader<'_>| Ok(Spot { position: r.position(NAME)?, taken: r.time(NAME)? });
        Ok(Self {
            accuracy_m: r.f32(NAME)?,
            last: r.option(NAME, spot)?,
            before: r.option(NAME, spot)?,
            steps: u32::try_from(r.uint(NAME)?).map_err(|_| RestoreError::Invalid { field: NAME })?,
            real: r.u8()?,
            since: r.option(NAME, |r| r.time(NAME))?,
        })
    }
}

impl Spot {
    /// Metres east and north to another one, flat: over a kilometre that errs by less than is called even.
    fn to(&self, other: &Self) -> (f64, f64) {
        let north_deg = other.position.lat_deg() - self.position.lat_deg();
        let mut east_deg = other.position.lon_deg() - self.position.lon_deg();
        if east_deg.abs() > 180.0 {
            east_deg -= 360.0 * east_deg.signum();
        }
        let middle_deg = self.position.lat_deg() + north_deg / 2.0;
        let scale_m = EARTH_RADIUS_M.to_radians();
        (east_deg * scale_m * middle_deg.to_radians().cos(), north_deg * scale_m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RawFix;
    use proptest::prelude::*;

    fn fix(position: Position, taken_ms: i64, accuracy_m: Option<f32>) -> Fix {
        let raw = RawFix {
            // As it travels.
            lat_deg: (position.lat_deg() * 1e7).round() / 1e7,
            lon_deg: (position.lon_deg() * 1e7).round() / 1e7,
            taken: Millis(taken_ms),
            accuracy_m,
            speed_mps: None,
            heading_deg: None,
            altitude_m: None,
            mock: false,
        };
        raw.admit(0).unwrap()
    }

    fn place(east_m: f64, north_m: f64) -> Position {
        Position::new(41.15, -8.61).unwrap().offset(east_m, north_m)
    }

    /// Random numbers that are the same each time, about normal with deviation 1.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            let mut uniform = || {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                (self.0 >> 11) as f64 / (1_u64 << 53) as f64
            };
            (0..12).map(|_| uniform()).sum::<f64>() - 6.0
        }
    }

    /// A car on a straight motorway whose speed strays by `accel` m/s² and whose receiver errs by `error_m`, with a memory of 20 s; a fix
    /// every `every_s`, always of the same accuracy. Whether it is ever marked in half an hour.
    fn motorway(seed: u64, every_s: i64, accel: f64, error_m: f64) -> bool {
        let (mut noise, mut evenness) = (Noise(seed | 1), Evenness::default());
        let (mut along_m, mut speed, mut error) = (0.0, 30.0, (0.0, 0.0));
        let memory = (-1.0_f64 / 20.0).exp();
        let fresh = error_m * (1.0 - memory * memory).sqrt();
        (0..1800).any(|second| {
            speed += accel * noise.next();
            // The foot on the pedal.
            speed += (30.0 - speed) * 0.02;
            along_m += speed;
            error = (error.0 * memory + fresh * noise.next(), error.1 * memory + fresh * noise.next());
            let seen = place(along_m * 0.6 + error.0, along_m * 0.8 + error.1);
            second % every_s == 0 && evenness.see(&fix(seen, second * 1000, Some(3.79)), false)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_true_motorway_is_never_marked(seed: u64, every_s in 1_i64..12) {
            // A steady foot and a receiver that smooths much; then rougher ones.
            for (accel, error_m) in [(0.05, 0.3), (0.1, 0.5), (0.3, 2.0)] {
                prop_assert!(!motorway(seed, every_s, accel, error_m), "{} {}", accel, error_m);
            }
        }

        #[test]
        fn what_moves_along_lines_is_marked_and_only_while_its_accuracy_is_one_number(
            mps in 4.0..40.0_f64, every_ms in 1_000_i64..10_000, heading in 0.0..std::f64::consts::TAU, jitters: bool,
        ) {
            let mut evenness = Evenness::default();
            let marked = (0..400_i64).any(|step| {
                let way_m = mps * (step * every_ms) as f64 / 1000.0;
                let at = place(way_m * heading.sin(), way_m * heading.cos());
                let accuracy_m = if jitters { 5.0 + (step % 3) as f32 } else { 5.0 };
                evenness.see(&fix(at, step * every_ms, Some(accuracy_m)), false)
            });
            let step_m = mps * every_ms as f64 / 1000.0;
            // Walks of less than a step are standing for all we know; fixes that come fast are put together.
            prop_assume!(step_m.max(mps * 3.0) >= STEP_M_MIN);
            prop_assert_eq!(marked, !jitters);
        }
    }

    #[test]
    fn corners_do_not_hide_it_and_a_true_receiver_takes_the_mark_back() {
        let mut evenness = Evenness::default();
        // Streets of 150 m at 10 m/s, every 3 s: a corner at each fifth fix.
        let corner = |number: i64| place((number / 2 * 150) as f64, ((number + 1) / 2 * 150) as f64);
        let mut marked = None;
        for step in 0..200_i64 {
            let (from, to, share) = (corner(step / 5), corner(step / 5 + 1), (step % 5) as f64 / 5.0);
            let mix = |a: f64, b: f64| a + (b - a) * share;
            let at = Position::new(mix(from.lat_deg(), to.lat_deg()), mix(from.lon_deg(), to.lon_deg())).unwrap();
            if evenness.see(&fix(at, step * 3000, Some(5.0)), false) {
                marked.get_or_insert(step);
            }
        }
        assert!(marked.is_some_and(|step| step < 40), "{marked:?}");
        assert_eq!(evenness.since(), marked.map(|step| Millis(step * 3000)));
        let mut bytes = Vec::new();
        evenness.save(&mut Writer(&mut bytes));
        assert_eq!(Evenness::load(&mut Reader::new(&bytes)), Ok(evenness.clone()));
        // Then a phone that really moves, its accuracy now this, now that.
        let (mut noise, mut over) = (Noise(9), None);
        for step in 0..100_i64 {
            let at = place(9_000.0 + step as f64 * 30.0 + noise.next(), noise.next());
            if evenness.see(&fix(at, 1_000_000 + step * 3000, Some(4.0 + noise.next().abs() as f32)), step == 0) {
                over.get_or_insert(step);
            }
        }
        assert_eq!(over, Some(25), "not at the first other number");
        assert_eq!(evenness.since(), None);
    }

    #[test]
    fn standing_silence_and_unknown_accuracy_are_no_evidence() {
        let check = |every_ms: i64, step_m: f64, accuracy_m: Option<f32>| {
            let mut evenness = Evenness::default();
            assert!(!(0..500).any(|step| {
                evenness.see(&fix(place(step as f64 * step_m, 0.0), step * every_ms, accuracy_m), false)
            }));
        };
        check(3_000, 0.0, Some(5.0));
        check(3_000, 2.0, Some(5.0));
        check(31_000, 100.0, Some(5.0));
        check(3_000, 50.0, None);
        // Across the antimeridian nothing is special.
        let mut evenness = Evenness::default();
        let at = |step: i64| {
            let lon = 179.99 + step as f64 * 0.001;
            Position::new(10.0, if lon > 180.0 { lon - 360.0 } else { lon }).unwrap()
        };
        assert!((0..40).any(|step| evenness.see(&fix(at(step), step * 5_000, Some(5.0)), false)));
    }
}
