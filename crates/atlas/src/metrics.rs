//! What is told about learning.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use wayfare_engine::Millis;
use wayfare_engine::learn::Learner;
use wayfare_engine::roads::Profile;

pub fn describe() {
    describe_counter!("wayfare_lessons_total", "Pieces of way and arrivals that taught something.");
    describe_counter!("wayfare_lessons_dropped_total", "Lessons dropped because too many waited.");
    describe_gauge!("wayfare_speed_factor", "How much longer than on a free road driving takes now, by profile.");
    describe_gauge!(
        "wayfare_speed_evidence_seconds",
        "Driving of the last half hour that live speeds rest on, by profile."
    );
    describe_gauge!("wayfare_speed_cells", "H3 cells of which live speeds are known, by profile.");
    describe_histogram!(
        "wayfare_reweight_seconds",
        "Time to take lessons in and to re-weight all roads, in the background."
    );
}

pub fn dropped(lessons: usize) {
    counter!("wayfare_lessons_dropped_total").increment(lessons as u64);
}

pub fn renewed(learner: &Learner, at: Millis, lessons: usize, took: Duration) {
    counter!("wayfare_lessons_total").increment(lessons as u64);
    histogram!("wayfare_reweight_seconds").record(took.as_secs_f64());
    for profile in Profile::ALL {
        let speeds = &learner.of(profile).speeds;
        gauge!("wayfare_speed_factor", "profile" => profile.code()).set(f64::from(speeds.city_factor(at)));
        gauge!("wayfare_speed_evidence_seconds", "profile" => profile.code()).set(f64::from(speeds.evidence_s(at)));
        gauge!("wayfare_speed_cells", "profile" => profile.code()).set(speeds.cells() as f64);
    }
}
