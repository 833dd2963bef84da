//! How wrong a phone's clock is.
//!
//! A message received at server time `r` and sent at phone time `s` gives `r - s`: the clock's error plus the time
//! the message travelled. Travel is never negative, so the smallest difference seen is the nearest to the truth:
//! the estimate is the lower envelope, which rises slowly (clocks drift) and follows a step of the clock once the new
//! level has proved steady. Messages without a sending time offer their newest fix instead; then a positive
//! difference is as likely age as error, so only clocks that are ahead can be noticed.

use crate::bytes::{Reader, Writer};
use crate::{Limits, Millis, RestoreError};

/// A clock less than this ahead is left alone: it is within what the rest of the house tolerates.
const AHEAD_LEAST_MS: i64 = 1_000;
/// A clock seemingly less than this behind is left alone: a message can take that long.
const BEHIND_LEAST_MS: i64 = 60_000;
/// A difference this much above the envelope is no longer travel time but perhaps a clock set back.
const STEP_MS: i64 = 60_000;
/// Differences within this of each other are the same level.
const STEADY_MS: i64 = 5_000;
/// Messages at a new level before it is believed.
const STEADY_MESSAGES: u8 = 3;
/// Server time those messages must span: a burst of delayed messages also has nearly equal differences.
const STEADY_SPAN_MS: i64 = 10_000;
/// The same for a new session whose clock shows times that the driver's phone has shown before. That is either a
/// clock set back or a recording played again; recordings are played fast.
const REPEATED_SPAN_MS: i64 = 300_000;
/// The envelope rises by one part in this (1000 ppm, ten times what a quartz drifts).
const RISE_DIVISOR: i64 = 1_000;

/// What a message tells about its phone's clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// The phone's time: of sending if given, else of the newest fix.
    pub clock: Millis,
    /// Whether `clock` is the time of sending.
    pub is_sent: bool,
    /// Whether the driver's phone has shown this time or a later one in an earlier session.
    pub repeated: bool,
}

/// The clock error of one driver session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Skew {
    /// Lower envelope of (received - phone time), ms, as of `low_at`.
    low_ms: Option<i64>,
    low_at: Millis,
    /// A level above or beyond the envelope that has yet to prove steady.
    candidate_ms: i64,
    candidate_since: Millis,
    candidate_messages: u8,
}

impl Skew {
    /// Learns from a message received at `now`. Readings further off than [`Limits::skew_max_ms`] teach nothing.
    pub fn learn(&mut self, now: Millis, reading: ClockReading, limits: &Limits) {
        let difference_ms = now.since_ms(reading.clock);
        if difference_ms.saturating_abs() > limits.skew_max_ms {
            return;
        }
        if reading.is_sent {
            self.learn_sent(now, difference_ms, reading.repeated);
        } else {
            self.learn_newest(now, difference_ms, limits.future_ms);
        }
    }

