//! Drivers at fences, as a tracker feeds them.

use super::*;

const HOME: (f64, f64) = (41.15, -8.61);

/// One driver with its fences, a fix a second.
struct Drive {
    state: GeofenceState,
    fences: Geofences,
    told: Vec<(FenceKind, u128, i64)>,
    numbers: Vec<u64>,
}

impl Drive {
    fn among(fences: impl IntoIterator<Item = Geofence>) -> Self {
        Self { state: GeofenceState::default(), fences: index(fences), told: Vec::new(), numbers: Vec::new() }
    }

    fn fix(&mut self, second: i64, east_m: f64) {
        self.fix_as(second, east_m, 5.0, true);
    }

    fn fix_as(&mut self, second: i64, east_m: f64, accuracy_m: f64, slow: bool) {
        let unit = at(HOME.0, HOME.1).offset(east_m, 0.0).unit();
        let mut effects = Vec::new();
        self.state.see(
            &Seen { unit, filtered: unit, accuracy_m },
            slow,
            Millis(second * 1000),
            &self.fences,
            &mut effects,
        );
        self.note(effects);
    }

    fn wait(&mut self, second: i64) {
        let mut effects = Vec::new();
        self.state.pass_time(Millis(second * 1000), &self.fences, &mut effects);
        self.note(effects);
    }

    /// From metre to metre at this speed; returns the second after.
    fn go(&mut self, second: i64, from_m: f64, to_m: f64, mps: f64) -> i64 {
        let seconds = ((to_m - from_m).abs() / mps) as i64;
        for step in 0..=seconds {
            self.fix_as(second + step, from_m + (to_m - from_m).signum() * mps * step as f64, 5.0, mps < 3.0);
        }
        second + seconds + 1
    }

    fn note(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let Effect::Fence { fence, kind, at, number, .. } = effect else { panic!("{effect:?}") };
            assert!(self.numbers.last().is_none_or(|last| *last < number));
            self.numbers.push(number);
            self.told.push((kind, fence.0, at.0 / 1000));
        }
    }

    fn save_and_load(&mut self) {
        let mut bytes = Vec::new();
        self.state.save(&mut Writer(&mut bytes));
        self.state = GeofenceState::load(&mut Reader::new(&bytes)).unwrap();
    }
}

/// A circle some metres east of home, with a dwell of 30 s.
fn round(id: u128, east_m: f64, radius_m: f64) -> Geofence {
    let centre = at(HOME.0, HOME.1).offset(east_m, 0.0);
    Geofence::circle(GeofenceId(id), Millis(1), rules(Some(30_000)), centre, radius_m).unwrap()
}

use FenceKind::{Dwell, Enter, Exit, Inside};

#[test]
fn a_drive_through_enters_and_exits_once() {
    let mut drive = Drive::among([round(1, 1_000.0, 100.0)]);
    drive.go(0, 0.0, 2_000.0, 10.0);
    let kinds: Vec<_> = drive.told.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [Enter, Exit]);
    assert!((90..=93).contains(&drive.told[0].2) && (110..=112).contains(&drive.told[1].2), "{:?}", drive.told);
}

#[test]
fn small_fences_are_met_at_speed() {
    let mut drive = Drive::among((1..=10).map(|id| round(id, id as f64 * 200.0, 20.0)));
    drive.go(0, 0.0, 2_500.0, 10.0);
    assert_eq!(drive.told.len(), 20, "{:?}", drive.told);
}

#[test]
fn who_starts_inside_is_inside_and_dwells_once() {
    let mut drive = Drive::among([round(1, 0.0, 45.0)]);
    for second in 0..100 {
        drive.fix(second, 0.0);
    }
    assert_eq!(drive.told, [(Inside, 1, 0), (Dwell, 1, 30)]);
    drive.go(100, 0.0, 500.0, 10.0);
    assert_eq!(drive.told[2..], [(Exit, 1, 105)]);
    drive.go(200, 500.0, 0.0, 10.0);
    assert_eq!(drive.told[3].0, Enter);
}

