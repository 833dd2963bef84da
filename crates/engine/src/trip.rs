//! One trip of a driver: its phase, and how it goes forward.

use crate::bytes::{Reader, Writer};
use crate::fence::Presence;
use crate::geo::Unit;
use crate::timeline::Timeline;
use crate::{
    Effect, Eta, EtaBasis, EtaCause, Fence, Forecast, Millis, Phase, PlanStop, PlanTrip, Position, RestoreError,
    StopKind, TripId,
};
use smallvec::SmallVec;

/// A trip as it stands, for publishing whole states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripView<'a> {
    /// Which trip.
    pub id: TripId,
    /// Assignment number of the plan.
    pub assignment: u64,
    /// Phase it is in.
    pub phase: Phase,
    /// When it went into that phase; when the plan arrived, if the plan said so.
    pub phase_since: Millis,
    /// Estimate last told to watchers.
    pub eta: Option<&'a Eta>,
    /// The newest estimate, told or not.
    pub newest_eta: Option<&'a Eta>,
    /// Stops the driver makes before this trip's drop-off.
    pub stops_left: u8,
    /// Running number of the last phase raised; 0 before the first.
    pub ordinal: u32,
}

/// A live trip.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trip {
    pub(crate) id: TripId,
    pub(crate) assignment: u64,
    pub(crate) phase: Phase,
    pub(crate) since: Millis,
    /// Fixes from then on count for the trip.
    pub(crate) begun: Millis,
    /// The first of them, by when it was taken.
    pub(crate) first: Option<Millis>,
    pub(crate) ordinal: u32,
    pub(crate) ready_at: Option<Millis>,
    /// The longest time without fixes before the pick-up was seen, of a length in which it can have been made.
    pub(crate) gap: Option<(Millis, Millis)>,
    /// What watchers were told last, and in which phase.
    pub(crate) told: Option<(Eta, Phase)>,
    /// The newest estimate.
    pub(crate) newest: Option<Eta>,
    /// What was foreseen on the way, oldest first.
    pub(crate) forecasts: SmallVec<[Forecast; FORECASTS]>,
}

/// Forecasts kept of a trip: the first, and one whenever a quarter of what was left is behind, down to a tenth.
pub(crate) const FORECASTS: usize = 8;
/// Share of what the last forecast had left.
const NEXT_FORECAST: f64 = 0.75;
/// Nearer than this nothing is foreseen, ms.
const FORECAST_LEAST_MS: i64 = 30_000;

/// A pause between fixes in which a pick-up can be missed, in ms.
const GAP_LEAST_MS: i64 = 60_000;

impl Trip {
    pub(crate) fn new(now: Millis, plan: &PlanTrip) -> Self {
        let begun = plan.since.map_or(now, |since| since.min(now));
        // When a phase came about that the record tells of is not known here; when the trip was given is.
        let since = if plan.phase == Phase::Assigned { begun } else { now };
        Self {
            id: plan.id,
            assignment: plan.assignment,
            phase: plan.phase,
            since,
            begun,
            first: None,
            ordinal: 0,
            ready_at: plan.ready_at,
            gap: None,
            told: None,
            newest: None,
            forecasts: SmallVec::new(),
        }
    }

    /// Notes an estimate made at `now`, if it is time to.
    pub(crate) fn foresee(&mut self, now: Millis, eta: &Eta) {
        self.newest = Some(*eta);
        let left_ms = eta.at.since_ms(now);
        let due = self
            .forecasts
            .last()
            .is_none_or(|last| left_ms as f64 <= last.at.since_ms(last.made) as f64 * NEXT_FORECAST);
        if due && left_ms >= FORECAST_LEAST_MS && self.forecasts.len() < FORECASTS {
            self.forecasts.push(Forecast { made: now, at: eta.at, low: eta.low, high: eta.high, basis: eta.basis });
        }
    }

