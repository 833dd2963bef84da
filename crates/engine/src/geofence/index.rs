//! All fences of the installation, by place and by name.

use std::sync::Arc;

use super::boxes::Boxes;
use super::{DEGREE_M, Geofence, Spot};
use crate::{GeofenceId, Millis, Position};

/// Farthest that fences are looked for around a driver, in metres: so far flat lengths hold to a few per cent.
pub(super) const REACH_MAX_M: f64 = 5_000.0;

/// A box this near to the antimeridian stands on both of its sides; degrees, more than the reach at any legal latitude.
const SEAM_DEG: f64 = 3.0;

/// Immutable index over all fences. Share it, and make another one when fences change: the fences themselves are shared.
///
/// 100,000 fences take some 40 ms to index.
#[derive(Debug, Default)]
pub struct Geofences {
    generation: u64,
    newest: Option<Millis>,
    ids: Box<[GeofenceId]>,
    /// In the order of `ids`.
    fences: Box<[Arc<Geofence>]>,
    tree: Boxes,
}

impl Geofences {
    /// Indexes the fences. `generation` must differ from that of any other index that the same trackers are shown: by it they notice
    /// that there is another one. Of fences with the same id the last one counts.
    #[must_use]
    pub fn new(generation: u64, fences: impl IntoIterator<Item = Arc<Geofence>>) -> Self {
        let mut fences: Vec<Arc<Geofence>> = fences.into_iter().collect();
        fences.reverse();
        fences.sort_by_key(|fence| fence.id());
        fences.dedup_by_key(|fence| fence.id());
        let mut entries = Vec::with_capacity(fences.len());
        for (slot, fence) in fences.iter().enumerate() {
            let bounds = fence.bounds();
            for turn in [-360.0, 0.0, 360.0] {
                let (west, east) = (bounds.west + turn, bounds.east + turn);
                if east >= -180.0 - SEAM_DEG && west <= 180.0 + SEAM_DEG {
                    entries.push(([west, bounds.south, east, bounds.north], slot as u32));
                }
            }
        }
        Self {
            generation,
            newest: fences.iter().map(|fence| fence.changed()).max(),
            ids: fences.iter().map(|fence| fence.id()).collect(),
            fences: fences.into(),
            tree: Boxes::new(entries),
        }
    }

    /// How many fences there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fences.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fences.is_empty()
    }

    /// A fence by name.
    #[must_use]
    pub fn get(&self, id: GeofenceId) -> Option<&Geofence> {
        self.slot(id).map(|slot| self.fence(slot))
    }

    /// The fences that hold a place, in the order of their ids.
    #[must_use]
    pub fn containing(&self, position: Position) -> Vec<&Geofence> {
        let spot = Spot::new(position, position.unit());
        let mut slots = Vec::new();
        self.around(&spot, 1.0, |slot, _| {
            if self.fence(slot).probe(&spot) <= 0.0 && !slots.contains(&slot) {
                slots.push(slot);
            }
        });
        slots.sort_unstable();
        slots.into_iter().map(|slot| self.fence(slot)).collect()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// When the fence that changed last did so.
    pub(super) fn newest(&self) -> Option<Millis> {
        self.newest
    }

    pub(super) fn slot(&self, id: GeofenceId) -> Option<u32> {
        self.ids.binary_search(&id).ok().map(|slot| slot as u32)
    }

    pub(super) fn fence(&self, slot: u32) -> &Geofence {
        &self.fences[slot as usize]
    }

    /// Shows every fence whose box is within `reach_m` of the spot, in no order; a few farther ones, and some twice. With each comes the least
    /// distance it can have, 0 where it must be asked.
    pub(super) fn around(&self, spot: &Spot, reach_m: f64, mut show: impl FnMut(u32, f64)) {
        let along = reach_m / DEGREE_M;
        // Beyond the farthest corner of polygons there are circles only, whose boxes go all the way round where it matters.
        let polar = spot.lat_deg.abs() > Geofence::LATITUDE_MAX;
        let across = if polar { 360.0 } else { 1.1 * reach_m / spot.lon_m };
        let (lon, lat) = (spot.lon_deg, spot.lat_deg);
        self.tree.touching(
            [lon - across, lat - along, lon + across, lat + along],
            |slot, [west, south, east, north]| {
                if polar {
                    return show(slot, 0.0);
                }
                let east_m = (f64::from(*west) - lon).max(lon - f64::from(*east)).max(0.0) * spot.lon_m;
                let north_m = (f64::from(*south) - lat).max(lat - f64::from(*north)).max(0.0) * DEGREE_M;
                show(slot, (east_m * east_m + north_m * north_m).sqrt());
            },
        );
    }
}
