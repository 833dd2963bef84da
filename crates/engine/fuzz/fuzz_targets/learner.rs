//! Any bytes as what was learned: refused, or a learner that learns on, estimates something that is ordered, and comes back from its own bytes.
//!
//! `cargo fuzz run learner` in `crates/engine`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayfare_engine::learn::{Arrival, Estimate, Learner, Lesson, Pace, RoadKind};
use wayfare_engine::roads::{Profile, RoadClass};
use wayfare_engine::Millis;

fuzz_target!(|input: (Vec<(u16, u8)>, bool, i64, f32, f32)| {
    let (changes, cut, at, log_ratio, seconds) = input;
    let mut bytes = Vec::new();
    taught().save(&mut bytes);
    for (index, value) in &changes {
        let index = usize::from(*index) % bytes.len();
        bytes[index] = *value;
    }
    if cut {
        bytes.truncate(bytes.len() / 2);
    }
    let Ok(mut learner) = Learner::load(&bytes) else { return };
    let at = Millis(at);
    for profile in Profile::ALL {
        let pace = Pace { at, kind: RoadKind::Street(RoadClass::Primary), cell: 1, log_ratio, weight_s: seconds };
        learner.learn(&Lesson::Pace(profile, pace));
        let told = Estimate { median_s: seconds, low_s: seconds / 2.0, high_s: seconds * 2.0 };
        learner.learn(&Lesson::Arrival(profile, Arrival { at, model_s: seconds, told, real_s: seconds * 1.5, on_roads: true }));
        let learned = learner.of(profile);
        let factor = wayfare_engine::learn::SpeedField::factor(learned.speeds.log_factor(at, RoadKind::Air, 1));
        assert!(factor > 0.0 && factor < 10.0 || factor.is_nan(), "{factor}");
        for calibration in &learned.calibration {
            let estimate = calibration.estimate(at, 600.0);
            assert!(!(estimate.low_s > estimate.median_s || estimate.median_s > estimate.high_s), "{estimate:?}");
        }
    }
    learner.tidy(at);
    let mut written = Vec::new();
    learner.save(&mut written);
});

fn taught() -> Learner {
    let mut learner = Learner::default();
    for step in 0..40_i64 {
        let at = Millis(1_800_000_000_000 + step * 20_000);
        let cell = 0x8839_2346_03ff_fff + (step as u64 % 4) * 0x10_0000;
        learner.learn(&Lesson::Pace(Profile::Car, Pace { at, kind: RoadKind::Air, cell, log_ratio: 0.3, weight_s: 20.0 }));
        let told = Estimate { median_s: 300.0, low_s: 200.0, high_s: 450.0 };
        let arrival = Arrival { at, model_s: 280.0, told, real_s: 330.0, on_roads: step % 2 == 0 };
        learner.learn(&Lesson::Arrival(Profile::Car, arrival));
    }
    learner
}
