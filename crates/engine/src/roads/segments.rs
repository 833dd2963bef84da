//! The R-tree of all road segments, and the streets near a place.

use rstar::{AABB, RTree, RTreeObject};
use smallvec::SmallVec;

use super::geometry::{METRES_PER_E7, Near, bearing_deg, between, lon_diff_e7};
use super::network::NONE;
use super::{Network, StreetId};
use crate::Position;

/// A place on a street near the place asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The street, in one direction.
    pub street: StreetId,
    /// Metres from the street's beginning.
    pub offset_m: f32,
    /// Metres between the two places.
    pub distance_m: f32,
    /// The place on the street.
    pub place: Position,
    /// Direction of travel there, degrees 0..360 clockwise from north.
    pub bearing_deg: f32,
}

/// Boxes of segments, in 1e-7 degree from the first point. `f32` holds whole numbers up to 2^24; beyond, it is off by up to
/// [`SLACK`], which queries grant.
#[derive(Debug)]
pub(crate) struct Segments {
    origin: [i32; 2],
    tree: RTree<Segment>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    low: [f32; 2],
    high: [f32; 2],
    /// Its first point.
    point: u32,
    shape: u32,
}

impl RTreeObject for Segment {
    type Envelope = AABB<[f32; 2]>;

    fn envelope(&self) -> Self::Envelope {
        AABB::from_corners(self.low, self.high)
    }
}

/// Rounding of boxes up to 90 degrees from the origin, in 1e-7 degree: 0.7 m.
const SLACK: f32 = 64.0;

/// Shapes considered around one place; the nearest are kept.
pub(crate) const SHAPES_MOST: usize = 12;

/// The place on a shape nearest to the one asked for.
#[derive(Clone, Copy, Debug)]
struct OnShape {
    shape: u32,
    segment: u32,
    /// Share of the segment.
    share: f64,
    distance_m: f64,
}

impl Segments {
    pub(crate) fn build(points: &[[i32; 2]], shape_first: &[u32]) -> Self {
        let origin = points.first().copied().unwrap_or_default();
        let mut segments = Vec::with_capacity(points.len());
        for (shape, ends) in shape_first.windows(2).enumerate() {
            for point in ends[0]..ends[1] - 1 {
                let (a, b) = (off(origin, points[point as usize]), off(origin, points[point as usize + 1]));
                let low = [a[0].min(b[0]), a[1].min(b[1])];
                let high = [a[0].max(b[0]), a[1].max(b[1])];
                segments.push(Segment { low, high, point, shape: shape as u32 });
            }
        }
        Self { origin, tree: RTree::bulk_load(segments) }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.size()
    }

    /// An estimate: leaves, and a parent for every five of them.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.len() * (size_of::<Segment>() + 24) * 6 / 5
    }
}

fn off(origin: [i32; 2], point: [i32; 2]) -> [f32; 2] {
    [point[0].wrapping_sub(origin[0]) as f32, lon_diff_e7(point[1], origin[1]) as f32]
}

impl Network {
    /// Streets within `radius_m` of a place, nearest first, each in the directions in which it may be travelled; at most
    /// 24, the nearest. `found` is emptied first. About 1.5 us at 30 m in a city; allocates only if `found` must grow.
    pub fn near(&self, place: Position, radius_m: f64, found: &mut Vec<Candidate>) {
        self.near_those(place, radius_m, found, |_| true);
    }

    /// The same of those shapes only that are wanted.
    #[inline]
    pub(crate) fn near_those(
        &self,
        place: Position,
        radius_m: f64,
        found: &mut Vec<Candidate>,
        is_wanted: impl Fn(u32) -> bool,
    ) {
        found.clear();
        let at = [place.lat_e7(), place.lon_e7()];
        let near = Near::at(at[0], at[1]);
        let mut best: SmallVec<[OnShape; SHAPES_MOST]> = SmallVec::new();
        let (lat, lon) = ((radius_m / METRES_PER_E7) as f32, (radius_m / near.lon_m).min(1e9) as f32);
        let [y, x] = off(self.segments.origin, at);
        let (low, high) = ([y - lat - SLACK, x - lon - SLACK], [y + lat + SLACK, x + lon + SLACK]);
        for segment in self.segments.tree.locate_in_envelope_intersecting(AABB::from_corners(low, high)) {
            let (a, b) = (self.points[segment.point as usize], self.points[segment.point as usize + 1]);
            let (distance_m, share) = to_segment(near.flat(a), near.flat(b));
            if distance_m > radius_m || !is_wanted(segment.shape) {
                continue;
            }
            let spot = OnShape { shape: segment.shape, segment: segment.point, share, distance_m };
            if let Some(known) = best.iter_mut().find(|known| known.shape == spot.shape) {
                // Of two segments that meet in the nearest point the first counts, whatever order the tree has.
                if (spot.distance_m, spot.segment) < (known.distance_m, known.segment) {
                    *known = spot;
                }
            } else if best.len() < SHAPES_MOST {
                best.push(spot);
            } else {
                let farthest = best.iter_mut().max_by(|a, b| a.distance_m.total_cmp(&b.distance_m));
                if let Some(farthest) = farthest.filter(|known| known.distance_m > distance_m) {
                    *farthest = spot;
                }
            }
        }
        best.sort_unstable_by(|a, b| a.distance_m.total_cmp(&b.distance_m).then(a.shape.cmp(&b.shape)));
        for spot in best {
            self.push_directions(&spot, found);
        }
    }

    fn push_directions(&self, spot: &OnShape, found: &mut Vec<Candidate>) {
        let at = spot.segment as usize;
        let (a, b) = (self.points[at], self.points[at + 1]);
        let (from, to) = (f64::from(self.along_m[at]), f64::from(self.along_m[at + 1]));
        let along_m = (from + (to - from) * spot.share) as f32;
        let place = between(a, b, spot.share);
        let bearing = bearing_deg(a, b);
        for (against, street) in self.shape_streets[spot.shape as usize].into_iter().enumerate() {
            if street == NONE {
                continue;
            }
            let length_m = self.streets[street as usize].length_m;
            let (offset_m, bearing_deg) =
                if against == 1 { (length_m - along_m, (bearing + 180.0) % 360.0) } else { (along_m, bearing) };
            found.push(Candidate {
                street: StreetId(street),
                offset_m: offset_m.clamp(0.0, length_m),
                distance_m: spot.distance_m as f32,
                place,
                bearing_deg,
            });
        }
    }
}

/// Distance from the origin to a segment, and the share of the segment at which it is nearest.
fn to_segment(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length_2 = dx * dx + dy * dy;
    let share = if length_2 > 0.0 { (-(a.0 * dx + a.1 * dy) / length_2).clamp(0.0, 1.0) } else { 0.0 };
    ((a.0 + share * dx).hypot(a.1 + share * dy), share)
}
