//! The field of live speeds: how much longer than on a free road driving takes, by hour of the week, kind of road and place.
//!
//! The logarithm of observed over free time is a sum of parts, each learned as what the parts before do not explain and drawn to 0 where
//! little was seen: habit of the hour, the city now, the kind of road, the H3 cell of 5 km^2, the one of 0.7 km^2. So a street nobody has
//! driven today is believed to be like its neighbours, and at night with no driver at all like last week's nights.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use h3o::{CellIndex, LatLng, Resolution};

use super::decay::Decayed;
use crate::bytes::{Reader, Writer};
use crate::roads::RoadClass;
use crate::{Millis, Position, RestoreError};

/// Half-life of what is live, in s: longer ones lag behind a rush (measured on Porto: at one hour estimates are 14 % short in the morning).
const LIVE_S: f32 = 1_500.0;
/// Half-life of habits: five weeks.
const HABIT_S: f32 = 35.0 * 86_400.0;
/// Weight in seconds of driving that a part must have seen to be believed by half.
const CITY_PRIOR_S: f32 = 60.0;
const KIND_PRIOR_S: f32 = 400.0;
const COARSE_PRIOR_S: f32 = 400.0;
const FINE_PRIOR_S: f32 = 600.0;
const HABIT_PRIOR_S: f32 = 3_600.0;
/// A single observation is believed to be at most this far (a factor of 3) from what is known.
const LIMIT: f32 = 1.1;
/// Factors leave this range only if roads are shut.
const FACTOR_MOST: f32 = 1.8;
/// Cells remembered of each size; the field of a large country. Beyond it new cells are not learned.
const CELLS_MOST: usize = 100_000;
/// Cells are of this resolution and the one below.
const FINE: Resolution = Resolution::Eight;
const COARSE: Resolution = Resolution::Seven;
const HOURS: usize = 168;
const KINDS: usize = RoadClass::ALL.len() + 1;

/// What was driven on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoadKind {
    /// A street of a class.
    Street(RoadClass),
    /// A straight line: nothing is known of streets.
    Air,
}

impl RoadKind {
    const fn index(self) -> usize {
        match self {
            Self::Street(class) => class as usize,
            Self::Air => KINDS - 1,
        }
    }
}

/// A piece of way that was driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// When.
    pub at: Millis,
    /// On what.
    pub kind: RoadKind,
    /// Where: see [`cell_for_speeds`].
    pub cell: u64,
    /// Logarithm of observed over free time.
    pub log_ratio: f32,
    /// Free time in seconds.
    pub weight_s: f32,
}

/// The cell a place belongs to, as far as speeds are concerned: H3 resolution 8.
#[must_use]
pub fn cell_for_speeds(place: Position) -> u64 {
    LatLng::new(place.lat_deg(), place.lon_deg()).map_or(0, |at| at.to_cell(FINE).into())
}

/// H3 cells are hashed by one multiplication: they are unique already, and the same everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CellHasher(u64);

impl Hasher for CellHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

type Cells = HashMap<u64, Decayed, BuildHasherDefault<CellHasher>>;

/// See the module.
#[derive(Clone, Debug)]
pub struct SpeedField {
    habit: Vec<Decayed>,
    city: Decayed,
    kinds: Vec<Decayed>,
    coarse: Cells,
    fine: Cells,
}

impl Default for SpeedField {
    fn default() -> Self {
        Self {
            habit: vec![Decayed::default(); HOURS],
            city: Decayed::default(),
            kinds: vec![Decayed::default(); KINDS],
            coarse: Cells::default(),
            fine: Cells::default(),
        }
    }
}

impl SpeedField {
    /// Takes in what was observed.
    pub fn learn(&mut self, pace: &Pace) {
        let Pace { at, kind, cell, log_ratio, weight_s } = *pace;
        if !(log_ratio.is_finite() && weight_s > 0.0 && weight_s.is_finite()) {
            return;
        }
        let weight = weight_s.min(600.0);
        let hour = &mut self.habit[hour_of_week(at)];
        hour.add(at, log_ratio, weight, LIMIT, HABIT_S);
        let mut rest = log_ratio - hour.mean(at, HABIT_PRIOR_S, HABIT_S);
        let mut teach = |part: &mut Decayed, prior_s: f32| {
            part.add(at, rest, weight, LIMIT, LIVE_S);
            rest -= part.mean(at, prior_s, LIVE_S);
        };
        teach(&mut self.city, CITY_PRIOR_S);
        teach(&mut self.kinds[kind.index()], KIND_PRIOR_S);
        if let Some(part) = entry(&mut self.coarse, parent(cell)) {
            teach(part, COARSE_PRIOR_S);
        }
        if let Some(part) = entry(&mut self.fine, cell) {
            teach(part, FINE_PRIOR_S);
        }
    }

    /// Logarithm of the factor by which driving takes longer now than on a free road.
    #[must_use]
    pub fn log_factor(&self, at: Millis, kind: RoadKind, cell: u64) -> f32 {
        self.log_kind(at, kind) + self.log_cell(at, cell)
    }

    /// The part of the factor that depends on the kind of road; the same everywhere.
    #[must_use]
    pub fn log_kind(&self, at: Millis, kind: RoadKind) -> f32 {
        self.habit[hour_of_week(at)].mean(at, HABIT_PRIOR_S, HABIT_S)
            + self.city.mean(at, CITY_PRIOR_S, LIVE_S)
            + self.kinds[kind.index()].mean(at, KIND_PRIOR_S, LIVE_S)
    }

