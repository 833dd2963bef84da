//! From the operator's rings to rings that can be trusted: closed, unrolled over the antimeridian, without crossings.

use super::{Bounds, Geofence, turn_deg};
use crate::Position;

/// Where in a fence, counted from 1 as people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which polygon.
    pub polygon: usize,
    /// Which of its rings; 1 is the border, the others are holes.
    pub ring: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "polygon {}, ring {}", self.polygon, self.ring)
    }
}

/// Why a shape is no fence.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidGeofence {
    /// There is no polygon, or one without a ring.
    #[error("the fence has no ring of corners")]
    Empty,
    /// More corners than allowed.
    #[error("the fence has {corners} corners, the limit is {limit}: simplify it")]
    TooManyCorners {
        /// Corners of all rings.
        corners: usize,
        /// Most allowed.
        limit: usize,
    },
    /// The last corner does not repeat the first.
    #[error("{place} is not closed: its last position must repeat its first")]
    NotClosed {
        /// Which ring.
        place: Place,
    },
    /// Fewer than three different corners.
    #[error("{place} has {corners} different corners, at least 3 are needed")]
    TooFewCorners {
        /// Which ring.
        place: Place,
        /// How many it has.
        corners: usize,
    },
    /// All corners lie on one line.
    #[error("{place} encloses nothing: its corners lie on one line")]
    NoArea {
        /// Which ring.
        place: Place,
    },
    /// A corner too near to a pole.
    #[error(
        "{place} has a corner at latitude {lat_deg}, polygons may reach to {limit} degrees: draw a circle around the pole"
    )]
    Latitude {
        /// Which ring.
        place: Place,
        /// Latitude of the corner.
        lat_deg: f64,
        /// Farthest latitude.
        limit: f64,
    },
    /// The ring goes around the globe, so that a pole lies inside.
    #[error("{place} goes around a pole (its longitudes turn by {turn_deg} degrees): draw a circle around the pole")]
    AroundPole {
        /// Which ring.
        place: Place,
        /// 360 or -360.
        turn_deg: f64,
    },
    /// The fence is wider than half the globe.
    #[error("the fence is {width_deg} degrees of longitude wide, the limit is {limit}: make several of it")]
    TooWide {
        /// Its width.
        width_deg: f64,
        /// Most allowed.
        limit: f64,
    },
    /// Two edges cross. An edge is named by the corner it begins at.
    #[error(
        "polygon {} crosses itself: the edge from corner {} of ring {} and the edge from corner {} of ring {}",
        place.polygon, corner, place.ring, other_corner, other_ring
    )]
    Crosses {
        /// Polygon, and ring of the first edge.
        place: Place,
        /// Where the first edge begins, from 1.
        corner: usize,
        /// Ring of the second edge.
        other_ring: usize,
        /// Where it begins.
        other_corner: usize,
    },
    /// A hole that is not in its polygon.
    #[error("{place} is a hole outside of its border")]
    HoleOutside {
        /// Which ring.
        place: Place,
    },
    /// Radius of a circle out of range.
    #[error("radius_m is {radius_m}, it must be 5 to 100000")]
    Radius {
        /// As given.
        radius_m: f64,
    },
    /// Dwell out of range.
    #[error("dwell_ms is {dwell_ms}, it must be 1000 to 604800000")]
    Dwell {
        /// As given.
        dwell_ms: i64,
    },
}

/// Width beyond which east and west cannot be told apart.
const WIDTH_MAX_DEG: f64 = 180.0;

/// A corner: longitude unrolled, latitude; degrees.
pub(super) type Corner = [f64; 2];

/// A ring without its closing corner.
pub(super) struct Ring {
    pub(super) corners: Vec<Corner>,
    /// Edges (by the corner they begin at) that are no border: there the shape goes on in another polygon, cut at the antimeridian.
    pub(super) seams: Vec<usize>,
    /// Corner of the operator's ring that each corner was, from 1.
    named: Vec<usize>,
}

/// Polygons that can be trusted, in one frame of longitudes.
pub(super) struct Unrolled {
    pub(super) polygons: Vec<Vec<Ring>>,
    pub(super) bounds: Bounds,
}

