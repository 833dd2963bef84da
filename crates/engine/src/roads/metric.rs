//! Travel times poured into the hierarchy: what live speeds change twice a minute.

use super::network::NONE;
use super::{Network, RoadClass};
use crate::Millis;
use crate::learn::{RoadKind, SpeedField};

/// Farther than anything: two of them still add up within `u32`.
pub(crate) const FAR: u32 = u32::MAX / 2 - 1;

/// In `via`: the arc is a street, not a shortcut.
pub(crate) const STREET: u32 = 1 << 31;

/// Costs of one direction of all arcs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs {
    /// Milliseconds; [`FAR`] if there is no way.
    pub(crate) ms: Vec<u32>,
    /// Decimetres of that way.
    pub(crate) dm: Vec<u32>,
    /// [`STREET`] and a street, or the junction between.
    pub(crate) via: Vec<u32>,
}

/// Times of all streets and shortcuts of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metric {
    /// Time by street, in ms, the junction at its end included.
    pub(crate) street_ms: Vec<u32>,
    pub(crate) up: Costs,
    pub(crate) down: Costs,
    /// Grows with every re-weighting; labels belong to one.
    pub(crate) number: u64,
}

impl Costs {
    fn reset(&mut self, arcs: usize) {
        self.ms.clear();
        self.ms.resize(arcs, FAR);
        self.dm.clear();
        self.dm.resize(arcs, 0);
        self.via.clear();
        self.via.resize(arcs, NONE);
    }
}

impl Metric {
    /// Times of a free network.
    #[must_use]
    pub fn free(network: &Network) -> Self {
        let mut metric = Self::default();
        metric.reweight(network, 0, |_, street| street.free_ms());
        metric
    }

    /// Pours new times in: `time_ms` is asked once for every street (1 to 10^9 ms). About 20 ms for a city of 60,000 junctions, on the
    /// caller's thread; nothing is allocated once the metric has been used for this network.
    ///
    /// For every junction, lower triangles are relaxed from the lowest up, which makes every arc as short as the roads below it allow.
    pub fn reweight(
        &mut self,
        network: &Network,
        number: u64,
        mut time_ms: impl FnMut(super::StreetId, &super::Street) -> u32,
    ) {
        let hierarchy = &network.hierarchy;
        self.number = number;
        self.street_ms.clear();
        let times = network.streets.iter().enumerate();
        self.street_ms
            .extend(times.map(|(id, street)| time_ms(super::StreetId(id as u32), street).clamp(1, 1_000_000_000)));
        self.up.reset(hierarchy.arc_count());
        self.down.reset(hierarchy.arc_count());
        for (street, place) in network.arc_streets.iter().zip(&hierarchy.of_road) {
            if *place == NONE {
                continue;
            }
            let (arc, ms) = ((place / 2) as usize, self.street_ms[*street as usize]);
            let costs = if place & 1 == 0 { &mut self.up } else { &mut self.down };
            if ms < costs.ms[arc] {
                costs.ms[arc] = ms;
                costs.dm[arc] = (network.streets[*street as usize].length_m * 10.0) as u32;
                costs.via[arc] = STREET | street;
            }
        }
        // Place of the arc from the junction in hand to a higher one.
        let mut place = vec![0_u32; network.junctions.len()];
        for x in 0..network.junctions.len() as u32 {
            let own = hierarchy.up(x);
            if own.is_empty() {
                continue;
            }
            for arc in own {
                place[hierarchy.up_head[arc] as usize] = arc as u32;
            }
            for &below in hierarchy.down(x) {
                let v = hierarchy.arc_tail[below as usize];
                self.relax(hierarchy, v, below as usize, &place);
            }
        }
    }

    /// All triangles over `v` with the arc `vx` as one side: `x -> v -> y` and `y -> v -> x`.
    #[inline]
    fn relax(&mut self, hierarchy: &super::hierarchy::Hierarchy, v: u32, vx: usize, place: &[u32]) {
        let (from_x, to_x) = (self.down.ms[vx], self.up.ms[vx]);
        let end = hierarchy.up_first[v as usize + 1] as usize;
        for vy in vx + 1..end {
            let xy = place[hierarchy.up_head[vy] as usize] as usize;
            let there = from_x + self.up.ms[vy];
            if there < self.up.ms[xy] {
                self.up.ms[xy] = there;
                self.up.dm[xy] = self.down.dm[vx].saturating_add(self.up.dm[vy]);
                self.up.via[xy] = v;
            }
            let back = self.down.ms[vy] + to_x;
            if back < self.down.ms[xy] {
                self.down.ms[xy] = back;
                self.down.dm[xy] = self.down.dm[vy].saturating_add(self.up.dm[vx]);
                self.down.via[xy] = v;
            }
        }
    }

    /// Pours in what the field knows at `at`: see [`Metric::reweight`].
    pub fn reweight_live(&mut self, network: &Network, number: u64, speeds: &SpeedField, at: Millis) {
        let known = network.speed_cells();
        let kinds: Vec<f32> =
            RoadClass::ALL.iter().map(|class| speeds.log_kind(at, RoadKind::Street(*class))).collect();
        let mut factors = Vec::with_capacity(known.cells.len() * kinds.len());
        for cell in &known.cells {
            let place = speeds.log_cell(at, *cell);
            factors.extend(kinds.iter().map(|kind| SpeedField::factor(kind + place)));
        }
        self.reweight(network, number, |id, street| {
            let cell = known.of_street[id.0 as usize] as usize;
            (street.free_ms() as f32 * factors[cell * kinds.len() + street.class as usize]) as u32
        });
    }

    /// Number of the re-weighting.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Time of a street in ms, the junction at its end included.
    #[must_use]
    pub fn street_ms(&self, id: super::StreetId) -> u32 {
        self.street_ms.get(id.0 as usize).copied().unwrap_or(FAR)
    }

    /// Bytes held, without the allocator's own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let costs = |costs: &Costs| (costs.ms.capacity() + costs.dm.capacity() + costs.via.capacity()) * 4;
        self.street_ms.capacity() * 4 + costs(&self.up) + costs(&self.down)
    }
}