    /// The part that depends on the place; the same for all kinds.
    #[must_use]
    pub fn log_cell(&self, at: Millis, cell: u64) -> f32 {
        let coarse = self.coarse.get(&parent(cell)).map_or(0.0, |part| part.mean(at, COARSE_PRIOR_S, LIVE_S));
        let fine = self.fine.get(&cell).map_or(0.0, |part| part.mean(at, FINE_PRIOR_S, LIVE_S));
        coarse + fine
    }

    /// A factor from its logarithm, kept sane.
    #[must_use]
    pub fn factor(log: f32) -> f32 {
        log.clamp(-FACTOR_MOST, FACTOR_MOST).exp()
    }

    /// The factor of the whole city now, as a metric shows it.
    #[must_use]
    pub fn city_factor(&self, at: Millis) -> f32 {
        Self::factor(
            self.habit[hour_of_week(at)].mean(at, HABIT_PRIOR_S, HABIT_S) + self.city.mean(at, CITY_PRIOR_S, LIVE_S),
        )
    }

    /// Seconds of driving, forgotten by halves, that the live part rests on.
    #[must_use]
    pub fn evidence_s(&self, at: Millis) -> f32 {
        self.city.weight(at, LIVE_S)
    }

    /// Cells of which something is known.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.fine.len()
    }

    /// Forgets cells of which nothing is left to know.
    pub fn tidy(&mut self, at: Millis) {
        for cells in [&mut self.coarse, &mut self.fine] {
            cells.retain(|_, part| part.weight(at, LIVE_S) > 1.0);
        }
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        self.habit.iter().chain([&self.city]).chain(&self.kinds).for_each(|part| part.save(w));
        for cells in [&self.coarse, &self.fine] {
            let mut sorted: Vec<_> = cells.iter().collect();
            sorted.sort_unstable_by_key(|(cell, _)| **cell);
            w.uint(sorted.len() as u64);
            for (cell, part) in sorted {
                w.raw(cell.to_le_bytes());
                part.save(w);
            }
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut field = Self::default();
        for part in field.habit.iter_mut().chain([&mut field.city]).chain(&mut field.kinds) {
            *part = Decayed::load(r)?;
        }
        for cells in [&mut field.coarse, &mut field.fine] {
            for _ in 0..r.count("cells", CELLS_MOST)? {
                cells.insert(u64::from_le_bytes(r.raw()?), Decayed::load(r)?);
            }
        }
        Ok(field)
    }
}

fn entry(cells: &mut Cells, cell: u64) -> Option<&mut Decayed> {
    if cells.len() >= CELLS_MOST && !cells.contains_key(&cell) {
        return None;
    }
    Some(cells.entry(cell).or_default())
}

fn parent(cell: u64) -> u64 {
    CellIndex::try_from(cell).ok().and_then(|cell| cell.parent(COARSE)).map_or(0, u64::from)
}

/// Hours since Thursday 0:00 UTC, as the Unix epoch began on one; all that matters is that weeks repeat.
fn hour_of_week(at: Millis) -> usize {
    at.0.div_euclid(3_600_000).rem_euclid(HOURS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(at_s: i64, cell: u64, log_ratio: f32) -> Pace {
        Pace { at: Millis(at_s * 1000), kind: RoadKind::Street(RoadClass::Primary), cell, log_ratio, weight_s: 20.0 }
    }

    #[test]
    fn a_jam_in_one_place_is_felt_there_and_less_around() {
        let mut field = SpeedField::default();
        let here = Position::new(41.15, -8.61).unwrap();
        let (jam, far) = (cell_for_speeds(here), cell_for_speeds(here.offset(15_000.0, 0.0)));
        for s in 0..300 {
            field.learn(&pace(s * 10, jam, 0.9));
            field.learn(&pace(s * 10, far, 0.1));
        }
        let at = Millis(3_000_000);
        let kind = RoadKind::Street(RoadClass::Primary);
        let (jammed, free) = (field.log_factor(at, kind, jam), field.log_factor(at, kind, far));
        assert!((0.75..1.0).contains(&jammed), "{jammed}");
        assert!((0.0..0.35).contains(&free), "{free}");
        let unseen = cell_for_speeds(here.offset(0.0, -60_000.0));
        assert!((0.3..0.7).contains(&field.log_factor(at, kind, unseen)), "like the city");
    }

    #[test]
    fn what_is_live_is_forgotten_and_habit_stays() {
        let mut field = SpeedField::default();
        let cell = cell_for_speeds(Position::new(41.15, -8.61).unwrap());
        for week in 0..4 {
            (0..100).for_each(|s| field.learn(&pace(week * 604_800 + s * 30, cell, 0.6)));
        }
        let kind = RoadKind::Street(RoadClass::Primary);
        let next_week = Millis(4 * 604_800_000 + 900_000);
        assert!(field.log_factor(next_week, kind, cell) > 0.3, "{}", field.log_factor(next_week, kind, cell));
        let other_hour = Millis(4 * 604_800_000 + 12 * 3_600_000);
        assert!(field.log_factor(other_hour, kind, cell).abs() < 0.01);
    }

    #[test]
    fn nonsense_teaches_nothing() {
        let mut field = SpeedField::default();
        field.learn(&pace(0, 0, f32::NAN));
        field.learn(&Pace { weight_s: f32::INFINITY, ..pace(0, 0, 1.0) });
        assert_eq!(field.cells(), 0);
        assert_eq!(SpeedField::factor(900.0), FACTOR_MOST.exp());
    }
}
