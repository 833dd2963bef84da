//! What an existing phone app sent: its fixes go the way of all fixes, in pieces, and one answer covers them all.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use wayfare_bus::{Fence, Fields};
use wayfare_engine::{DriverId, Millis, PhoneReport, Rate, RawFix, Reach, Reason, Verdict};
use wayfare_wire::codec::Decoded;
use wayfare_wire::device_key::{DeviceSeenDoc, device_seen_set_of};
use wayfare_wire::dialects::{AppFix, Dialect, Fault};
use wayfare_wire::messages::drive::{Fix, Fixes};
use wayfare_wire::{ErrorBody, ErrorCode, ids};

use super::Shard;
use super::acks::AckTo;
use super::fixes::refusal;
use super::recall::{Recall, identity_of_id, identity_of_place};
use super::state::State;
use crate::quarantine::Aside;

/// Rejections that are told one by one in an answer.
const DETAILS_MAX: usize = 20;

/// It is told when a phone was last heard of at most this often, seconds.
const SEEN_LEAST_S: u32 = 60;

/// Phones of one driver whose rate is remembered.
const PHONES: usize = 4;

/// A request of an app, as far as a tracker cares.
pub struct AppMessage {
    /// The phone, by its key's record.
    pub device: u128,
    /// How it speaks.
    pub dialect: Dialect,
    /// Fixes and what could not be read, in the order taken.
    pub items: Vec<AppItem>,
    /// What it says of the phone itself.
    pub phone: PhoneReport,
}

/// One item of it.
pub struct AppItem {
    /// Its place in what was sent.
    pub place: u32,
    /// The fix; no number for one that could not be read.
    pub fix: Fix,
    /// Why it could not be read.
    pub fault: Option<Fault>,
    /// By the app's own id, and by time and place.
    pub identities: [Option<u64>; 2],
    /// It was sent ahead of a queue, in which it comes again.
    pub ahead: bool,
    /// As it was sent.
    pub raw: Bytes,
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppTaken {
    /// Fixes that moved the tracker.
    pub accepted: u32,
    /// Fixes that were kept behind the newest.
    pub late: u32,
    /// Items that were known.
    pub duplicate: u32,
    /// Items that were not kept.
    pub rejected: u32,
    /// Place and sentence of the first rejected ones.
    pub details: Vec<(u32, String)>,
    /// Ask the phone to send this often, if it can be asked.
    pub new_interval_ms: Option<u32>,
}

/// What is remembered of a driver's phones.
#[derive(Debug, Clone, Default)]
pub struct Phones {
    /// What they have sent lately.
    pub recall: Recall,
    /// The rate last asked of each.
    rates: SmallVec<[(u128, Rate); 1]>,
    /// The phone last told as heard of, and when.
    seen: Option<(u128, u32)>,
}

impl AppItem {
    /// A fix that was sent as `raw`.
    pub fn of(place: u32, fix: AppFix, raw: Bytes) -> Self {
        let AppFix { fix, id, ahead } = fix;
        let by_place = fix.t_ms.map(|t_ms| identity_of_place(t_ms, fix.lat, fix.lon, fix.accuracy_m));
        Self { place, fix, fault: None, identities: [id.as_deref().map(identity_of_id), by_place], ahead, raw }
    }

    /// What it is remembered by.
    fn identity(&self) -> Option<u64> {
        self.identities.into_iter().flatten().next()
    }
}

impl Phones {
    /// The phones of a driver that comes back; none if nothing is remembered.
    pub fn of(recall: Recall) -> Option<Box<Self>> {
        (recall != Recall::default()).then(|| Box::new(Self { recall, ..Self::default() }))
    }

    /// What was kept after a checkpoint is remembered like what stands in it.
    pub fn recall_kept(&mut self, raw: &[RawFix]) {
        for fix in raw {
            self.recall.note(identity_of_place(fix.taken.0, fix.lat_deg, fix.lon_deg, fix.accuracy_m), false);
        }
    }

