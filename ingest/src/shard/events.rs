//! What trackers find and logs are told: phases of trips, and drivers at the operator's fences.
//!
//! An event leaves after the flush that keeps what caused it. Until then it stands in the driver's checkpoint too, in case the house falls
//! between keeping and telling; its number lets the log ignore what it has.

use bytes::{Buf, Bytes};
use wayfare_engine::{DriverId, Effect, Forecast, Phase};
use wayfare_wire::ids;
use wayfare_wire::state::{write_i64, write_micro_degrees, write_string};

use super::drivers::Tracked;
use super::state::State;
use crate::fences::FenceSet;
use crate::flush::{FenceEvent, PhaseEvent};

/// Phases kept with a checkpoint.
const PHASES_KEPT: usize = 16;

/// Fence events are kept with checkpoints for this long, and never more than so many: a flush only begins when the events of the last one
/// are told.
const FENCES_KEPT_S: u32 = 60;
const FENCES_KEPT: usize = 512;

impl State {
    /// Gathers phases to be told after the next flush.
    pub fn gather_phases(&mut self, phases: Vec<PhaseEvent>) {
        if !phases.is_empty() {
            self.house.gathers.add(self.index, |gather| gather.phases.extend(phases));
        }
    }

    /// Gathers fence events to be told after the next flush.
    pub fn gather_fences(&mut self, events: Vec<FenceEvent>) {
        if !events.is_empty() {
            self.house.gathers.add(self.index, |gather| gather.fences.extend(events));
        }
    }

    /// A phase that was just found goes into the next checkpoint, and out after the next flush.
    pub fn note_phase(&mut self, driver: DriverId, event: PhaseEvent) {
        if let Some(tracked) = self.drivers.get_mut(&driver) {
            if tracked.phases.len() == PHASES_KEPT {
                tracked.phases.remove(0);
            }
            tracked.phases.push(event.clone());
            tracked.kept_s = None;
        }
        self.gather_phases(vec![event]);
    }

    /// The same for a fence event, which goes into the gather together with what caused it.
    pub fn note_fence(&mut self, driver: DriverId, effect: &Effect, event: FenceEvent) {
        if let Effect::Fence { kind, .. } = effect {
            self.counters.fence(*kind);
        }
        let now_s = self.now_s();
        if let Some(tracked) = self.drivers.get_mut(&driver) {
            if tracked.fences.len() == FENCES_KEPT {
                tracked.fences.remove(0);
            }
            tracked.fences.push((now_s, event.clone()));
            tracked.kept_s = None;
        }
        self.found_fences.push(event);
    }
}

/// A phase as the log has it; `after` are the effects behind it, among which is what had been foreseen if it is an arrival.
pub fn phase_event(effect: &Effect, after: &[Effect]) -> Option<PhaseEvent> {
    let Effect::Phase { trip, assignment, phase, at, ordinal } = effect else { return None };
    let foreseen = after.iter().find_map(|effect| match effect {
        Effect::Outcome { trip: arrived, forecasts, .. } if arrived == trip && *phase == Phase::Arrived => {
            Some(forecasts)
        }
        _ => None,
    });
    let trip = ids::Trip::from(*trip).to_string();
    let mut payload = serde_json::json!({
        "trip": trip, "assignment": assignment, "phase": phase.code(), "at_ms": at.0,
    });
    if let Some(forecasts) = foreseen {
        let one = |one: &Forecast| serde_json::json!([one.made.0, one.at.0, one.low.0, one.high.0, one.basis.code()]);
        payload["forecasts"] = forecasts.iter().map(one).collect();
    }
    let number = (assignment << 16) | u64::from(*ordinal);
    Some(PhaseEvent { trip, number, payload: payload.to_string().into_bytes() })
}

/// A fence event as the log has it.
pub fn fence_event(driver: DriverId, effect: &Effect, fences: &FenceSet) -> Option<FenceEvent> {
    let Effect::Fence { fence, kind, at, position, number } = effect else { return None };
    let (name, fence, kind) = (fences.name(*fence), ids::Fence::from(*fence).to_string(), kind.code());
    let driver = ids::Driver::from(driver).to_string();
    let id = format!("{driver}/{fence}/{kind}/{number}");
    let mut payload = Vec::with_capacity(256);
    let mut text = |name: &str, value: &str| {
        payload.push(if payload.is_empty() { b'{' } else { b',' });
        write_string(&mut payload, name);
        payload.push(b':');
        write_string(&mut payload, value);
    };
    text("id", &id);
    text("kind", kind);
    text("fence", &fence);
    text("name", name);
    text("driver", &driver);
    payload.extend_from_slice(b",\"at_ms\":");
    write_i64(&mut payload, at.0);
    payload.extend_from_slice(b",\"position\":{\"lat\":");
    write_micro_degrees(&mut payload, (position.lat_deg() * 1e6).round() as i64);
    payload.extend_from_slice(b",\"lon\":");
    write_micro_degrees(&mut payload, (position.lon_deg() * 1e6).round() as i64);
    payload.extend_from_slice(b"}}");
    Some(FenceEvent { driver, id, number: *number, payload })
}

