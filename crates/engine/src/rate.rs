//! How often a phone is asked for its position: as often as those who look need it, and otherwise as seldom as arrivals and departures allow.
//!
//! Four things decide: how the trip stands, how near the next stop is, who looks, and how much charge the phone has. Of several trips the most
//! urgent one counts. All that is asked for lies on one ladder, so that neither noise nor a metre more or less changes it.

use crate::{Limits, Millis, Phase};

/// What may be asked for, in ms. A phone with little charge is asked for the next rung.
const LADDER_MS: [u32; 7] = [1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000];

/// A phone with no more than this, in percent, and without a cable has little charge: at some 10 % an hour of work it must be spared.
pub(crate) const LOW_PCT: u8 = 15;

/// Up to here the next stop is near, in metres: twice a motor vehicle's fence, so that its line is crossed with fixes on both sides.
const NEAR_M: f64 = 150.0;

/// Beyond this a stop is far, in metres: at 15 m/s, and seen every 20 s, nobody gets from there to the fence unseen.
const FAR_M: f64 = 400.0;

/// Another, slower rate is asked for only after it was wanted for this long, in ms: a page loaded anew changes nothing. A faster one is asked
/// for at once.
const SLOWER_AFTER_MS: i64 = 5_000;

/// The same for phones that hear of it in an answer: some of their apps start the receiver anew each time.
const SLOWER_ANSWERED_AFTER_MS: i64 = 15_000;

/// A phone that can be told only when it sends is not asked to send less often than this while a trip is live, in ms: so long may a
/// watcher who has just come have to wait.
const ANSWERED_LONGEST_MS: u32 = 10_000;

/// How closely somebody looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Nobody looks.
    #[default]
    Nobody,
    /// Somebody sees how the trip stands and when it arrives, but not where it is.
    Coarsely,
    /// Somebody sees it move.
    Closely,
}

/// How a phone is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At any time, on its connection.
    Pushed,
    /// Only in the answer to what it sends.
    Answered,
}

/// One trip, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) phase: Phase,
    /// Metres to the next stop of the plan, if it is this trip's and it is known where the driver is.
    pub(crate) next_m: Option<f64>,
    pub(crate) standing: bool,
    pub(crate) watch: Watch,
}

/// What a trip needs, in ms.
pub(crate) fn of_trip(situation: &Situation) -> u32 {
    let next_m = situation.next_m.unwrap_or(f64::INFINITY);
    let (near, far) = (next_m <= NEAR_M, next_m > FAR_M);
    match (situation.watch, situation.phase) {
        // The customer opens the door.
        (Watch::Closely, Phase::Arriving) => 1_000,
        (Watch::Closely, Phase::ToPickup | Phase::ToDropoff) if near => 2_000,
        (Watch::Closely, Phase::AtPickup) if situation.standing => 5_000,
        (Watch::Closely, Phase::Assigned) => 5_000,
        (Watch::Closely, _) => 3_000,
        // With the departure the courier comes into view.
        (Watch::Coarsely, Phase::AtPickup) => 5_000,
        (Watch::Coarsely, Phase::ToPickup | Phase::ToDropoff | Phase::Arriving) if near => 5_000,
        (Watch::Coarsely, _) => 10_000,
        // Arrivals and departures are for the record: it may say them a few seconds later.
        (Watch::Nobody, Phase::ToPickup | Phase::ToDropoff | Phase::Arriving) if !far => 10_000,
        (Watch::Nobody, Phase::AtPickup) if !situation.standing => 10_000,
        (Watch::Nobody, _) => 20_000,
    }
}

/// What a driver without a trip needs, who only has to be found, in ms.
pub(crate) fn of_idle(watch: Watch) -> u32 {
    if watch == Watch::Closely { 10_000 } else { 30_000 }
}