    /// Whether it is time to tell that a phone was heard of.
    fn tell_seen(&mut self, device: u128, now_s: u32) -> bool {
        let due = self.seen.is_none_or(|(known, told_s)| known != device || now_s >= told_s + SEEN_LEAST_S);
        if due {
            self.seen = Some((device, now_s));
        }
        due
    }

    /// The rate to ask of a phone, if it is another than it was asked for last. It is not asked to and fro: some start their receiver anew
    /// each time.
    fn rate_to_ask(&mut self, device: u128, wanted_ms: u32, now: Millis) -> Option<u32> {
        if let Some((_, rate)) = self.rates.iter_mut().find(|(known, _)| *known == device) {
            return rate.settle(now, wanted_ms, Reach::Answered);
        }
        if self.rates.len() == PHONES {
            self.rates.remove(0);
        }
        self.rates.push((device, Rate::told(wanted_ms)));
        Some(wanted_ms)
    }
}

impl Shard {
    /// Takes a request. The answer is given when everything kept of it is durable; an error means that the app should send it again.
    pub async fn take_app(
        self: &Rc<Self>,
        driver: DriverId,
        message: AppMessage,
        reply: oneshot::Sender<Result<AppTaken, ErrorBody>>,
    ) {
        let taken = self.judge_app(driver, message).await;
        let _ = reply.send(taken);
    }

    async fn judge_app(self: &Rc<Self>, driver: DriverId, message: AppMessage) -> Result<AppTaken, ErrorBody> {
        self.ensure(driver).await.map_err(refusal)?;
        self.admit_app(driver)?;
        let most = self.house.config.fixes_max.max(1);
        let (mut taken, mut waiting) = (AppTaken::default(), None);
        for piece in message.items.chunks(most) {
            // Flushes keep their order: when the last piece is durable, so are those before it.
            let (sender, durable) = oneshot::channel();
            self.state.borrow_mut().take_piece(driver, &message, piece, sender, &mut taken)?;
            waiting = Some(durable);
            tokio::task::yield_now().await;
        }
        // After its fixes: one taken later shows that a reason is over.
        self.state.borrow_mut().hear_phone(driver, 0, &message.phone);
        if let Some(durable) = waiting {
            let gone = |_| ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000);
            durable.await.map_err(gone)??;
        }
        let tell = {
            let mut state = self.state.borrow_mut();
            let now_s = state.now_s();
            let (wanted_ms, now) = (state.wanted_interval_ms(driver, Reach::Answered), Millis(wayfare_bus::now_ms()));
            let phones = state.drivers.get_mut(&driver).map(|tracked| tracked.phones());
            phones.is_some_and(|phones| {
                taken.new_interval_ms = phones.rate_to_ask(message.device, wanted_ms, now);
                phones.tell_seen(message.device, now_s)
            })
        };
        if tell {
            self.tell_seen(message.device, message.dialect);
        }
        Ok(taken)
    }

    /// For the list of a driver's keys: whoever pasted an address wants to know whether anything comes.
    fn tell_seen(&self, device: u128, dialect: Dialect) {
        let device = ids::Device(device);
        let doc = DeviceSeenDoc { at_ms: wayfare_bus::now_ms(), dialect: dialect.code().to_owned() };
        let mut fields = Fields::new();
        fields.set(device.to_string(), |out| {
            serde_json::to_writer(out, &doc).expect("a word and a number are JSON");
        });
        // The newest word wins, whoever says it.
        let fence = Fence::Record { version: 1, assignment: 0 };
        let _ = self.house.bus.topics.publisher(&device_seen_set_of(device)).publish_now(&fields, fence);
    }

