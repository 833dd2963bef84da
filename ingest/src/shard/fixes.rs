//! One message of fixes: judged, told, gathered. This is the hot path of ingest.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;
use wayfare_engine::{Batch, DriverId, Effect, Millis, PhoneReport, Reach, Verdict};
use wayfare_wire::codec::{Decoded, DriveCodec, write_verdicts};
use wayfare_wire::state::write_u64;
use wayfare_wire::{ErrorBody, ErrorCode};

use super::Shard;
use super::acks::AckTo;
use super::drivers::{Refused, Tracked, write_checkpoint};
use super::events::{fence_event, phase_event};
use super::state::State;
use wayfare_wire::kept;

/// Lessons kept for one second.
const LESSONS_MOST: usize = 16_384;

/// After how long to send again what there was no room for.
const NO_ROOM_MS: u32 = 1000;

impl State {
    /// Takes a message. The ack goes to `to` when everything in it is durable; an error goes out now, and nothing of the message
    /// was taken.
    pub fn take_fixes(
        &mut self,
        driver: DriverId,
        session: u64,
        message: &Decoded,
        to: AckTo,
    ) -> Result<(), (AckTo, ErrorBody)> {
        let most = self.house.config.fixes_max;
        let count = message.message.fixes.len();
        if count > most {
            let text = format!("{count} fixes in one message, the limit is {most}");
            return Err((to, ErrorBody::new(ErrorCode::TooMany, text).field("fixes")));
        }
        if self.draining {
            let error = ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(NO_ROOM_MS);
            return Err((to, error));
        }
        if !self.house.gathers.has_room() {
            let error = ErrorBody::new(ErrorCode::NotDurable, "too much waits for the disk").after_ms(NO_ROOM_MS);
            return Err((to, error));
        }
        let (house, fences) = (Arc::clone(&self.house), Arc::clone(&self.fences));
        let (now, now_s) = (Millis(wayfare_bus::now_ms()), self.now_s());
        let Some(tracked) = self.drivers.get_mut(&driver) else {
            let error = ErrorBody::new(ErrorCode::NotReady, "this driver is not here").after_ms(NO_ROOM_MS);
            return Err((to, error));
        };
        let seq = message.message.seq;
        self.counters.messages += 1;
        // A resend's ack goes behind what is gathered now: flushes keep their order, so the first copy is durable by then.
        if session != 0 && tracked.tracker.seen(session, seq) {
            self.counters.resent += 1;
        }
        self.raw.clear();
        message.raw_fixes(now, &mut self.raw);
        let batch = Batch { session, seq, sent: message.message.sent_ms.map(Millis), fixes: &self.raw };
        let mut effects = std::mem::take(&mut self.effects);
        let knowledge = house.atlas.knowledge();
        tracked.tracker.observe(now, batch, &house.world(&fences, &knowledge, &self.room), &mut effects);
        tracked.heard_s = now_s;
        self.carry_out(driver, &effects);
        self.gather(driver, session, message, &effects, now, to);
        // Another phase wants another rate; who watches is looked at once a second.
        let new_phase = effects.iter().any(|effect| matches!(effect, Effect::Phase { .. }));
        effects.clear();
        self.effects = effects;
        if new_phase {
            self.ask_rate(driver);
        }
        Ok(())
    }

