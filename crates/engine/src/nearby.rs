//! Which drivers are nearest to a place, among those that fit.
//!
//! Drivers lie in buckets, one for each H3 cell of resolution 9 that has any. A search looks at the place's own cell and then at ring after ring
//! around it, and stops when everything nearer than the worst of the found was certainly seen ([`reach`]). Where rings are
//! of no use (few drivers, strict filters, a pentagon) it looks at all buckets instead: still exact, and bounded by the cells that are occupied.

mod best;
mod hash;
mod reach;

use std::num::NonZeroU16;

use h3o::{CellIndex, LatLng};
use smallvec::SmallVec;

use crate::cell::cell_of;
use crate::geo::Unit;
use crate::{DriverId, EARTH_RADIUS_M, Millis, Position, Vehicle};
use best::{Best, Candidate};
use hash::Table;
use reach::Reach;

/// Rings looked at before all buckets are: 469 cells, some 3 km. Beyond that, cells are mostly empty or do not fit.
const RINGS_MAX: u32 = 12;

/// What a driver is free to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Availability {
    /// On shift, nothing on board.
    Available = 0,
    /// On shift, with trips.
    Busy = 1,
    /// No longer on shift, bringing the last trips.
    Finishing = 2,
}

impl Availability {
    /// Every availability.
    pub const ALL: [Self; 3] = [Self::Available, Self::Busy, Self::Finishing];

    /// The word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Busy => "busy",
            Self::Finishing => "finishing",
        }
    }

    /// What a word means; `None` for any other word.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|availability| availability.code() == code)
    }
}

/// What the index knows of a driver on duty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Presence {
    /// Where.
    pub position: Position,
    /// When the position was taken.
    pub taken: Millis,
    /// What the driver moves with.
    pub vehicle: Vehicle,
    /// How much fits in, in the operator's own units; `None` if nobody said.
    pub capacity: Option<NonZeroU16>,
    /// What the driver is free to do.
    pub availability: Availability,
}

/// Which drivers fit. The default lets everyone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    vehicles: u8,
    availabilities: u8,
    capacity_least: u16,
    taken_from: Millis,
}

impl Default for Filter {
    fn default() -> Self {
        Self { vehicles: u8::MAX, availabilities: u8::MAX, capacity_least: 0, taken_from: Millis(i64::MIN) }
    }
}

impl Filter {
    /// Only these vehicles.
    #[must_use]
    pub fn vehicles(mut self, vehicles: impl IntoIterator<Item = Vehicle>) -> Self {
        self.vehicles = vehicles.into_iter().fold(0, |set, vehicle| set | 1 << vehicle as u8);
        self
    }

    /// Only these availabilities.
    #[must_use]
    pub fn availabilities(mut self, availabilities: impl IntoIterator<Item = Availability>) -> Self {
        self.availabilities = availabilities.into_iter().fold(0, |set, one| set | 1 << one as u8);
        self
    }

    /// Only drivers whose capacity is known and at least this.
    #[must_use]
    pub fn capacity_least(mut self, capacity: NonZeroU16) -> Self {
        self.capacity_least = capacity.get();
        self
    }

    /// Only positions taken then or later.
    #[must_use]
    pub fn taken_from(mut self, taken: Millis) -> Self {
        self.taken_from = taken;
        self
    }

    /// Whether a driver fits.
    #[must_use]
    pub fn fits(&self, presence: &Presence) -> bool {
        let nowhere = Unit::from_xyz([0.0; 3]);
        self.lets(&Entry::new(nowhere, nowhere, presence, 0)) && self.taken_from <= presence.taken
    }

    /// Whether all but the age fits, which is not in the entry.
    fn lets(&self, entry: &Entry) -> bool {
        self.vehicles & entry.vehicle_bit != 0
            && self.availabilities & entry.availability_bit != 0
            && self.capacity_least <= entry.capacity
    }
}

/// One of the found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Who.
    pub driver: DriverId,
    /// How far, along the great circle, in metres.
    pub distance_m: f64,
    /// What is known of the driver.
    pub presence: Presence,
}

/// What a search finds, nearest first. Keep it for the next search: its memory is used again, and nothing is allocated then.
#[derive(Clone, Debug, Default)]
pub struct Found {
    candidates: Vec<Candidate>,
    /// The drivers, nearest first.
    pub drivers: Vec<Nearest>,
}