/// What is asked of a phone of which `wanted_ms` is needed.
pub(crate) fn of_phone(wanted_ms: u32, is_live: bool, low: bool, reach: Reach, limits: &Limits) -> u32 {
    let spared = |wanted_ms| LADDER_MS.into_iter().find(|rung_ms| *rung_ms > wanted_ms).unwrap_or(wanted_ms);
    let mut interval_ms = if low { spared(wanted_ms) } else { wanted_ms };
    if !is_live {
        return interval_ms;
    }
    if reach == Reach::Answered {
        interval_ms = interval_ms.min(ANSWERED_LONGEST_MS);
    }
    // A single lost fix is no silence.
    let silence_ms = u32::try_from(limits.silence_ms / 2).unwrap_or(u32::MAX);
    interval_ms.min(silence_ms.max(LADDER_MS[0]))
}

/// What one phone was asked for, so that it is not asked to and fro.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    asked_ms: u32,
    slower_since: Option<Millis>,
}

impl Rate {
    /// The phone was just told this.
    #[must_use]
    pub const fn told(interval_ms: u32) -> Self {
        Self { asked_ms: interval_ms, slower_since: None }
    }

    /// What the phone was asked for last, in ms.
    #[must_use]
    pub const fn asked_ms(&self) -> u32 {
        self.asked_ms
    }

