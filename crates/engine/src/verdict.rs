//! What is said about a fix, in words a driver app can act on and a support log answers itself with.

use std::fmt;

/// The judgement of one fix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Kept, and the newest so far: it moved the live state.
    Accepted,
    /// Kept in the track, but older than the newest accepted one: the live marker stays.
    Late,
    /// Set aside for the reason given.
    Rejected(Reason),
}

impl Verdict {
    /// `accepted`, `late` or the reason's code; the closed list that acks and metrics use.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Late => "late",
            Self::Rejected(reason) => reason.code(),
        }
    }

    /// Whether the fix belongs in the track: accepted or late.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Late => f.write_str("older than the newest fix; kept in the track"),
            Self::Rejected(reason) => reason.fmt(f),
        }
    }
}

/// What makes numbers no place on Earth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Latitude or longitude is NaN or infinite.
    NotFinite,
    /// Latitude outside -90..=90.
    Latitude,
    /// Longitude outside -180..=180.
    Longitude,
    /// Within 0.001 degree of (0, 0): what a phone without a fix reports. No delivery happens in that water.
    ZeroIsland,
}

/// Why a fix was set aside: the measurement and the limit it broke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Not a place on Earth.
    Invalid(Invalid),
    /// Seen before: a resend of a message, or the same time and place again.
    Duplicate,
    /// Taken later than now, after the phone's clock error was removed.
    Future {
        /// How far ahead, in ms.
        ahead_ms: i64,
        /// How far would have been tolerated, in ms.
        limit_ms: i64,
    },
    /// Older than tracks are kept.
    Stale {
        /// Its age, in ms.
        age_ms: i64,
        /// The age tolerated, in ms.
        limit_ms: i64,
    },
    /// Taken while the driver was neither available nor on a trip; its coordinates are not kept.
    OffShift,
    /// Outside the operator's service area.
    OutsideArea {
        /// Latitude and longitude exchanged would lie inside: the app most likely swaps them.
        swapped_would_fit: bool,
    },
    /// The phone itself says it does not know well enough where it is.
    Inaccurate {
        /// Accuracy radius reported, in metres.
        accuracy_m: f32,
        /// Radius tolerated, in metres.
        limit_m: f32,
    },
    /// Further from the last accepted fix than the vehicle can have gone, both accuracies granted.
    ImplausibleSpeed {
        /// Speed it would have taken, in m/s.
        mps: f32,
        /// Speed tolerated, in m/s.
        limit_mps: f32,
    },
    /// The phone says the position was made up by another app.
    Mock,
}

impl Reason {
    /// The machine's word for it; the list is closed and never renamed.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Duplicate => "duplicate",
            Self::Future { .. } => "future",
            Self::Stale { .. } => "stale",
            Self::OffShift => "off_shift",
            Self::OutsideArea { .. } => "outside_area",
            Self::Inaccurate { .. } => "inaccurate",
            Self::ImplausibleSpeed { .. } => "implausible_speed",
            Self::Mock => "mock",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Invalid(Invalid::NotFinite) => f.write_str("latitude or longitude is not a finite number"),
            Self::Invalid(Invalid::Latitude) => f.write_str("latitude is outside -90..=90 degrees"),
            Self::Invalid(Invalid::Longitude) => f.write_str("longitude is outside -180..=180 degrees"),
            Self::Invalid(Invalid::ZeroIsland) => f.write_str("position is (0, 0), which means the phone had no fix"),
            Self::Duplicate => f.write_str("this fix was received before"),
            Self::Future { ahead_ms, limit_ms } => {
                write!(f, "taken {ahead_ms} ms in the future; at most {limit_ms} ms is tolerated")
            }
            Self::Stale { age_ms, limit_ms } => {
                write!(f, "taken {age_ms} ms ago; tracks go back {limit_ms} ms")
            }
            Self::OffShift => f.write_str("taken while the driver was neither available nor on a trip"),
            Self::OutsideArea { swapped_would_fit: false } => f.write_str("outside the service area"),
            Self::OutsideArea { swapped_would_fit: true } => {
                f.write_str("outside the service area; latitude and longitude seem to be swapped")
            }
            Self::Inaccurate { accuracy_m, limit_m } => {
                write!(f, "accurate to {accuracy_m:.0} m only; at most {limit_m:.0} m is tolerated")
            }
            Self::ImplausibleSpeed { mps, limit_mps } => {
                write!(f, "would have taken {mps:.0} m/s from the last fix; at most {limit_mps:.0} m/s is plausible")
            }
            Self::Mock => f.write_str("marked by the phone as a mock location"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reason: Reason, code: &str, sentence: &str) {
        assert_eq!(reason.code(), code);
        assert_eq!(Verdict::Rejected(reason).code(), code);
        assert_eq!(reason.to_string(), sentence);
        assert!(!Verdict::Rejected(reason).is_kept());
    }

    #[test]
    fn every_reason_has_its_word_and_its_sentence() {
        check(Reason::Invalid(Invalid::Latitude), "invalid", "latitude is outside -90..=90 degrees");
        check(Reason::Duplicate, "duplicate", "this fix was received before");
        let future = Reason::Future { ahead_ms: 61_000, limit_ms: 10_000 };
        check(future, "future", "taken 61000 ms in the future; at most 10000 ms is tolerated");
        check(Reason::Stale { age_ms: 9, limit_ms: 8 }, "stale", "taken 9 ms ago; tracks go back 8 ms");
        check(Reason::OffShift, "off_shift", "taken while the driver was neither available nor on a trip");
        check(Reason::OutsideArea { swapped_would_fit: false }, "outside_area", "outside the service area");
        let vague = Reason::Inaccurate { accuracy_m: 412.3, limit_m: 100.0 };
        check(vague, "inaccurate", "accurate to 412 m only; at most 100 m is tolerated");
        let fast = Reason::ImplausibleSpeed { mps: 3333.3, limit_mps: 70.0 };
        let sentence = "would have taken 3333 m/s from the last fix; at most 70 m/s is plausible";
        check(fast, "implausible_speed", sentence);
        check(Reason::Mock, "mock", "marked by the phone as a mock location");
        assert_eq!(Verdict::Accepted.code(), "accepted");
        assert_eq!(Verdict::Late.code(), "late");
        assert!(Verdict::Late.is_kept());
    }
}