/// How a search went, for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// So many rings around the middle cell were enough.
    Rings(u32),
    /// All occupied cells were looked at.
    Swept,
}

/// The index holds as many drivers as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index holds {limit} drivers, which is its limit")]
pub struct IndexFull {
    /// The limit.
    pub limit: usize,
}

/// Drivers by where they are. About 150 bytes for each.
#[derive(Clone, Debug)]
pub struct DriverIndex {
    drivers_max: usize,
    slots_of: Table<DriverId, u32>,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    buckets_of: Table<u64, u32>,
    buckets: Vec<Bucket>,
    /// Buckets of cells that have become empty; their memory is used again.
    free_buckets: Vec<u32>,
}

/// A driver, found by id.
#[derive(Clone, Copy, Debug)]
struct Slot {
    driver: DriverId,
    presence: Presence,
    bucket: u32,
    place: u32,
}

/// The drivers of one cell.
#[derive(Clone, Debug)]
struct Bucket {
    centre: Unit,
    entries: Vec<Entry>,
    /// Buckets of the cells around, as far as those are occupied: the first ring without hashing.
    around: Around,
    /// Whoever is nearer to the centre is certainly inside.
    inside_m: f64,
    cell: u64,
}

/// At most six buckets, in no order.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    buckets: [u32; 6],
    count: u8,
    /// There is a pentagon here or beside, and the list means nothing.
    broken: bool,
}

impl Around {
    fn list(&self) -> &[u32] {
        &self.buckets[..usize::from(self.count)]
    }

    fn add(&mut self, bucket: u32) {
        // Beside a pentagon, where the list means nothing, there may be no room.
        if let Some(free) = self.buckets.get_mut(usize::from(self.count)) {
            *free = bucket;
            self.count += 1;
        }
    }

    fn drop(&mut self, bucket: u32) {
        if let Some(place) = self.list().iter().position(|known| *known == bucket) {
            self.count -= 1;
            self.buckets[place] = self.buckets[usize::from(self.count)];
        }
    }
}

/// What a search looks at: 20 bytes, since most of a search's time is waiting for memory.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// From the cell's centre, in Earth radii: in so few bits exact to a hundredth of a millimetre, as no cell is wide.
    off: [f32; 3],
    slot: u32,
    /// 0: unknown.
    capacity: u16,
    vehicle_bit: u8,
    availability_bit: u8,
}

impl Entry {
    fn new(unit: Unit, centre: Unit, presence: &Presence, slot: u32) -> Self {
        Self {
            off: unit.minus(centre).map(|part| part as f32),
            slot,
            capacity: presence.capacity.map_or(0, NonZeroU16::get),
            vehicle_bit: 1 << presence.vehicle as u8,
            availability_bit: 1 << presence.availability as u8,
        }
    }
}

impl DriverIndex {
    /// An empty index for at most `drivers_max` drivers.
    #[must_use]
    pub fn new(drivers_max: usize) -> Self {
        Self {
            // Slots are numbered by 32 bits.
            drivers_max: drivers_max.min(u32::MAX as usize),
            slots_of: Table::default(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            buckets_of: Table::default(),
            buckets: Vec::new(),
            free_buckets: Vec::new(),
        }
    }

    /// How many drivers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots_of.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots_of.is_empty()
    }

    /// What is known of a driver.
    #[must_use]
    pub fn get(&self, driver: DriverId) -> Option<&Presence> {
        self.slots_of.get(&driver).map(|slot| &self.slots[*slot as usize].presence)
    }

    /// Puts a driver in, or replaces what was known of it. 0.1 us within a cell, 0.5 us near its edge, 1 us into a cell that was empty.
    ///
    /// # Errors
    /// [`IndexFull`] for one driver more than the limit; nothing was changed then.
    pub fn put(&mut self, driver: DriverId, presence: &Presence) -> Result<(), IndexFull> {
        let unit = presence.position.unit();
        let Some(slot) = self.slots_of.get(&driver).copied() else { return self.insert(driver, presence, unit) };
        let Slot { bucket, place, .. } = self.slots[slot as usize];
        let here = &mut self.buckets[bucket as usize];
        self.slots[slot as usize].presence = *presence;
        let near = EARTH_RADIUS_M * EARTH_RADIUS_M * unit.chord_2(here.centre) < here.inside_m * here.inside_m;
        let cell = if near { here.cell } else { cell_of(presence.position) };
        if cell == here.cell {
            here.entries[place as usize] = Entry::new(unit, here.centre, presence, slot);
            return Ok(());
        }
        self.take_out(bucket, place);
        self.put_in(cell, unit, presence, slot);
        Ok(())
    }