/// Appends the events that go with a checkpoint: count, then number and payload of each; phases, then fences.
pub fn write_events(tracked: &mut Tracked, now_s: u32, out: &mut Vec<u8>) {
    tracked.fences.retain(|(found_s, _)| found_s + FENCES_KEPT_S >= now_s);
    write_lists(&tracked.phases, tracked.fences.iter().map(|(_, event)| event), out);
}

fn write_lists<'a>(phases: &[PhaseEvent], fences: impl ExactSizeIterator<Item = &'a FenceEvent>, out: &mut Vec<u8>) {
    let mut put = |number: u64, payload: &[u8]| {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        out.extend_from_slice(payload);
    };
    put(phases.len() as u64, &[]);
    phases.iter().for_each(|event| put(event.number, &event.payload));
    put(fences.len() as u64, &[]);
    fences.for_each(|event| put(event.number, &event.payload));
}

/// Takes them from the front of a checkpoint.
pub fn read_events(bytes: &mut Bytes) -> Result<(Vec<PhaseEvent>, Vec<FenceEvent>), String> {
    let word = |body: &serde_json::Value, name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let phase = |(number, payload, body): Kept| PhaseEvent { trip: word(&body, "trip"), number, payload };
    let fence = |(number, payload, body): Kept| {
        let (driver, id) = (word(&body, "driver"), word(&body, "id"));
        FenceEvent { driver, id, number, payload }
    };
    let phases = read_list(bytes, PHASES_KEPT)?.into_iter().map(phase).collect();
    let fences = read_list(bytes, FENCES_KEPT)?.into_iter().map(fence).collect();
    Ok((phases, fences))
}

/// Number, payload, and the payload as JSON.
type Kept = (u64, Vec<u8>, serde_json::Value);

fn read_list(bytes: &mut Bytes, most: usize) -> Result<Vec<Kept>, String> {
    let (count, _) = read_one(bytes)?;
    if count > most as u64 {
        return Err(format!("it has {count} events, more than {most}"));
    }
    let read = |_| {
        let (number, payload) = read_one(bytes)?;
        let body = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
        Ok((number, payload, body))
    };
    (0..count).map(read).collect()
}

fn read_one(bytes: &mut Bytes) -> Result<(u64, Vec<u8>), String> {
    let short = || "it ends too early".to_owned();
    let number = bytes.try_get_u64_le().map_err(|_| short())?;
    let length = usize::from(bytes.try_get_u16_le().map_err(|_| short())?);
    if bytes.remaining() < length {
        return Err(short());
    }
    Ok((number, bytes.split_to(length).to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wayfare_engine::{FenceKind, GeofenceId, Millis, Position};

    fn event(number: u64) -> FenceEvent {
        let position = Position::new(41.15, -8.610_000_4).unwrap();
        let (fence, kind, at) = (GeofenceId(2), FenceKind::Enter, Millis(5));
        let effect = Effect::Fence { fence, kind, at, position, number };
        fence_event(DriverId(1), &effect, &FenceSet::default()).unwrap()
    }

    #[test]
    fn a_fence_event_is_json_with_an_id_of_its_own() {
        let body: serde_json::Value = serde_json::from_slice(&event(7).payload).unwrap();
        let (driver, fence) = (ids::Driver(1).to_string(), ids::Fence(2).to_string());
        let expected = serde_json::json!({
            "id": format!("{driver}/{fence}/enter/7"), "kind": "enter", "fence": fence, "name": "", "driver": driver,
            "at_ms": 5, "position": { "lat": 41.15, "lon": -8.61 },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        write_lists(&[], [event(7), event(8)].iter(), &mut bytes);
        bytes.extend_from_slice(b"tracker");
        let mut bytes = Bytes::from(bytes);
        let (phases, fences) = read_events(&mut bytes).unwrap();
        assert!(phases.is_empty());
        let read: Vec<_> =
            fences.iter().map(|event| (event.driver.as_str(), event.id.as_str(), event.number)).collect();
        let (first, second) = (event(7), event(8));
        assert_eq!(
            read,
            [(first.driver.as_str(), first.id.as_str(), 7), (second.driver.as_str(), second.id.as_str(), 8)]
        );
        assert_eq!(&bytes[..], b"tracker");
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = read_events(&mut Bytes::from(bytes));
        }
    }
}