    /// What is to be said when the drop-off is reached at `arrived`; nothing if nothing had been foreseen.
    pub(crate) fn outcome(&mut self, arrived: Millis) -> Option<Effect> {
        let forecasts: Box<[Forecast]> =
            std::mem::take(&mut self.forecasts).into_iter().filter(|one| one.made < arrived).collect();
        (!forecasts.is_empty()).then_some(Effect::Outcome {
            trip: self.id,
            assignment: self.assignment,
            arrived,
            forecasts,
        })
    }

    /// Goes on to `target`, raising every phase on the way, in order. Nothing happens if it is there or beyond.
    ///
    /// `at` is when `target` was reached. Phases passed unseen get the best known time: the ends of the gap in which they fell.
    /// Times never run backwards along a trip.
    pub(crate) fn advance(&mut self, target: Phase, at: Millis, effects: &mut Vec<Effect>) {
        let gap = self.gap.filter(|(_, until)| *until <= at);
        while self.phase < target {
            let Some(phase) = Phase::from_rank(self.phase.rank() + 1) else {
                return;
            };
            let best = match (phase, gap) {
                (Phase::ToPickup, _) if phase != target => self.since,
                (Phase::AtPickup, Some((from, _))) if phase != target => from,
                (Phase::ToDropoff, Some((_, until))) if phase != target => until,
                _ => at,
            };
            (self.phase, self.since) = (phase, best.max(self.since));
            self.ordinal = self.ordinal.saturating_add(1);
            effects.push(Effect::Phase {
                trip: self.id,
                assignment: self.assignment,
                phase,
                at: self.since,
                ordinal: self.ordinal,
            });
        }
    }

    /// Goes on to `target` without the phases between, which do not exist for a trip that has no pick-up.
    pub(crate) fn skip_to(&mut self, target: Phase, at: Millis, effects: &mut Vec<Effect>) {
        if let Some(before) = target.rank().checked_sub(1).and_then(Phase::from_rank) {
            self.phase = self.phase.max(before);
        }
        self.advance(target, at, effects);
    }

    /// Notes when a fix of the trip was taken.
    pub(crate) fn note_first(&mut self, taken: Millis) {
        if self.phase == Phase::Assigned && taken >= self.begun {
            self.first = Some(self.first.map_or(taken, |first| first.min(taken)));
        }
    }

    /// Notes that nothing was heard of the driver between two fixes.
    pub(crate) fn note_gap(&mut self, from: Millis, until: Millis) {
        let longest_ms = self.gap.map_or(GAP_LEAST_MS, |(from, until)| until.since_ms(from).max(GAP_LEAST_MS));
        if !self.phase.is_picked_up() && until.since_ms(from) >= longest_ms {
            self.gap = Some((from, until));
        }
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.raw(self.id.0.to_le_bytes());
        w.uint(self.assignment);
        w.u8(self.phase.rank());
        w.time(self.since);
        w.int(self.since.since_ms(self.begun));
        w.option(self.first, |w, first| w.int(first.since_ms(self.begun)));
        w.uint(u64::from(self.ordinal));
        w.option(self.ready_at, Writer::time);
        w.option(self.gap, |w, (from, until)| {
            w.time(from);
            w.time(until);
        });
        w.option(self.told, |w, (eta, phase)| {
            save_eta(&eta, w);
            w.u8(phase.rank());
        });
        w.u8(self.forecasts.len() as u8);
        for one in &self.forecasts {
            [one.made, one.at, one.low, one.high].into_iter().for_each(|at| w.time(at));
            w.u8(one.basis as u8);
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let (id, assignment) = (TripId(u128::from_le_bytes(r.raw()?)), r.uint("trip")?);
        let (phase, since) = (load_phase(r)?, r.time("trip")?);
        let begun = since - r.int("trip")?;
        Ok(Self {
            id,
            assignment,
            phase,
            since,
            begun,
            first: r.option("trip", |r| Ok(begun + r.int("trip")?))?,
            ordinal: r.count("trip", u32::MAX as usize)? as u32,
            ready_at: r.option("trip", |r| r.time("trip"))?,
            gap: r.option("trip", |r| Ok((r.time("trip")?, r.time("trip")?)))?,
            told: r.option("trip", |r| Ok((load_eta(r)?, load_phase(r)?)))?,
            newest: None,
            forecasts: load_forecasts(r)?,
        })
    }
}

/// A stop of a live trip, with what is known of the driver's presence there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stop {
    pub(crate) plan: PlanStop,
    pub(crate) unit: Unit,
    /// By accepted fixes.
    pub(crate) live: Presence,
    /// By all fixes of the trip, late ones too.
    pub(crate) timeline: Timeline,
    /// Arrival there by the last computation.
    pub(crate) eta_at: Option<Millis>,
}

