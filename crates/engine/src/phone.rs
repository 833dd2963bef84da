//! What a driver's phone says of itself: its battery, and why positions will not come.
//!
//! A reason stands until a position taken after it is accepted. A phone that just stops says nothing; when its battery was all but empty, that
//! is the reason.

use crate::bytes::{Reader, Writer};
use crate::{Millis, RestoreError};

/// A phone with no more charge than this, in percent, that falls silent without a word and without a cable has most likely gone out.
const EMPTY_PCT: u8 = 5;

/// Why no positions come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OutageReason {
    /// The phone's location services are off.
    LocationOff = 0,
    /// The app may not see the location.
    Permission = 1,
    /// The phone is in airplane mode.
    Airplane = 2,
    /// The app was ended, by the system or by hand.
    AppGone = 3,
    /// The phone has no more charge, or was about to have none.
    Battery = 4,
    /// The driver has stopped sending, or has signed out.
    Stopped = 5,
    /// Something else that this version has no word for.
    Other = 6,
}

impl OutageReason {
    /// All of them, at their numbers.
    pub const ALL: [Self; 7] =
        [Self::LocationOff, Self::Permission, Self::Airplane, Self::AppGone, Self::Battery, Self::Stopped, Self::Other];

    /// The word for it, as on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::LocationOff => "location_off",
            Self::Permission => "permission",
            Self::Airplane => "airplane",
            Self::AppGone => "app_gone",
            Self::Battery => "battery",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }

    /// The reason that a word means; a word of a newer version is [`Self::Other`].
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.code() == code).unwrap_or(Self::Other)
    }

    /// What a customer may know of it: that the phone cannot be reached, or that its position is not shared just now. What a courier did
    /// with their own phone is no business of a customer's.
    #[must_use]
    pub const fn for_customers(self) -> &'static str {
        match self {
            Self::Airplane | Self::Battery => "offline",
            Self::LocationOff | Self::Permission | Self::AppGone | Self::Stopped | Self::Other => "paused",
        }
    }
}

/// A reason, and since when it holds, in server time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub reason: OutageReason,
    /// Since when.
    pub since: Millis,
}

/// What is said about outages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    #[default]
    Nothing,
    /// There is none: what was said before no longer holds.
    Well,
    /// There is one.
    Outage(OutageReason),
}

/// What a phone says of itself at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhoneReport {
    /// When, by the phone's clock; `None`: now.
    pub at: Option<Millis>,
    /// Charge of the battery, 0 to 1; `None`, and anything else, for unknown.
    pub battery: Option<f32>,
    /// It is being charged.
    pub charging: Option<bool>,
    /// Whether positions will come.
    pub said: Said,
}

/// The newest that is known of a driver's phone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phone {
    /// Charge of the battery in whole percent.
    pub battery_pct: Option<u8>,
    /// It is being charged.
    pub charging: Option<bool>,
    /// Why no positions come, as far as somebody said so.
    pub outage: Option<Outage>,
}

impl Phone {
    /// Takes in what was said at `at`, in server time; `newest` is when the newest position was taken. Says whether anything changed.
    pub(crate) fn hear(&mut self, at: Millis, newest: Option<Millis>, report: &PhoneReport) -> bool {
        let before = *self;
        let share = report.battery.filter(|share| (0.0..=1.0).contains(share));
        // In words that are a thousandth apart there is no news.
        self.battery_pct = share.map(|share| (share * 100.0).round() as u8).or(self.battery_pct);
        self.charging = report.charging.or(self.charging);
        match report.said {
            Said::Nothing => {}
            Said::Well => self.outage = None,
            // In a queue that comes late, positions taken after it show that it is over.
            Said::Outage(_) if newest.is_some_and(|newest| at < newest) => {}
            Said::Outage(reason) => {
                let same = self.outage.filter(|known| known.reason == reason);
                self.outage = same.or(Some(Outage { reason, since: at }));
            }
        }
        *self != before
    }

    /// A position was taken at `taken`: what was said before it is over. Says whether that changed anything.
    pub(crate) fn positions_flow(&mut self, taken: Millis) -> bool {
        let over = self.outage.is_some_and(|outage| outage.since < taken);
        if over {
            self.outage = None;
        }
        over
    }