    /// Puts what is to be kept, and the ack, into the gather of this shard.
    fn gather(
        &mut self,
        driver: DriverId,
        session: u64,
        message: &Decoded,
        effects: &[Effect],
        now: Millis,
        to: AckTo,
    ) {
        self.verdicts.clear();
        let (mut kept, mut refused) = (0, 0);
        for effect in effects {
            let Effect::Judged { verdict, .. } = effect else { continue };
            self.counters.judged(verdict);
            match verdict {
                Verdict::Accepted | Verdict::Late => kept += 1,
                Verdict::Rejected(wayfare_engine::Reason::Duplicate) => {}
                Verdict::Rejected(_) => refused += 1,
            }
            self.verdicts.push(*verdict);
        }
        let now_s = self.now_s();
        let interval_s = self.house.config.checkpoint_interval.as_secs() as u32;
        // Over HTTP the rate comes with every answer, on a connection only when it changes.
        let post = matches!(to, AckTo::Post(_));
        let interval_ms = if post { self.wanted_interval_ms(driver, Reach::Answered) } else { 0 };
        let known = message.message.deliveries.as_deref().filter(|_| post);
        let deliveries = known.and_then(|known| self.deliveries_to_tell(driver, known));
        let codec = match to {
            AckTo::Conn(id) => self.conn(id).map_or_else(DriveCodec::default, |conn| conn.codec),
            AckTo::Post(_) => DriveCodec::Json,
        };
        let on_its_way = if let AckTo::Conn(id) = to { Some(id) } else { None };
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        tracked.changed |= kept + refused > 0;
        // A replay knows nothing of refused fixes, yet they count for what comes after them (a jump is believed when it repeats):
        // then the tracker itself is kept.
        let keep_tracker =
            tracked.changed && (refused > 0 || tracked.kept_s.is_none_or(|kept_s| now_s >= kept_s + interval_s));
        let lease = tracked.lease.number;
        let (seq, sent) = (message.message.seq, message.message.sent_ms.map(Millis));
        let found_fences = std::mem::take(&mut self.found_fences);
        let (verdicts, raw, unreadable) = (&self.verdicts, &self.raw, &message.unreadable);
        self.house.gathers.add(self.index, |gather| {
            // A message without kept fixes leaves its number behind, so that its resend is still known after a restart.
            if kept > 0 || (session != 0 && refused > 0) {
                kept::write_head(&mut gather.body, now, session, seq, sent);
                for effect in effects {
                    if let Effect::Judged { index, verdict, fix: Some(fix) } = effect {
                        kept::write_fix(&mut gather.body, &raw[*index], fix.taken(), *verdict == Verdict::Late);
                    }
                }
                gather.spans.push((driver.0, lease, gather.body.len()));
            }
            // A replay begins behind the record that holds the checkpoint: a message that goes into the same record after it must be in it.
            let again = tracked.changed && tracked.kept_turn == Some(gather.turn);
            if keep_tracker || again {
                (tracked.kept_s, tracked.kept_turn) = (Some(now_s), Some(gather.turn));
                tracked.changed = false;
                gather.keep(write_checkpoint(driver, tracked, now_s));
            }
            gather.fences.extend(found_fences);
            gather.acks.add(driver.0, lease, to, |out| {
                if !post {
                    return codec.write_ack(out, seq, verdicts, unreadable);
                }
                out.push(b'{');
                write_verdicts(out, seq, verdicts, unreadable);
                out.extend_from_slice(b",\"interval_ms\":");
                write_u64(out, u64::from(interval_ms));
                if let Some(deliveries) = &deliveries {
                    out.extend_from_slice(b",\"deliveries\":");
                    out.extend_from_slice(deliveries);
                }
                out.push(b'}');
            });
        });
        if let Some(conn) = on_its_way.and_then(|id| self.conn(id)) {
            conn.acks.expect();
        }
    }

    /// What the engine wants carried out, apart from verdicts: phases and fence events are gathered, everything else is told.
    pub fn carry_out(&mut self, driver: DriverId, effects: &[Effect]) {
        for (index, effect) in effects.iter().enumerate() {
            match effect {
                Effect::Phase { .. } => {
                    if let Some(event) = phase_event(effect, &effects[index + 1..]) {
                        self.note_phase(driver, event);
                    }
                }
                Effect::Fence { .. } => {
                    if let Some(event) = fence_event(driver, effect, &self.fences) {
                        self.note_fence(driver, effect, event);
                    }
                }
                // The same driver gives one every few hundred metres; what is too much is as good as what is there.
                Effect::Lesson(lesson) if self.lessons.len() < LESSONS_MOST => self.lessons.push(*lesson),
                Effect::Outcome { arrived, forecasts, .. } => self.counters.outcome(*arrived, forecasts),
                _ => {}
            }
        }
        self.tell(driver, effects);
    }
}

impl State {
    /// Whether another message of this driver is taken over HTTP now.
    fn admit_post(&mut self, driver: DriverId) -> Result<(), ErrorBody> {
        if self.draining {
            return Err(ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000));
        }
        let rate = self.house.config.messages;
        let paced = |tracked: &mut Box<Tracked>| tracked.posts.take(rate, Instant::now());
        if !self.drivers.get_mut(&driver).is_none_or(paced) {
            let text = format!("more than {} messages a second of one driver", rate.per_second);
            return Err(ErrorBody::new(ErrorCode::RateLimited, text).after_ms(1000));
        }
        Ok(())
    }
}

impl Shard {
    /// What a phone says of itself over HTTP.
    pub async fn post_phone(self: &Rc<Self>, driver: DriverId, report: &PhoneReport) -> Result<(), ErrorBody> {
        self.ensure(driver).await.map_err(refusal)?;
        let mut state = self.state.borrow_mut();
        state.admit_post(driver)?;
        state.hear_phone(driver, 0, report);
        Ok(())
    }

    /// A message over HTTP: the driver is brought into memory if it is not there.
    pub async fn post(
        self: &Rc<Self>,
        driver: DriverId,
        message: Decoded,
        session: u64,
        reply: oneshot::Sender<Result<Bytes, ErrorBody>>,
    ) {
        if let Err(refused) = self.ensure(driver).await {
            let _ = reply.send(Err(refusal(refused)));
            return;
        }
        let mut state = self.state.borrow_mut();
        if let Err(error) = state.admit_post(driver) {
            let _ = reply.send(Err(error));
            return;
        }
        if let Err((AckTo::Post(reply), error)) = state.take_fixes(driver, session, &message, AckTo::Post(reply)) {
            let _ = reply.send(Err(error));
        }
    }
}

/// Why a driver could not be taken over, for its app.
pub fn refusal(refused: Refused) -> ErrorBody {
    match refused {
        Refused::Unknown => ErrorBody::new(ErrorCode::NotFound, "there is no record of this driver"),
        Refused::NotReady => ErrorBody::new(ErrorCode::NotReady, "the house is still waking up").after_ms(1000),
    }
}