    /// Milliseconds to add to the phone's times; 0 unless the clock is clearly wrong.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        match self.low_ms {
            Some(low) if !(-AHEAD_LEAST_MS..=BEHIND_LEAST_MS).contains(&low) => low,
            _ => 0,
        }
    }

    fn learn_sent(&mut self, now: Millis, difference_ms: i64, repeated: bool) {
        match self.risen(now) {
            None if repeated && difference_ms > BEHIND_LEAST_MS => {
                if self.is_steady(now, difference_ms, REPEATED_SPAN_MS) {
                    self.believe(now, difference_ms);
                }
            }
            None => self.believe(now, difference_ms),
            Some(low) if difference_ms <= low => self.believe(now, difference_ms),
            Some(low) if difference_ms > low.saturating_add(STEP_MS) => {
                if self.is_steady(now, difference_ms, STEADY_SPAN_MS) {
                    self.believe(now, difference_ms);
                }
            }
            Some(low) => self.believe(now, low),
        }
    }

    fn learn_newest(&mut self, now: Millis, difference_ms: i64, future_ms: i64) {
        let low = self.risen(now).unwrap_or(0);
        let near = (low.saturating_sub(STEADY_MS)..=low.saturating_add(STEP_MS)).contains(&difference_ms);
        if near && low < -future_ms {
            self.believe(now, low.min(difference_ms));
        } else if difference_ms < low.min(-future_ms) {
            if self.is_steady(now, difference_ms, 0) {
                self.believe(now, difference_ms);
            }
        } else if low < 0 && difference_ms > low && self.is_steady(now, difference_ms, STEADY_SPAN_MS) {
            // Live again at another level: the clock was set right. What is above zero is age, not error.
            self.believe(now, difference_ms.min(0));
        }
    }

    fn risen(&self, now: Millis) -> Option<i64> {
        let elapsed_ms = now.since_ms(self.low_at).max(0);
        self.low_ms.map(|low| low.saturating_add(elapsed_ms / RISE_DIVISOR))
    }

    fn believe(&mut self, now: Millis, level_ms: i64) {
        *self = Self { low_ms: Some(level_ms), low_at: now, ..Self::default() };
    }

    fn is_steady(&mut self, now: Millis, difference_ms: i64, span_ms: i64) -> bool {
        let same_level = difference_ms.saturating_sub(self.candidate_ms).saturating_abs() <= STEADY_MS;
        if self.candidate_messages == 0 || !same_level {
            (self.candidate_ms, self.candidate_since, self.candidate_messages) = (difference_ms, now, 0);
        }
        self.candidate_messages = self.candidate_messages.saturating_add(1);
        self.candidate_messages >= STEADY_MESSAGES && now.since_ms(self.candidate_since) >= span_ms
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.low_ms, Writer::int);
        w.time(self.low_at);
        w.u8(self.candidate_messages);
        if self.candidate_messages > 0 {
            w.int(self.candidate_ms);
            w.time(self.candidate_since);
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let low_ms = r.option("skew", |r| r.int("skew"))?;
        let low_at = r.time("skew")?;
        let mut skew = Self { low_ms, low_at, ..Self::default() };
        skew.candidate_messages = r.u8()?;
        if skew.candidate_messages > 0 {
            skew.candidate_ms = r.int("skew")?;
            skew.candidate_since = r.time("skew")?;
        }
        Ok(skew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOON: i64 = 1_800_000_000_000;

    /// Feeds (server time since noon in s, phone clock minus server clock in ms) and expects the final offset.
    #[track_caller]
    fn check(is_sent: bool, repeated: bool, messages: &[(i64, i64)], offset_ms: i64) {
        let (mut skew, limits) = (Skew::default(), Limits::default());
        for &(second, ahead_ms) in messages {
            let now = Millis(NOON + second * 1000);
            skew.learn(now, ClockReading { clock: now + ahead_ms, is_sent, repeated }, &limits);
        }
        assert_eq!(skew.offset_ms(), offset_ms);
    }

    #[test]
    fn travel_time_is_not_clock_error() {
        check(true, false, &[(0, -300), (1, -80), (2, -9_000), (3, -120)], 0);
        check(true, false, &[(0, -40_000)], 0);
        check(true, false, &[(0, 700)], 0);
    }

    #[test]
    fn a_clock_a_day_off_is_known_from_the_first_message_with_a_sending_time() {
        check(true, false, &[(0, DAY_MS)], -DAY_MS);
        check(true, false, &[(0, -DAY_MS)], DAY_MS);
        check(
            true,
            false,
            &[(0, -DAY_MS - 800), (1, -DAY_MS - 100), (2, -DAY_MS - 400)],
            // Risen by a millisecond in the last second.
            DAY_MS + 101,
        );
        check(true, false, &[(0, 400 * DAY_MS)], 0);
    }

    #[test]
    fn a_clock_set_back_is_followed_once_steady() {
        let back = -3_600_000;
        check(true, false, &[(0, 0), (5, back), (9, back)], 0);
        check(true, false, &[(0, 0), (5, back), (9, back), (15, back)], 3_600_000);
        check(true, false, &[(0, DAY_MS), (5, 0), (9, 0), (15, 0)], 0);
    }

    #[test]
    fn a_burst_of_delayed_messages_is_no_step() {
        check(true, false, &[(0, 0), (130, -130_000), (130, -129_000), (131, -128_000), (131, -127_000)], 0);
    }

    #[test]
    fn a_recording_played_again_is_not_a_clock_set_back() {
        let hour_ago: Vec<_> = (0..200).map(|i| (i, -3_600_000)).collect();
        check(true, true, &hour_ago, 0);
        check(true, true, &[(0, -3_600_000), (150, -3_600_000), (301, -3_600_000)], 3_600_000);
    }

    #[test]
    fn without_a_sending_time_only_a_clock_ahead_shows() {
        check(false, false, &[(0, -DAY_MS), (5, -DAY_MS), (20, -DAY_MS), (40, -DAY_MS)], 0);
        check(false, false, &[(0, DAY_MS), (1, DAY_MS)], 0);
        check(false, false, &[(0, DAY_MS), (1, DAY_MS), (2, DAY_MS - 90)], -DAY_MS + 90);
        check(false, false, &[(0, 60_000), (1, 0), (2, 60_000), (3, 0)], 0);
        let set_right = [(0, DAY_MS), (1, DAY_MS), (2, DAY_MS), (10, -90), (15, -300), (21, -90)];
        check(false, false, &set_right, 0);
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        let mut skew = Skew::default();
        for (now, clock) in [(i64::MAX, i64::MIN), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN)] {
            for is_sent in [true, false] {
                let reading = ClockReading { clock: Millis(clock), is_sent, repeated: true };
                skew.learn(Millis(now), reading, &Limits::default());
            }
        }
        assert_eq!(skew.offset_ms(), 0);
    }
}
