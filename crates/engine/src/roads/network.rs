//! The network of one profile: junctions, directed streets between them, their shapes.

use super::geometry::Bounds;
use super::hierarchy::Hierarchy;
use super::segments::Segments;
use super::{Profile, RoadClass};
use crate::Position;

/// Number of a street in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreetId(pub u32);

/// No street, no junction, no arc.
pub(crate) const NONE: u32 = u32::MAX;

/// One direction of a piece of road between two junctions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Street {
    /// Junction it leaves. A junction with turn restrictions stands several times; see [`Network::tails`].
    pub(crate) tail: u32,
    /// Junction it reaches: the copy that knows which turns are forbidden from here, if there is one.
    pub(crate) head: u32,
    pub(crate) shape: u32,
    /// The same piece the other way; [`NONE`] on a one-way street.
    pub(crate) reverse: u32,
    /// OpenStreetMap's way.
    pub way: i64,
    /// Length in metres, above 0.
    pub length_m: f32,
    /// Time to drive it freely, in ms, without the junction at its end.
    pub drive_ms: u32,
    /// Mean cost of the junction at its end and of lights and crossings on it, in ms.
    pub penalty_ms: u16,
    /// Its class.
    pub class: RoadClass,
    /// It runs against the order of its shape's points.
    pub(crate) against: bool,
    /// Part of a roundabout.
    pub roundabout: bool,
    /// A ramp.
    pub link: bool,
    /// Its speed comes from a tag.
    pub tagged: bool,
    /// It leads to every other such street and back.
    pub core: bool,
}

impl Street {
    /// Time from one end to the other on a free road, the junction at the end included, in ms.
    #[must_use]
    pub fn free_ms(&self) -> u32 {
        self.drive_ms.saturating_add(u32::from(self.penalty_ms))
    }

    /// Free speed in km/h.
    #[must_use]
    pub fn free_kmh(&self) -> f32 {
        self.length_m / self.drive_ms.max(1) as f32 * 3_600.0
    }
}

/// Roads of one profile in one extract. Built by [`Network::build`] or read by [`Network::decode`]; never changes.
#[derive(Debug)]
pub struct Network {
    pub(crate) profile: Profile,
    pub(crate) bounds: Bounds,
    /// Who made the data, to be shown with every map drawn from it.
    pub(crate) attribution: String,
    /// When the extract was made, Unix seconds; 0 if it does not say.
    pub(crate) data_s: i64,
    pub(crate) content_hash: u64,
    /// Junctions by rank in the hierarchy: latitude, longitude, 1e-7 degree.
    pub(crate) junctions: Vec<[i32; 2]>,
    pub(crate) streets: Vec<Street>,
    /// Streets that leave a junction: `arc_streets[arc_first[j]..arc_first[j + 1]]`. A street that leaves a junction with copies
    /// stands under each copy from which it is allowed.
    pub(crate) arc_first: Vec<u32>,
    pub(crate) arc_streets: Vec<u32>,
    /// Further tails of streets that leave a junction with copies: (street, tail), sorted.
    pub(crate) more_tails: Vec<[u32; 2]>,
    /// Points of a shape: `points[shape_first[s]..shape_first[s + 1]]`.
    pub(crate) shape_first: Vec<u32>,
    pub(crate) points: Vec<[i32; 2]>,
    /// Metres from the shape's first point, by point.
    pub(crate) along_m: Vec<f32>,
    /// Streets on a shape: along and against its points; [`NONE`] where there is none.
    pub(crate) shape_streets: Vec<[u32; 2]>,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) segments: Segments,
    pub(crate) speed_cells: std::sync::OnceLock<SpeedCells>,
}

/// The cells by which speeds are learned, and the one of each street.
#[derive(Debug)]
pub(crate) struct SpeedCells {
    pub(crate) cells: Vec<u64>,
    pub(crate) of_street: Vec<u32>,
}

impl Network {
    /// Whose roads these are.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Who made the data; shown with every map drawn from it.
    #[must_use]
    pub fn attribution(&self) -> &str {
        &self.attribution
    }

    /// When the extract was made, Unix seconds; 0 if it does not say.
    #[must_use]
    pub const fn data_s(&self) -> i64 {
        self.data_s
    }

    /// The box that holds all roads.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The same for the same roads, whenever they were built; other for others. What is learned belongs to it.
    #[must_use]
    pub const fn content_hash(&self) -> u64 {
        self.content_hash
    }

    /// A street by its number.
    #[must_use]
    pub fn street(&self, id: StreetId) -> Option<&Street> {
        self.streets.get(id.0 as usize)
    }

    /// All streets, in the order of their numbers.
    #[must_use]
    pub fn streets(&self) -> &[Street] {
        &self.streets
    }

    /// Number of junctions, copies for turn restrictions included.
    #[must_use]
    pub fn junction_count(&self) -> usize {
        self.junctions.len()
    }

