//! From a place to the street it belongs to, for stops and questions without a driver.

use super::geometry::angle_deg;
use super::label::Goal;
use super::network::NONE;
use super::{Candidate, Network, Start};
use crate::Position;

/// Radii in metres in which a street is looked for, one after the other: most addresses have one within the first.
const RADII_M: [f64; 4] = [60.0, 250.0, 1_000.0, 3_000.0];

impl Network {
    /// The streets nearest to a place, within 3 km; all directions of the nearest piece of road.
    fn nearest(&self, place: Position) -> Vec<Candidate> {
        let mut found = Vec::new();
        for radius_m in RADII_M {
            // What one cannot leave, or not reach, is no place to stop; however much of it is nearer, it must not hide the rest.
            let is_core = |street: u32| street != NONE && self.streets[street as usize].core;
            self.near_those(place, radius_m, &mut found, |shape| {
                self.shape_streets[shape as usize].into_iter().any(is_core)
            });
            found.retain(|candidate| is_core(candidate.street.0));
            if let Some(nearest) = found.first().copied() {
                let shape = self.streets[nearest.street.0 as usize].shape;
                found.retain(|candidate| self.streets[candidate.street.0 as usize].shape == shape);
                return found;
            }
        }
        found
    }

    /// A place as a goal: the nearest road, in both directions if it has them. `None`: no road within 3 km.
    #[must_use]
    pub fn goal(&self, place: Position) -> Option<Goal> {
        let found = self.nearest(place);
        let access_m = found.first()?.distance_m;
        Some(Goal { place, access_m, spots: found.iter().map(|spot| (spot.street, spot.offset_m)).collect() })
    }

    /// Where to start from a place: the nearest road, in each direction it has; the one that fits `heading_deg` first.
    #[must_use]
    pub fn starts(&self, place: Position, heading_deg: Option<f32>) -> Vec<Start> {
        let mut found = self.nearest(place);
        if let Some(heading) = heading_deg {
            found.sort_by(|a, b| angle_deg(a.bearing_deg, heading).total_cmp(&angle_deg(b.bearing_deg, heading)));
        }
        found.iter().map(Start::from).collect()
    }
}