/// Checks and unrolls.
pub(super) fn unroll(polygons: &[Vec<Vec<Position>>]) -> Result<Unrolled, InvalidGeofence> {
    let corners = polygons.iter().flatten().map(|ring| ring.len().saturating_sub(1)).sum();
    if corners > Geofence::CORNERS_MAX {
        return Err(InvalidGeofence::TooManyCorners { corners, limit: Geofence::CORNERS_MAX });
    }
    let first = polygons.first().and_then(|rings| rings.first()).and_then(|ring| ring.first());
    let reference = first.ok_or(InvalidGeofence::Empty)?.lon_deg();
    let mut unrolled = Vec::with_capacity(polygons.len());
    for (polygon, rings) in polygons.iter().enumerate() {
        if rings.is_empty() {
            return Err(InvalidGeofence::Empty);
        }
        let place = |ring| Place { polygon: polygon + 1, ring: ring + 1 };
        let rings: Result<Vec<Ring>, _> =
            rings.iter().enumerate().map(|(ring, corners)| unroll_ring(corners, reference, place(ring))).collect();
        let rings = rings?;
        check_crossings(&rings, polygon + 1)?;
        for (index, hole) in rings.iter().enumerate().skip(1) {
            // Edges do not cross, so the hole is inside as a whole; a corner on the border may fall on either side.
            if !hole.corners.iter().any(|corner| holds(&rings[0].corners, *corner)) {
                return Err(InvalidGeofence::HoleOutside { place: place(index) });
            }
        }
        unrolled.push(rings);
    }
    let bounds = bounds(&mut unrolled)?;
    mark_seams(&mut unrolled);
    Ok(Unrolled { polygons: unrolled, bounds })
}

/// From corner to corner the short way, beginning within half a turn of `reference`.
fn unroll_ring(positions: &[Position], reference: f64, place: Place) -> Result<Ring, InvalidGeofence> {
    let (Some(first), Some(last)) = (positions.first(), positions.last()) else {
        return Err(InvalidGeofence::TooFewCorners { place, corners: 0 });
    };
    let closed = first.lat_deg() == last.lat_deg() && turn_deg(first.lon_deg() - last.lon_deg()) == 0.0;
    if !closed || positions.len() < 2 {
        return Err(InvalidGeofence::NotClosed { place });
    }
    let begin = reference + turn_deg(first.lon_deg() - reference);
    let (mut lon, mut corners, mut named) = (begin, Vec::with_capacity(positions.len()), Vec::new());
    for (index, position) in positions.iter().enumerate() {
        let lat_deg = position.lat_deg();
        if lat_deg.abs() > Geofence::LATITUDE_MAX {
            return Err(InvalidGeofence::Latitude { place, lat_deg, limit: Geofence::LATITUDE_MAX });
        }
        lon += turn_deg(position.lon_deg() - lon);
        let corner = [lon, lat_deg];
        if corners.last() != Some(&corner) {
            corners.push(corner);
            named.push(index + 1);
        }
    }
    let turn = lon - begin;
    if turn.abs() > 1.0 {
        return Err(InvalidGeofence::AroundPole { place, turn_deg: turn.round() });
    }
    corners.pop();
    named.pop();
    if corners.len() < 3 {
        return Err(InvalidGeofence::TooFewCorners { place, corners: corners.len() });
    }
    if is_flat(&corners) {
        return Err(InvalidGeofence::NoArea { place });
    }
    Ok(Ring { corners, named, seams: Vec::new() })
}

/// Whether all corners lie on one line.
fn is_flat(corners: &[Corner]) -> bool {
    let first = corners[0];
    let far = corners.iter().max_by(|a, b| length_2(first, **a).total_cmp(&length_2(first, **b))).unwrap_or(&first);
    corners.iter().all(|corner| side(first, *far, *corner) == 0.0)
}

fn length_2(a: Corner, b: Corner) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

/// Positive when `c` lies left of the line from `a` to `b`.
fn side(a: Corner, b: Corner, c: Corner) -> f64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/// Even-odd rule.
fn holds(ring: &[Corner], [x, y]: Corner) -> bool {
    let crosses =
        |a: Corner, b: Corner| (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0];
    let edges = ring.iter().zip(ring.iter().cycle().skip(1));
    edges.filter(|(a, b)| crosses(**a, **b)).count() % 2 == 1
}

/// An edge of a polygon, for the sweep.
struct Edge {
    from: Corner,
    to: Corner,
    ring: usize,
    corner: usize,
}

impl Edge {
    fn west(&self) -> f64 {
        self.from[0].min(self.to[0])
    }

    fn east(&self) -> f64 {
        self.from[0].max(self.to[0])
    }