    /// Number of segments in the R-tree.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The street the other way, if it is not one-way.
    #[must_use]
    pub fn reverse(&self, id: StreetId) -> Option<StreetId> {
        let reverse = self.street(id)?.reverse;
        (reverse != NONE).then_some(StreetId(reverse))
    }

    /// Streets that may follow a junction.
    pub(crate) fn leaving(&self, junction: u32) -> &[u32] {
        let (from, to) = (self.arc_first[junction as usize], self.arc_first[junction as usize + 1]);
        &self.arc_streets[from as usize..to as usize]
    }

    /// Junctions from which a street may be entered.
    pub(crate) fn tails(&self, id: StreetId) -> impl Iterator<Item = u32> + '_ {
        let first = self.streets[id.0 as usize].tail;
        let from = self.more_tails.partition_point(|[street, _]| *street < id.0);
        let more = self.more_tails[from..].iter().take_while(move |[street, _]| *street == id.0);
        std::iter::once(first).chain(more.map(|[_, tail]| *tail))
    }

    /// Points of a street's shape, in the order of the shape.
    pub(crate) fn shape(&self, shape: u32) -> std::ops::Range<usize> {
        self.shape_first[shape as usize] as usize..self.shape_first[shape as usize + 1] as usize
    }

    /// Points of a street in its own direction.
    #[must_use]
    pub fn line(&self, id: StreetId) -> Vec<Position> {
        let Some(street) = self.street(id) else { return Vec::new() };
        let points = self.points[self.shape(street.shape)].iter();
        let place = |[lat, lon]: &[i32; 2]| super::geometry::position(*lat, *lon);
        if street.against { points.rev().map(place).collect() } else { points.map(place).collect() }
    }

    /// Where a street begins; the North Pole if there is no such street.
    #[must_use]
    pub fn start_of(&self, id: StreetId) -> Position {
        let Some(street) = self.street(id) else { return Position::NORTH_POLE };
        let range = self.shape(street.shape);
        let [lat, lon] = self.points[if street.against { range.end - 1 } else { range.start }];
        super::geometry::position(lat, lon)
    }

    /// The place `offset_m` metres along a street; its end if there is no more of it.
    #[must_use]
    pub fn place(&self, id: StreetId, offset_m: f32) -> Position {
        self.place_on(id, offset_m).0
    }

    /// The place `offset_m` metres along a street, and its bearing there in degrees.
    pub(crate) fn place_on(&self, id: StreetId, offset_m: f32) -> (Position, f32) {
        let street = &self.streets[id.0 as usize];
        let range = self.shape(street.shape);
        let along = if street.against { street.length_m - offset_m } else { offset_m }.clamp(0.0, street.length_m);
        let lengths = &self.along_m[range.clone()];
        let after = lengths.partition_point(|at| *at < along).clamp(1, lengths.len() - 1);
        let (a, b) = (self.points[range.start + after - 1], self.points[range.start + after]);
        let (from, to) = (lengths[after - 1], lengths[after]);
        let share = if to > from { f64::from((along - from) / (to - from)) } else { 0.0 };
        let bearing = super::geometry::bearing_deg(a, b);
        let place = super::geometry::between(a, b, share);
        (place, if street.against { (bearing + 180.0) % 360.0 } else { bearing })
    }

    /// Made when asked for first: some 60 ms for a city, on the thread that re-weights it.
    pub(crate) fn speed_cells(&self) -> &SpeedCells {
        self.speed_cells.get_or_init(|| {
            let mut number: super::osm::Map<u64, u32> = super::osm::Map::default();
            let mut cells = Vec::new();
            let mut of_street = Vec::with_capacity(self.streets.len());
            for street in &self.streets {
                let range = self.shape(street.shape);
                let [lat, lon] = self.points[(range.start + range.end) / 2];
                let cell = crate::learn::cell_for_speeds(super::geometry::position(lat, lon));
                of_street.push(*number.entry(cell).or_insert_with(|| {
                    cells.push(cell);
                    cells.len() as u32 - 1
                }));
            }
            SpeedCells { cells, of_street }
        })
    }

    /// The cell by which the speed of a street is learned; 0 for no street.
    #[must_use]
    pub fn speed_cell(&self, id: StreetId) -> u64 {
        let known = self.speed_cells();
        known.of_street.get(id.0 as usize).map_or(0, |cell| known.cells[*cell as usize])
    }

    /// Bytes held, without the allocator's own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        use std::mem::size_of;
        self.junctions.capacity() * 8
            + self.streets.capacity() * size_of::<Street>()
            + (self.arc_first.capacity() + self.arc_streets.capacity() + self.shape_first.capacity()) * 4
            + (self.points.capacity() + self.more_tails.capacity()) * 8
            + self.along_m.capacity() * 4
            + self.shape_streets.capacity() * 8
            + self.hierarchy.memory_bytes()
            + self.segments.memory_bytes()
    }
}