    /// Takes a driver out; false if it was not in.
    pub fn remove(&mut self, driver: DriverId) -> bool {
        let Some(slot) = self.slots_of.remove(&driver) else { return false };
        let Slot { bucket, place, .. } = self.slots[slot as usize];
        self.take_out(bucket, place);
        self.free_slots.push(slot);
        true
    }

    /// The `most` nearest to `from` among those that fit, into `found`. 1 to 2 us for ten of 100,000 in a town. Among
    /// drivers at the very same distance any may be left out.
    pub fn nearest(&self, from: Position, most: usize, filter: &Filter, found: &mut Found) -> Way {
        let Found { candidates, drivers } = found;
        let mut best = Best::new(candidates, most);
        let unit = from.unit();
        let way = match self.walk(from, unit, filter, &mut best) {
            Some(rings) => Way::Rings(rings),
            None => {
                best.clear();
                self.buckets.iter().for_each(|bucket| self.search(bucket, unit, filter, &mut best));
                Way::Swept
            }
        };
        drivers.clear();
        drivers.extend(candidates.iter().map(|candidate| {
            let Slot { driver, presence, .. } = self.slots[candidate.slot as usize];
            Nearest { driver, distance_m: arc_m(candidate.chord_2.sqrt()), presence }
        }));
        way
    }

    /// Ring by ring; the number of rings if they were enough.
    fn walk(&self, from: Position, unit: Unit, filter: &Filter, best: &mut Best<'_>) -> Option<u32> {
        let cell = cell_of(from);
        let middle = CellIndex::try_from(cell).ok().filter(|middle| !middle.is_pentagon())?;
        let reach = Reach::at(unit);
        let own = self.bucket(cell);
        let offset_m = own.map(|own| own.centre.chord_m(unit));
        if let Some(own) = own {
            self.search(own, unit, filter, best);
        }
        let mut looked_at = 1;
        for rings in 0..=RINGS_MAX {
            if rings > 0 {
                // Looking at all that are occupied is less work.
                looked_at += 6 * rings as usize;
                if looked_at > self.buckets_of.len() {
                    return None;
                }
                match own.filter(|_| rings == 1) {
                    Some(own) if own.around.broken => return None,
                    Some(own) => self.search_around(own, unit, filter, best),
                    None => {
                        for cell in middle.grid_ring_fast(rings) {
                            // None: a pentagon, around which rings are no rings.
                            if let Some(bucket) = self.bucket(u64::from(cell?)) {
                                self.search(bucket, unit, filter, best);
                            }
                        }
                    }
                }
            }
            let seen = reach.seen_m(rings, offset_m).max(0.0) / EARTH_RADIUS_M;
            if best.is_full() && best.worst_2 <= seen * seen {
                return Some(rings);
            }
        }
        None
    }

    /// The first ring, the nearest cell first: what is found there spares most of the others.
    fn search_around(&self, own: &Bucket, unit: Unit, filter: &Filter, best: &mut Best<'_>) {
        let mut near: SmallVec<[(f64, u32); 6]> =
            own.around.list().iter().map(|near| (self.buckets[*near as usize].centre.chord_2(unit), *near)).collect();
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        near.iter().for_each(|(_, near)| self.search(&self.buckets[*near as usize], unit, filter, best));
    }

    fn search(&self, bucket: &Bucket, from: Unit, filter: &Filter, best: &mut Best<'_>) {
        // No part of a cell is farther from its centre than an edge is long. Together, the square of a sum: no root is drawn.
        const EDGE: f64 = reach::EDGE_M / EARTH_RADIUS_M;
        if bucket.centre.chord_2(from) > best.worst_2 + 2.0 * EDGE * best.worst + EDGE * EDGE {
            return;
        }
        let [x, y, z] = from.minus(bucket.centre);
        let any_age = filter.taken_from == Millis(i64::MIN);
        for entry in &bucket.entries {
            let [off_x, off_y, off_z] = entry.off.map(f64::from);
            let chord_2 = (x - off_x) * (x - off_x) + (y - off_y) * (y - off_y) + (z - off_z) * (z - off_z);
            let fits = |slot: u32| any_age || filter.taken_from <= self.slots[slot as usize].presence.taken;
            if chord_2 < best.worst_2 && filter.lets(entry) && fits(entry.slot) {
                best.insert(Candidate { chord_2, slot: entry.slot });
            }
        }
    }