    /// What to ask for now that `wanted_ms` is wanted, if it is another interval than was asked for last: a shorter one at once, a longer
    /// one when something longer has been wanted for a while: 5 s on a connection, 15 s for those who hear of it in an answer.
    pub fn settle(&mut self, now: Millis, wanted_ms: u32, reach: Reach) -> Option<u32> {
        let after_ms = match reach {
            Reach::Pushed => SLOWER_AFTER_MS,
            Reach::Answered => SLOWER_ANSWERED_AFTER_MS,
        };
        if wanted_ms == self.asked_ms {
            self.slower_since = None;
            return None;
        }
        if wanted_ms > self.asked_ms {
            let since = *self.slower_since.get_or_insert(now);
            // A clock that was set back begins anew.
            if now < since {
                self.slower_since = Some(now);
                return None;
            }
            if now < since + after_ms {
                return None;
            }
        }
        *self = Self::told(wanted_ms);
        Some(wanted_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn phases() -> impl Strategy<Value = Phase> {
        (0..6_usize).prop_map(|number| Phase::ALL[number])
    }

    fn watches() -> impl Strategy<Value = Watch> {
        prop_oneof![Just(Watch::Nobody), Just(Watch::Coarsely), Just(Watch::Closely)]
    }

    fn situations() -> impl Strategy<Value = Situation> {
        let next_m = proptest::option::of(0.0..5_000.0_f64);
        (phases(), next_m, any::<bool>(), watches()).prop_map(|(phase, next_m, standing, watch)| Situation {
            phase,
            next_m,
            standing,
            watch,
        })
    }

    proptest! {
        #[test]
        fn who_looks_closer_never_gets_less(one in situations(), other in watches()) {
            let (less, more) = (one.watch.min(other), one.watch.max(other));
            let of = |watch| of_trip(&Situation { watch, ..one });
            prop_assert!(of(more) <= of(less));
            prop_assert!(of_idle(more) <= of_idle(less));
        }

        #[test]
        fn nearer_is_never_slower(one in situations(), a in 0.0..5_000.0_f64, b in 0.0..5_000.0_f64) {
            let of = |next_m| of_trip(&Situation { next_m, ..one });
            prop_assert!(of(Some(a.min(b))) <= of(Some(a.max(b))));
            prop_assert!(of(Some(a)) <= of(None));
        }

        #[test]
        fn standing_is_never_faster(one in situations()) {
            let of = |standing| of_trip(&Situation { standing, ..one });
            prop_assert!(of(false) <= of(true));
        }

        #[test]
        fn a_phone_with_little_charge_is_spared_and_nothing_leaves_the_ladder(one in situations(), is_live: bool, low: bool) {
            let limits = Limits::default();
            let wanted_ms = of_trip(&one);
            let of = |low, reach| of_phone(wanted_ms, is_live, low, reach, &limits);
            prop_assert!(LADDER_MS.contains(&of(low, Reach::Pushed)));
            prop_assert!(LADDER_MS.contains(&of(low, Reach::Answered)));
            prop_assert!(of(true, Reach::Pushed) > of(false, Reach::Pushed));
            prop_assert!(of(low, Reach::Answered) <= of(low, Reach::Pushed));
            prop_assert!(i64::from(of(low, Reach::Pushed)) * 2 <= limits.silence_ms);
        }

        #[test]
        fn what_is_asked_follows_in_time_and_never_flaps(steps: Vec<(u8, bool)>) {
            let (mut rate, mut now, mut asked, mut changed) = (Rate::told(3_000), Millis(0), 3_000, Millis(-SLOWER_AFTER_MS));
            for (seconds, fast) in steps {
                now = now + i64::from(seconds % 8) * 1_000;
                let wanted = if fast { 3_000 } else { 20_000 };
                if let Some(told) = rate.settle(now, wanted, Reach::Pushed) {
                    prop_assert_eq!(told, wanted);
                    prop_assert_ne!(told, asked);
                    prop_assert!(fast || now.since_ms(changed) >= SLOWER_AFTER_MS);
                    (asked, changed) = (told, now);
                }
                prop_assert!(!fast || asked == 3_000, "faster at once");
            }
        }
    }

    #[test]
    fn the_table_is_as_it_is_written() {
        let check = |watch, phase, next_m, expected_ms| {
            assert_eq!(of_trip(&Situation { phase, next_m: Some(next_m), standing: false, watch }), expected_ms);
        };
        check(Watch::Closely, Phase::Arriving, 200.0, 1_000);
        check(Watch::Closely, Phase::ToDropoff, 100.0, 2_000);
        check(Watch::Closely, Phase::ToDropoff, 2_000.0, 3_000);
        check(Watch::Coarsely, Phase::ToPickup, 2_000.0, 10_000);
        check(Watch::Nobody, Phase::ToDropoff, 2_000.0, 20_000);
        check(Watch::Nobody, Phase::ToDropoff, 400.0, 10_000);
        check(Watch::Nobody, Phase::Arriving, 450.0, 20_000);
        assert_eq!((of_idle(Watch::Nobody), of_idle(Watch::Closely)), (30_000, 10_000));
    }

    #[test]
    fn a_visitor_who_leaves_for_a_moment_changes_nothing() {
        let mut rate = Rate::told(3_000);
        let mut settle = |now_ms, wanted_ms, reach| rate.settle(Millis(now_ms), wanted_ms, reach);
        assert_eq!(settle(0, 20_000, Reach::Pushed), None);
        assert_eq!(settle(4_000, 3_000, Reach::Pushed), None);
        assert_eq!(settle(20_000, 20_000, Reach::Pushed), None);
        assert_eq!(settle(24_999, 10_000, Reach::Pushed), None);
        assert_eq!(settle(25_000, 10_000, Reach::Answered), None);
        assert_eq!(settle(25_000, 10_000, Reach::Pushed), Some(10_000));
        assert_eq!(settle(25_001, 3_000, Reach::Pushed), Some(3_000));
    }

    #[test]
    fn silence_that_is_told_soon_bounds_what_is_asked() {
        let limits = Limits { silence_ms: 8_000, ..Limits::default() };
        assert_eq!(of_phone(20_000, true, false, Reach::Pushed, &limits), 4_000);
        assert_eq!(of_phone(30_000, false, false, Reach::Pushed, &limits), 30_000);
        let limits = Limits { silence_ms: 1_000, ..limits };
        assert_eq!(of_phone(20_000, true, true, Reach::Answered, &limits), 1_000);
    }
}