#[test]
fn a_dwell_is_completed_by_silence_unless_the_driver_sped() {
    let mut drive = Drive::among([round(1, 0.0, 50.0)]);
    drive.fix(0, 0.0);
    assert_eq!(drive.state.deadline(), Some(Millis(30_000)));
    drive.wait(29);
    assert_eq!(drive.told, [(Inside, 1, 0)]);
    drive.wait(40);
    drive.wait(50);
    assert_eq!(drive.told, [(Inside, 1, 0), (Dwell, 1, 30)]);
    assert_eq!(drive.state.deadline(), None);
    let mut drive = Drive::among([round(1, 0.0, 50.0)]);
    drive.fix_as(0, 0.0, 5.0, false);
    drive.wait(40);
    assert_eq!(drive.told, [(Inside, 1, 0)]);
}

#[test]
fn new_fences_say_inside_replaced_ones_again_and_deleted_ones_nothing() {
    let changed = |fence: Geofence, changed| Geofence { changed: Millis(changed), ..fence };
    let mut drive = Drive::among([round(1, 0.0, 50.0), round(2, 0.0, 60.0)]);
    drive.fix(0, 0.0);
    assert_eq!(drive.told, [(Inside, 1, 0), (Inside, 2, 0)]);
    // Fence 3 comes, 1 is replaced where the driver is, 2 is replaced elsewhere.
    let moved = changed(round(2, 500.0, 50.0), 2);
    drive.fences =
        Geofences::new(2, [changed(round(1, 0.0, 80.0), 2), moved, changed(round(3, 0.0, 50.0), 3)].map(Arc::new));
    for second in 1..10 {
        drive.fix(second, 0.0);
    }
    assert_eq!(drive.told[2..], [(Inside, 1, 1), (Inside, 3, 1), (Exit, 2, 1)]);
    drive.fences = Geofences::new(3, []);
    drive.go(10, 0.0, 600.0, 10.0);
    assert_eq!(drive.told.len(), 5, "{:?}", drive.told);
    assert_eq!(drive.state.deadline(), None);
}

#[test]
fn a_fence_tells_only_what_it_is_asked_to() {
    let quiet = GeofenceRules { dwell_ms: Some(1_000), kinds: [Exit].into_iter().collect() };
    let fence = Geofence::circle(GeofenceId(1), Millis(1), quiet, at(HOME.0, HOME.1), 45.0).unwrap();
    let mut drive = Drive::among([fence]);
    drive.go(0, 0.0, 500.0, 10.0);
    assert_eq!(drive.told, [(Exit, 1, 5)]);
}

#[test]
fn presence_is_bounded_and_goes_on_when_there_is_room() {
    let mut drive = Drive::among((0..40).map(|id| round(id, if id < 20 { 0.0 } else { 300.0 }, 400.0)));
    drive.go(0, 0.0, 20.0, 1.0);
    let inside: Vec<u128> = drive.told.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(inside.len(), 32);
    assert!(inside.is_sorted() && inside[31] == 31, "the lowest ids come first: {inside:?}");
    drive.go(30, 20.0, 600.0, 10.0);
    let last: Vec<_> = drive.told.iter().filter(|(_, id, _)| *id >= 32).collect();
    assert_eq!(last.len(), 8, "those of the first twenty made room: {last:?}");
}