    /// Whether another request of this driver is taken now.
    fn admit_app(&self, driver: DriverId) -> Result<(), ErrorBody> {
        let mut state = self.state.borrow_mut();
        if state.draining {
            return Err(ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000));
        }
        let rate = self.house.config.messages;
        let Some(tracked) = state.drivers.get_mut(&driver) else { return Ok(()) };
        if !tracked.posts.take(rate, Instant::now()) {
            let text = format!("more than {} messages a second of one driver", rate.per_second);
            return Err(ErrorBody::new(ErrorCode::RateLimited, text).after_ms(1000));
        }
        tracked.phones().recall.begin();
        Ok(())
    }
}

impl State {
    /// Judges a piece of a request.
    fn take_piece(
        &mut self,
        driver: DriverId,
        message: &AppMessage,
        piece: &[AppItem],
        durable: oneshot::Sender<Result<Bytes, ErrorBody>>,
        taken: &mut AppTaken,
    ) -> Result<(), ErrorBody> {
        let away = || ErrorBody::new(ErrorCode::NotReady, "this driver is not here").after_ms(1000);
        let tracked = self.drivers.get_mut(&driver).ok_or_else(away)?;
        let mut new = Vec::with_capacity(piece.len());
        // Noted before they are judged, so that a checkpoint made on the way has them.
        let phones = tracked.phones();
        for item in piece {
            if phones.recall.knows(item.identities) {
                taken.duplicate += 1;
                self.counters.judged(&Verdict::Rejected(Reason::Duplicate));
            } else {
                new.push(item);
            }
            if let Some(identity) = item.identity() {
                phones.recall.note(identity, item.ahead);
            }
        }
        let fixes = new.iter().map(|item| item.fix).collect();
        let unreadable = new
            .iter()
            .enumerate()
            .filter_map(|(place, item)| item.fault.as_ref().map(|fault| (place as u32, fault.value.clone())));
        let unreadable = unreadable.collect();
        let decoded = Decoded { message: Fixes { fixes, ..Fixes::default() }, unreadable };
        if let Err((_, error)) = self.take_fixes(driver, 0, &decoded, AckTo::Post(durable)) {
            if let Some(tracked) = self.drivers.get_mut(&driver) {
                let identities = new.iter().filter_map(|item| item.identity());
                identities.for_each(|identity| tracked.phones().recall.forget(identity));
            }
            return Err(error);
        }
        let on_duty = self.drivers.get(&driver).is_some_and(|tracked| tracked.tracker.on_duty());
        for (item, verdict) in new.into_iter().zip(&self.verdicts) {
            let reason = match verdict {
                Verdict::Accepted => {
                    taken.accepted += 1;
                    continue;
                }
                Verdict::Late => {
                    taken.late += 1;
                    continue;
                }
                Verdict::Rejected(Reason::Duplicate) => {
                    taken.duplicate += 1;
                    continue;
                }
                Verdict::Rejected(reason) => reason,
            };
            taken.rejected += 1;
            let aside = Aside::new(driver, message, item, reason, on_duty);
            if taken.details.len() < DETAILS_MAX {
                taken.details.push((item.place, aside.sentence().to_owned()));
            }
            self.house.quarantine.put(aside);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_asked_for_a_rate_when_it_is_a_new_one_and_not_too_often() {
        let mut phones = Phones::default();
        let at = |second: i64| Millis(second * 1000);
        assert_eq!(phones.rate_to_ask(1, 5000, at(0)), Some(5000));
        assert_eq!(phones.rate_to_ask(1, 5000, at(100)), None);
        assert_eq!(phones.rate_to_ask(1, 3000, at(100)), Some(3000));
        assert_eq!(phones.rate_to_ask(1, 5000, at(110)), None, "so soon");
        assert_eq!(phones.rate_to_ask(1, 5000, at(125)), Some(5000));
        assert_eq!(phones.rate_to_ask(2, 5000, at(125)), Some(5000), "another phone");
        for device in 3..20 {
            phones.rate_to_ask(device, 1, at(1));
        }
        assert_eq!(phones.rates.len(), PHONES);
    }
}