    fn bucket(&self, cell: u64) -> Option<&Bucket> {
        self.buckets_of.get(&cell).map(|bucket| &self.buckets[*bucket as usize])
    }

    fn insert(&mut self, driver: DriverId, presence: &Presence, unit: Unit) -> Result<(), IndexFull> {
        if self.len() >= self.drivers_max {
            return Err(IndexFull { limit: self.drivers_max });
        }
        let new = Slot { driver, presence: *presence, bucket: 0, place: 0 };
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None => {
                self.slots.push(new);
                (self.slots.len() - 1) as u32
            }
        };
        self.slots_of.insert(driver, slot);
        self.put_in(cell_of(presence.position), unit, presence, slot);
        Ok(())
    }

    fn put_in(&mut self, cell: u64, unit: Unit, presence: &Presence, slot: u32) {
        let bucket = match self.buckets_of.get(&cell) {
            Some(bucket) => *bucket,
            None => self.open(cell),
        };
        let Bucket { entries, centre, .. } = &mut self.buckets[bucket as usize];
        let known = &mut self.slots[slot as usize];
        (known.bucket, known.place) = (bucket, entries.len() as u32);
        entries.push(Entry::new(unit, *centre, presence, slot));
    }

    fn take_out(&mut self, bucket: u32, place: u32) {
        let here = &mut self.buckets[bucket as usize];
        here.entries.swap_remove(place as usize);
        if let Some(moved) = here.entries.get(place as usize) {
            self.slots[moved.slot as usize].place = place;
        }
        if here.entries.is_empty() {
            self.buckets_of.remove(&here.cell);
            self.free_buckets.push(bucket);
            let around = std::mem::take(&mut here.around);
            for near in around.list() {
                self.buckets[*near as usize].around.drop(bucket);
            }
        }
    }

    /// A bucket for a cell that has none.
    fn open(&mut self, cell: u64) -> u32 {
        let centre = CellIndex::try_from(cell).map(LatLng::from).ok();
        let centre = centre.and_then(|at| Position::new(at.lat(), at.lng()).ok());
        // A cell's centre is a position; were it not, nobody would be certainly inside, and all would be as right as before.
        let (centre, inside_m) = match centre.map(Position::unit) {
            Some(centre) => (centre, Reach::at(centre).inside_m()),
            None => (Unit::from_xyz([0.0; 3]), 0.0),
        };
        let bucket = match self.free_buckets.pop() {
            Some(bucket) => {
                let free = &mut self.buckets[bucket as usize];
                (free.cell, free.centre, free.inside_m) = (cell, centre, inside_m);
                bucket
            }
            None => {
                let around = Around::default();
                self.buckets.push(Bucket { centre, entries: Vec::new(), around, inside_m, cell });
                (self.buckets.len() - 1) as u32
            }
        };
        self.join(cell, bucket);
        self.buckets_of.insert(cell, bucket);
        bucket
    }
}

impl DriverIndex {
    /// Makes a new bucket and those around it known to each other.
    fn join(&mut self, cell: u64, bucket: u32) {
        let mut around = Around::default();
        let Ok(middle) = CellIndex::try_from(cell) else { return };
        // What follows a pentagon in a ring has no meaning, and no end: this stops there.
        let ring: Option<SmallVec<[CellIndex; 6]>> = middle.grid_ring_fast(1).collect();
        around.broken = ring.is_none();
        let ring = ring.unwrap_or_else(|| middle.grid_disk_safe(1).filter(|near| *near != middle).collect());
        for near in ring {
            if let Some(near) = self.buckets_of.get(&u64::from(near)) {
                around.add(*near);
                self.buckets[*near as usize].around.add(bucket);
            }
        }
        self.buckets[bucket as usize].around = around;
    }
}

/// Length of the great circle over a chord, which is given in Earth radii.
fn arc_m(chord: f64) -> f64 {
    let half = (chord / 2.0).min(1.0);
    // Below 12 km the next term of the series is less than the last bit.
    let angle = if half < 1e-3 { half + half * half * half / 6.0 } else { half.asin() };
    2.0 * EARTH_RADIUS_M * angle
}

#[cfg(test)]
mod tests;