    fn crosses(&self, other: &Self) -> bool {
        let apart = |a: f64, b: f64| (a > 0.0 && b > 0.0) || (a < 0.0 && b < 0.0) || a == 0.0 || b == 0.0;
        !apart(side(self.from, self.to, other.from), side(self.from, self.to, other.to))
            && !apart(side(other.from, other.to, self.from), side(other.from, other.to, self.to))
    }
}

/// A sweep from west to east over all edges of one polygon.
fn check_crossings(rings: &[Ring], polygon: usize) -> Result<(), InvalidGeofence> {
    let mut edges = Vec::new();
    for (ring, corners) in rings.iter().map(|ring| &ring.corners).enumerate() {
        for corner in 0..corners.len() {
            edges.push(Edge { from: corners[corner], to: corners[(corner + 1) % corners.len()], ring, corner });
        }
    }
    edges.sort_by(|a, b| a.west().total_cmp(&b.west()));
    for (index, edge) in edges.iter().enumerate() {
        let east = edge.east();
        for other in edges[index + 1..].iter().take_while(|other| other.west() <= east) {
            // Neighbours share a corner, and so do not cross: one of the sides is 0.
            if edge.crosses(other) {
                let name = |edge: &Edge| (edge.ring, rings[edge.ring].named[edge.corner]);
                let ((ring, corner), (other_ring, other_corner)) =
                    (name(edge).min(name(other)), name(edge).max(name(other)));
                let place = Place { polygon, ring: ring + 1 };
                return Err(InvalidGeofence::Crosses { place, corner, other_ring: other_ring + 1, other_corner });
            }
        }
    }
    Ok(())
}

/// The box around all, shifted by whole turns so that it begins in -180..180; the corners go along.
fn bounds(polygons: &mut [Vec<Ring>]) -> Result<Bounds, InvalidGeofence> {
    let (mut south, mut west, mut north, mut east) = (90.0_f64, f64::MAX, -90.0_f64, f64::MIN);
    for [lon, lat] in polygons.iter().flatten().flat_map(|ring| &ring.corners) {
        (south, north) = (south.min(*lat), north.max(*lat));
        (west, east) = (west.min(*lon), east.max(*lon));
    }
    let width_deg = east - west;
    if width_deg >= WIDTH_MAX_DEG {
        return Err(InvalidGeofence::TooWide { width_deg, limit: WIDTH_MAX_DEG });
    }
    // By whole turns, so that equal longitudes stay equal.
    let shift = -360.0 * ((west + 180.0) / 360.0).floor();
    for [lon, _] in polygons.iter_mut().flatten().flat_map(|ring| &mut ring.corners) {
        *lon += shift;
    }
    Ok(Bounds { south, west: west + shift, north, east: east + shift })
}

/// Edges on the antimeridian at which two polygons of the fence meet: GeoJSON asks for such a cut.
fn mark_seams(polygons: &mut [Vec<Ring>]) {
    if polygons.len() < 2 {
        return;
    }
    // (polygon, goes north, southern end, northern end)
    let mut cuts = Vec::new();
    let on_seam = |a: Corner, b: Corner| a[0] == b[0] && turn_deg(a[0]) == -180.0;
    for (polygon, rings) in polygons.iter().enumerate() {
        let middle = |ring: &Ring| ring.corners.iter().map(|corner| corner[0]).sum::<f64>() / ring.corners.len() as f64;
        for ring in rings {
            let edges = ring.corners.iter().zip(ring.corners.iter().cycle().skip(1));
            for (a, b) in edges.filter(|(a, b)| on_seam(**a, **b)) {
                cuts.push((polygon, middle(ring) < a[0], a[1].min(b[1]), a[1].max(b[1])));
            }
        }
    }
    for (polygon, rings) in polygons.iter_mut().enumerate() {
        for ring in rings {
            let count = ring.corners.len();
            let west = ring.corners.iter().map(|corner| corner[0]).sum::<f64>() / count as f64;
            for index in 0..count {
                let (a, b) = (ring.corners[index], ring.corners[(index + 1) % count]);
                let met = |cut: &(usize, bool, f64, f64)| {
                    let covers = cut.2 <= a[1].min(b[1]) && cut.3 >= a[1].max(b[1]);
                    cut.0 != polygon && cut.1 != (west < a[0]) && covers
                };
                if on_seam(a, b) && cuts.iter().any(met) {
                    ring.seams.push(index);
                }
            }
        }
    }
}
