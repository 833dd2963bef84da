//! A driver on the road: matched fixes, and the lessons that they teach.

use crate::bytes::{Reader, Writer};
use crate::drive::{City, Knowledge, Room};
use crate::geo::Unit;
use crate::learn::{Lesson, Pace, RoadKind, cell_for_speeds};
use crate::roads::{Confirmed, Matched, Matcher, Profile, Sight, StreetId};
use crate::{Effect, Fix, Millis, Position, RestoreError, Vehicle};

/// A lesson is given when so much free driving is behind it: shorter pieces are mostly noise, seconds.
const LESSON_S: f32 = 12.0;
/// Without roads: when the driver is this far from where the piece began, metres.
const LESSON_M: f64 = 200.0;
/// Whoever takes this long for one piece has stopped for something else than traffic, ms.
const PARKED_MS: i64 = 240_000;
/// Longest pause between two fixes of one piece, ms.
const PAUSE_MS: i64 = 90_000;

/// See the module. About 1.1 KiB on roads, 0.2 without.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Driving {
    matcher: Matcher,
    matched: Option<Matched>,
    /// The piece of way under way: since when, ms taken so far, free ms.
    piece: Option<Piece>,
    /// Without roads: where and when the piece under way began, and the last fix.
    air: Option<(Position, Millis, Millis)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    taken_ms: i64,
    free_ms: u32,
}

impl Driving {
    /// Where the driver is on the road by the newest fix.
    pub(crate) fn matched(&self) -> Option<&Matched> {
        self.matched.as_ref()
    }

    /// Takes in an accepted fix. `afresh`: the driver was believed to be elsewhere. `heading_deg`: the direction of travel, when it is
    /// known for certain. `at_stop`: what happens now is no traffic.
    #[allow(clippy::too_many_arguments, reason = "all of it is one fix as the tracker sees it")]
    pub(crate) fn accept(
        &mut self,
        fix: &Fix,
        heading_deg: Option<f32>,
        (afresh, standing, at_stop): (bool, bool, bool),
        vehicle: Vehicle,
        knowledge: &Knowledge,
        room: &Room,
        effects: &mut Vec<Effect>,
    ) {
        if afresh {
            self.matcher.forget();
            (self.piece, self.air) = (None, None);
        }
        if at_stop {
            (self.piece, self.air) = (None, None);
        }
        let Some(city) = knowledge.city(fix.position(), vehicle) else {
            (self.matched, self.piece) = (None, None);
            self.learn_in_air(fix, vehicle, knowledge, effects);
            return;
        };
        self.air = None;
        let fits = self.matcher.fits(&city.network);
        // A parked phone's noise must not walk along the street.
        if standing && fits && self.matched.is_some() {
            return;
        }
        let sight = Sight { place: fix.position(), accuracy_m: fix.accuracy_m(), heading_deg, taken: fix.taken() };
        if !fits {
            self.matcher = Matcher::default();
        }
        let (matched, confirmed) = room.with(|matching, _| self.matcher.step(&city.network, &sight, matching));
        self.matched = matched;
        effects.extend(confirmed.map(Effect::Confirmed));
        match confirmed {
            Some(confirmed) if !at_stop => self.learn_on_road(&confirmed, city, vehicle, effects),
            _ => self.piece = None,
        }
    }

    /// Forgets where the driver is on the road if that was another road network: the vehicle is another since, or the roads file is.
    pub(crate) fn settle(&mut self, city: &City) {
        let fits =
            |matched: &Matched| self.matcher.fits(&city.network) && city.network.street(matched.street).is_some();
        self.matched = self.matched.filter(fits);
    }

    fn learn_on_road(&mut self, confirmed: &Confirmed, city: &City, vehicle: Vehicle, effects: &mut Vec<Effect>) {
        let Some(driven) = confirmed.since else {
            self.piece = None;
            return;
        };
        let took_ms = confirmed.taken.since_ms(driven.from);
        if took_ms > PAUSE_MS || took_ms <= 0 {
            self.piece = None;
            return;
        }
        let piece = self.piece.get_or_insert(Piece { taken_ms: 0, free_ms: 0 });
        piece.taken_ms += took_ms;
        piece.free_ms = piece.free_ms.saturating_add(driven.free_ms);
        let (taken_ms, free_s) = (piece.taken_ms, piece.free_ms as f32 / 1000.0);
        if taken_ms > PARKED_MS {
            self.piece = None;
            return;
        }
        if free_s < LESSON_S {
            return;
        }
        self.piece = None;
        let Some(street) = city.network.street(confirmed.street) else { return };
        let log_ratio = (taken_ms as f32 / 1000.0 / free_s).ln() - crate::drive::vehicle_log(vehicle);
        let cell = city.network.speed_cell(confirmed.street);
        let pace =
            Pace { at: confirmed.taken, kind: RoadKind::Street(street.class), cell, log_ratio, weight_s: free_s };
        effects.push(Effect::Lesson(Lesson::Pace(Profile::of(vehicle), pace)));
    }

    fn learn_in_air(&mut self, fix: &Fix, vehicle: Vehicle, knowledge: &Knowledge, effects: &mut Vec<Effect>) {
        let (place, taken) = (fix.position(), fix.taken());
        let Some((from, since, last)) = self.air else {
            self.air = Some((place, taken, taken));
            return;
        };
        if taken.since_ms(last) > PAUSE_MS || taken.since_ms(since) > PARKED_MS {
            self.air = Some((place, taken, taken));
            return;
        }
        self.air = Some((from, since, taken));
        let straight_m = Unit::chord_m(from.unit(), place.unit());
        if straight_m < LESSON_M {
            return;
        }
        self.air = Some((place, taken, taken));
        let free_s = knowledge.straight.moving_s(straight_m, vehicle) as f32;
        let log_ratio = (taken.since_s(since) as f32 / free_s).ln();
        let pace = Pace { at: taken, kind: RoadKind::Air, cell: cell_for_speeds(place), log_ratio, weight_s: free_s };
        effects.push(Effect::Lesson(Lesson::Pace(Profile::of(vehicle), pace)));
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        self.matcher.save(w);
        w.option(self.matched, |w, matched| {
            w.uint(u64::from(matched.street.0));
            w.position(matched.place);
            let Matched { offset_m, bearing_deg, distance_m, confidence, .. } = matched;
            [offset_m, bearing_deg, distance_m, confidence].into_iter().for_each(|number| w.f32(number));
        });
        w.option(self.piece, |w, piece| {
            w.uint(piece.taken_ms.unsigned_abs());
            w.uint(u64::from(piece.free_ms));
        });
        w.option(self.air, |w, (from, since, last)| {
            w.position(from);
            w.time(since);
            w.time(last);
        });
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let matcher = Matcher::load(r)?;
        let matched = r.option("matched", |r| {
            let street = StreetId(r.count("matched", u32::MAX as usize)? as u32);
            let place = r.position("matched")?;
            let [offset_m, bearing_deg] = [r.f32("matched")?, r.f32("matched")?];
            let [distance_m, confidence] = [r.f32("matched")?, r.f32("matched")?];
            Ok(Matched { street, offset_m, place, bearing_deg, distance_m, confidence })
        })?;
        let piece = r.option("piece", |r| {
            let taken_ms = r.count("piece", PARKED_MS as usize)? as i64;
            Ok(Piece { taken_ms, free_ms: r.count("piece", u32::MAX as usize)? as u32 })
        })?;
        let air = r.option("piece", |r| Ok((r.position("piece")?, r.time("piece")?, r.time("piece")?)))?;
        Ok(Self { matcher, matched, piece, air })
    }
}