    /// Why it is silent since `since`: what was said, or what the battery tells.
    pub(crate) fn explains(&self, since: Millis) -> Option<Outage> {
        let empty = self.is_low(EMPTY_PCT);
        self.outage.or(empty.then_some(Outage { reason: OutageReason::Battery, since }))
    }

    /// Whether no more than so much charge is left, and no cable known of.
    pub(crate) fn is_low(&self, pct: u8) -> bool {
        self.battery_pct.is_some_and(|charge| charge <= pct) && self.charging != Some(true)
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.battery_pct, Writer::u8);
        w.option(self.charging, Writer::bool);
        w.option(self.outage, |w, outage| {
            w.u8(outage.reason as u8);
            w.time(outage.since);
        });
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let invalid = RestoreError::Invalid { field: "phone" };
        let battery_pct = r.option("phone", Reader::u8)?;
        if battery_pct.is_some_and(|pct| pct > 100) {
            return Err(invalid);
        }
        let charging = r.option("phone", |r| r.bool("phone"))?;
        let outage = r.option("phone", |r| {
            let reason = OutageReason::ALL.get(usize::from(r.u8()?)).copied().ok_or(invalid)?;
            Ok(Outage { reason, since: r.time("phone")? })
        })?;
        Ok(Self { battery_pct, charging, outage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reason: OutageReason) -> PhoneReport {
        PhoneReport { said: Said::Outage(reason), ..PhoneReport::default() }
    }

    #[test]
    fn a_reason_stands_until_a_later_position() {
        let mut phone = Phone::default();
        assert!(phone.hear(Millis(100), Some(Millis(100)), &said(OutageReason::Airplane)));
        assert!(!phone.hear(Millis(200), None, &said(OutageReason::Airplane)), "it is still the same outage");
        assert!(!phone.positions_flow(Millis(100)));
        assert_eq!(phone.outage, Some(Outage { reason: OutageReason::Airplane, since: Millis(100) }));
        assert!(phone.positions_flow(Millis(101)));
        assert_eq!(phone.outage, None);
    }

    #[test]
    fn a_reason_from_before_the_newest_position_is_over() {
        let mut phone = Phone::default();
        assert!(!phone.hear(Millis(99), Some(Millis(100)), &said(OutageReason::Permission)));
        assert_eq!(phone.outage, None);
    }

    #[test]
    fn a_reason_is_taken_back_by_a_word() {
        let mut phone = Phone::default();
        phone.hear(Millis(1), None, &said(OutageReason::Stopped));
        assert!(phone.hear(Millis(2), None, &PhoneReport { said: Said::Well, ..PhoneReport::default() }));
        assert_eq!(phone, Phone::default());
    }

    #[test]
    fn an_empty_battery_explains_what_nobody_said() {
        let check = |battery, charging, expected: Option<OutageReason>| {
            let mut phone = Phone::default();
            phone.hear(Millis(1), None, &PhoneReport { battery: Some(battery), charging, ..PhoneReport::default() });
            assert_eq!(phone.explains(Millis(9)).map(|outage| outage.reason), expected);
        };
        check(0.05, None, Some(OutageReason::Battery));
        check(0.02, Some(false), Some(OutageReason::Battery));
        check(0.02, Some(true), None);
        check(0.06, None, None);
        // No charge at all, and values that are none.
        check(0.0, None, Some(OutageReason::Battery));
        check(f32::NAN, None, None);
        check(-1.0, None, None);
    }

    #[test]
    fn what_was_not_said_again_stays_known() {
        let mut phone = Phone::default();
        phone.hear(
            Millis(1),
            None,
            &PhoneReport { battery: Some(0.424), charging: Some(true), ..PhoneReport::default() },
        );
        assert!(!phone.hear(Millis(2), None, &PhoneReport { battery: Some(0.421), ..PhoneReport::default() }));
        assert_eq!((phone.battery_pct, phone.charging), (Some(42), Some(true)));
    }

    #[test]
    fn every_word_means_one_reason() {
        for (number, reason) in OutageReason::ALL.into_iter().enumerate() {
            assert_eq!((reason as usize, OutageReason::from_code(reason.code())), (number, reason));
        }
        assert_eq!(OutageReason::from_code("tunnel"), OutageReason::Other);
    }
}