/// A step: seconds, metres east, metres north, accuracy, and whether the tracker is kept and brought back.
type Step = (i64, f64, f64, f64, bool);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The neighbourhood is a short cut and nothing else: who looks at every fix hears the same.
    #[test]
    fn looking_always_finds_nothing_more(
        steps in prop::collection::vec((1_i64..20, -80.0..80.0_f64, -80.0..80.0_f64, 3.0..40.0_f64, any::<bool>()), 1..150),
        circles in prop::collection::vec((-600.0..600.0_f64, -600.0..600.0_f64, 5.0..400.0_f64), 0..40),
        stars in prop::collection::vec((-600.0..600.0_f64, -600.0..600.0_f64, prop::collection::vec(20.0..300.0_f64, 5..20)), 0..20),
        centre in prop_oneof![Just(at(41.15, -8.61)), Just(at(-17.0, 179.9995)), Just(at(89.999, 0.0)), Just(at(88.99, 180.0))],
    ) {
        let circles = circles.iter().map(|(east_m, north_m, radius_m)| {
            Geofence::circle(GeofenceId(0), Millis(1), rules(Some(20_000)), centre.offset(*east_m, *north_m), *radius_m)
        });
        let stars = stars.iter().map(|(east_m, north_m, radii)| polygons(0, &[vec![star(centre.offset(*east_m, *north_m), radii)]]));
        let fences = circles.chain(stars).flatten().enumerate().map(|(id, fence)| Geofence { id: GeofenceId(id as u128), ..fence });
        let fences = index(fences);
        let (mut quick, mut slow) = (GeofenceState::default(), GeofenceState::default());
        let (mut east_m, mut north_m, mut second) = (0.0_f64, 0.0_f64, 0);
        for (seconds, east, north, accuracy_m, kept) in steps as Vec<Step> {
            second += seconds;
            (east_m, north_m) = ((east_m + east).clamp(-900.0, 900.0), (north_m + north).clamp(-900.0, 900.0));
            let unit = centre.offset(east_m, north_m).unit();
            let seen = Seen { unit, filtered: unit, accuracy_m };
            let (mut by_quick, mut by_slow) = (Vec::new(), Vec::new());
            quick.see(&seen, true, Millis(second * 1000), &fences, &mut by_quick);
            let mut bytes = Vec::new();
            slow.save(&mut Writer(&mut bytes));
            slow = GeofenceState::load(&mut Reader::new(&bytes)).unwrap();
            slow.see(&seen, true, Millis(second * 1000), &fences, &mut by_slow);
            if kept {
                quick.pass_time(Millis(second * 1000 + 500), &fences, &mut by_quick);
                slow.pass_time(Millis(second * 1000 + 500), &fences, &mut by_slow);
            }
            prop_assert_eq!(by_quick, by_slow);
            prop_assert_eq!(quick.deadline(), slow.deadline());
        }
    }

    /// Enter or inside comes first, exit last, and a driver that is driven far away has left everything.
    #[test]
    fn events_of_a_fence_alternate(
        steps in prop::collection::vec((-60.0..60.0_f64, 3.0..20.0_f64), 1..200),
        circles in prop::collection::vec((-600.0..600.0_f64, 5.0..400.0_f64), 1..20),
    ) {
        let fences = circles.iter().enumerate().map(|(id, (east_m, radius_m))| round(id as u128, *east_m, *radius_m));
        let mut drive = Drive::among(fences);
        let mut east_m = 0.0;
        for (second, (step, accuracy_m)) in steps.iter().enumerate() {
            east_m += step;
            drive.fix_as(second as i64, east_m, *accuracy_m, true);
            if second % 17 == 0 {
                drive.save_and_load();
            }
        }
        drive.go(1_000, east_m, east_m + 20_000.0, 15.0);
        for id in 0..circles.len() as u128 {
            let kinds: Vec<FenceKind> = drive.told.iter().filter(|told| told.1 == id).map(|told| told.0).collect();
            for stay in kinds.split_inclusive(|kind| *kind == Exit) {
                let allowed = matches!(stay, [Enter | Inside, Exit] | [Enter | Inside, Dwell, Exit]);
                prop_assert!(allowed, "fence {id}: {kinds:?}");
            }
            prop_assert!(kinds.iter().skip(1).all(|kind| *kind != Inside));
        }
    }
}