impl Stop {
    pub(crate) fn new(plan: PlanStop) -> Self {
        Self {
            unit: plan.position.unit(),
            plan,
            live: Presence::default(),
            timeline: Timeline::default(),
            eta_at: None,
        }
    }

    /// Whether the stop is behind a trip in that phase.
    pub(crate) fn is_behind(&self, phase: Phase) -> bool {
        match self.plan.kind {
            StopKind::Pickup => phase.is_picked_up(),
            StopKind::Dropoff => phase >= Phase::Arrived,
        }
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.raw(self.plan.trip.0.to_le_bytes());
        w.u8(self.plan.kind as u8);
        w.position(self.plan.position);
        w.f32(self.plan.fence.radius_m);
        w.int(self.plan.fence.dwell_ms);
        w.f32(self.plan.fence.arriving_m);
        w.int(self.plan.service_ms);
        self.live.save(w);
        self.timeline.save(w);
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let trip = TripId(u128::from_le_bytes(r.raw()?));
        let kind = if r.bool("stop")? { StopKind::Dropoff } else { StopKind::Pickup };
        let position: Position = r.position("stop")?;
        let fence = Fence { radius_m: r.f32("stop")?, dwell_ms: r.int("stop")?, arriving_m: r.f32("stop")? };
        let plan = PlanStop { trip, kind, position, fence, service_ms: r.int("stop")? };
        Ok(Self { live: Presence::load(r)?, timeline: Timeline::load(r)?, ..Self::new(plan) })
    }
}

fn load_phase(r: &mut Reader<'_>) -> Result<Phase, RestoreError> {
    Phase::from_rank(r.u8()?).ok_or(RestoreError::Invalid { field: "phase" })
}

fn load_forecasts(r: &mut Reader<'_>) -> Result<SmallVec<[Forecast; FORECASTS]>, RestoreError> {
    let count = r.count("forecasts", FORECASTS)?;
    let one = |r: &mut Reader<'_>| {
        let (made, at, low, high) =
            (r.time("forecasts")?, r.time("forecasts")?, r.time("forecasts")?, r.time("forecasts")?);
        Ok(Forecast { made, at, low, high, basis: load_basis(r)? })
    };
    (0..count).map(|_| one(r)).collect()
}

fn load_basis(r: &mut Reader<'_>) -> Result<EtaBasis, RestoreError> {
    EtaBasis::ALL.get(usize::from(r.u8()?)).copied().ok_or(RestoreError::Invalid { field: "eta" })
}

fn save_eta(eta: &Eta, w: &mut Writer<'_>) {
    w.time(eta.at);
    w.int(eta.at.since_ms(eta.low));
    w.int(eta.high.since_ms(eta.at));
    w.f32(eta.distance_m);
    w.u8(eta.stops_left);
    w.u8(eta.basis as u8);
    w.option(eta.pickup_at, Writer::time);
    w.option(eta.cause, |w, cause| w.u8(cause as u8));
}

fn load_eta(r: &mut Reader<'_>) -> Result<Eta, RestoreError> {
    let at = r.time("eta")?;
    let (below_ms, above_ms) = (r.int("eta")?, r.int("eta")?);
    let distance_m = r.f32("eta")?;
    let stops_left = r.u8()?;
    let basis = load_basis(r)?;
    let pickup_at = r.option("eta", |r| r.time("eta"))?;
    let cause = r.option("eta", |r| {
        EtaCause::ALL.get(usize::from(r.u8()?)).copied().ok_or(RestoreError::Invalid { field: "eta" })
    })?;
    Ok(Eta { at, low: at - below_ms, high: at + above_ms, distance_m, stops_left, basis, pickup_at, cause })
}
