//! The border of a fence, laid out for one question: how far is it, and on which side of it are we?
//!
//! Edges are grouped in short chains with a box around each. A chain whose box is farther than the nearest edge so far costs four
//! comparisons, so a fence of 2,000 corners costs little more than one of 50.

use super::ring::Unrolled;
use super::{DEGREE_M, Spot, near_turn};

/// Edges of a chain: a box costs about as much as two of them.
const CHAIN_EDGES: usize = 8;

/// Corners are kept relative to the fence's middle as `f32` degrees: to a millimetre in a town, to centimetres in a country.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    middle_lon: f64,
    middle_lat: f64,
    points: Box<[[f32; 2]]>,
    chains: Box<[Chain]>,
    /// Where the chains of each polygon end. A union: inside any is inside.
    ends: Box<[u32]>,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    west: f32,
    south: f32,
    east: f32,
    north: f32,
    /// Points `first..=last`.
    first: u32,
    last: u32,
    /// Not a cut at which the fence goes on in another polygon.
    border: bool,
}

impl Outline {
    pub(super) fn new(unrolled: &Unrolled) -> Self {
        let bounds = &unrolled.bounds;
        let (middle_lon, middle_lat) = ((bounds.west + bounds.east) / 2.0, (bounds.south + bounds.north) / 2.0);
        let (mut points, mut chains, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for rings in &unrolled.polygons {
            for ring in rings {
                let start = points.len();
                let flat = |corner: &[f64; 2]| [(corner[0] - middle_lon) as f32, (corner[1] - middle_lat) as f32];
                points.extend(ring.corners.iter().map(flat));
                points.push(points[start]);
                let mut first = 0;
                while first < ring.corners.len() {
                    let seam = ring.seams.contains(&first);
                    let next_seam = ring.seams.iter().copied().find(|seam| *seam > first).unwrap_or(usize::MAX);
                    let last = if seam { first + 1 } else { (first + CHAIN_EDGES).min(next_seam) };
                    let last = last.min(ring.corners.len());
                    chains.push(Chain::around(&points, start + first, start + last, !seam));
                    first = last;
                }
            }
            ends.push(chains.len() as u32);
        }
        Self { middle_lon, middle_lat, points: points.into(), chains: chains.into(), ends: ends.into() }
    }

    /// Metres to the border, negative inside.
    pub(super) fn probe(&self, spot: &Spot) -> f64 {
        let x = near_turn(spot.lon_deg - self.middle_lon) as f32;
        let y = (spot.lat_deg - self.middle_lat) as f32;
        let scale = [spot.lon_m as f32, DEGREE_M as f32];
        let (mut inside, mut nearest_2, mut start) = (false, f32::INFINITY, 0);
        for end in &self.ends {
            let mut odd = false;
            for chain in &self.chains[start..*end as usize] {
                odd ^= chain.crosses(&self.points, x, y);
                if chain.border && chain.box_distance_2(x, y, scale) < nearest_2 {
                    nearest_2 = chain.distance_2(&self.points, x, y, scale).min(nearest_2);
                }
            }
            inside |= odd;
            start = *end as usize;
        }
        let distance_m = f64::from(nearest_2.sqrt());
        if inside { -distance_m } else { distance_m }
    }
}

impl Chain {
    fn around(points: &[[f32; 2]], first: usize, last: usize, border: bool) -> Self {
        let fold = |axis: usize, pick: fn(f32, f32) -> f32| {
            points[first..=last].iter().map(|point| point[axis]).reduce(pick).unwrap_or(0.0)
        };
        Self {
            west: fold(0, f32::min),
            south: fold(1, f32::min),
            east: fold(0, f32::max),
            north: fold(1, f32::max),
            first: first as u32,
            last: last as u32,
            border,
        }
    }

    /// Whether a ray from here to the east crosses the chain an odd number of times.
    fn crosses(&self, points: &[[f32; 2]], x: f32, y: f32) -> bool {
        if y < self.south || y >= self.north || x > self.east {
            return false;
        }
        if x < self.west {
            // All of it lies ahead: only its ends count.
            return (points[self.first as usize][1] > y) != (points[self.last as usize][1] > y);
        }
        let mut odd = false;
        for edge in points[self.first as usize..=self.last as usize].windows(2) {
            let ([ax, ay], [bx, by]) = (edge[0], edge[1]);
            odd ^= (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax;
        }
        odd
    }

    fn box_distance_2(&self, x: f32, y: f32, [lon_m, lat_m]: [f32; 2]) -> f32 {
        let across = (self.west - x).max(x - self.east).max(0.0) * lon_m;
        let along = (self.south - y).max(y - self.north).max(0.0) * lat_m;
        across * across + along * along
    }

    fn distance_2(&self, points: &[[f32; 2]], x: f32, y: f32, [lon_m, lat_m]: [f32; 2]) -> f32 {
        let mut nearest_2 = f32::INFINITY;
        for edge in points[self.first as usize..=self.last as usize].windows(2) {
            let ([ax, ay], [bx, by]) = (edge[0], edge[1]);
            let (dx, dy) = ((bx - ax) * lon_m, (by - ay) * lat_m);
            let (px, py) = ((x - ax) * lon_m, (y - ay) * lat_m);
            // An edge too short for `f32` has length 0: then any share will do.
            let share = ((px * dx + py * dy) / (dx * dx + dy * dy).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
            let (ex, ey) = (px - share * dx, py - share * dy);
            nearest_2 = nearest_2.min(ex * ex + ey * ey);
        }
        nearest_2
    }
}
