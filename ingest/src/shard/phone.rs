//! What a driver's phone says of itself: heard, and told to operators whole, to customers as far as it concerns them.

use wayfare_bus::Fields;
use wayfare_engine::{DriverId, Millis, PhoneReport, Tracker};
use wayfare_wire::state::{field, write_outage, write_phone, write_string, write_suspect};

use super::state::State;

impl State {
    /// Takes in what a driver's phone says. No replay repeats it: it is kept with the tracker within ten seconds.
    pub fn hear_phone(&mut self, driver: DriverId, session: u64, report: &PhoneReport) {
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let now = Millis(wayfare_bus::now_ms());
        let mut effects = std::mem::take(&mut self.effects);
        tracked.tracker.hear_phone(now, session, report, &mut effects);
        tracked.changed |= !effects.is_empty();
        self.carry_out(driver, &effects);
        effects.clear();
        self.effects = effects;
    }
}

/// What a customer may know of why nothing is heard.
pub fn silent_reason(fields: &mut Fields, tracker: &Tracker) {
    match tracker.silent_since().and_then(|_| tracker.outage()) {
        Some(outage) => fields.set(field::SILENT_REASON, |out| write_string(out, outage.reason.for_customers())),
        None => fields.set_null(field::SILENT_REASON),
    };
}

/// What operators may want to look at: a feed that is too even to come from a receiver.
pub fn suspect(fields: &mut Fields, tracker: &Tracker) {
    match tracker.too_even_since() {
        Some(since) => fields.set(field::SUSPECT, |out| write_suspect(out, "too_even", since)),
        None => fields.set_null(field::SUSPECT),
    };
}

/// What operators know: the reason as it was said, from the moment on in which it was, and the battery.
pub fn whole(fields: &mut Fields, tracker: &Tracker) {
    match tracker.outage() {
        Some(outage) => fields.set(field::OUTAGE, |out| write_outage(out, &outage)),
        None => fields.set_null(field::OUTAGE),
    };
    let phone = tracker.phone();
    match (phone.battery_pct, phone.charging) {
        (None, None) => fields.set_null(field::PHONE),
        _ => fields.set(field::PHONE, |out| write_phone(out, phone)),
    };
}
