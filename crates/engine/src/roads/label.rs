//! Travel time from wherever a driver is to one goal: a label of the goal, and a climb from the driver.
//!
//! Every shortest way goes up the elimination tree and down again. So the times from all ancestors of the goal to it, a few hundred
//! numbers by depth, are made once per goal and metric; then one climb from the driver's junction and the minimum over the
//! common ancestors is the answer.

use smallvec::SmallVec;

use super::hierarchy::Hierarchy;
use super::metric::{Costs, FAR};
use super::network::NONE;
use super::{Candidate, Metric, Network, StreetId};
use crate::Position;

/// A place on the network somebody wants to reach: the nearest street, in both directions where it has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// The place itself.
    pub place: Position,
    /// Metres from it to the street.
    pub access_m: f32,
    /// Streets and metres along them.
    pub spots: SmallVec<[(StreetId, f32); 2]>,
}

/// Where somebody starts: on a street, so many metres along it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// The street.
    pub street: StreetId,
    /// Metres from its beginning.
    pub offset_m: f32,
}

impl From<&Candidate> for Start {
    fn from(candidate: &Candidate) -> Self {
        Self { street: candidate.street, offset_m: candidate.offset_m }
    }
}

/// Time of a fastest way in ms, and its length in decimetres. Of several that take the same whole number of ms it may be any,
/// and another one than [`Network::route`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Milliseconds.
    pub ms: u32,
    /// Decimetres.
    pub dm: u32,
}

impl Cost {
    pub(crate) const FAR: Self = Self { ms: FAR, dm: 0 };

    pub(crate) const fn is_far(self) -> bool {
        self.ms >= FAR
    }
}

/// Costs between a junction and its ancestors, by depth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The deepest junction.
    pub(crate) junction: u32,
    pub(crate) ms: Vec<u32>,
    pub(crate) dm: Vec<u32>,
}

impl Chain {
    pub(crate) fn begin(&mut self, network: &Network, junction: u32) {
        let len = usize::from(network.hierarchy.depth[junction as usize]) + 1;
        self.junction = junction;
        self.ms.clear();
        self.ms.resize(len, FAR);
        self.dm.clear();
        self.dm.resize(len, 0);
    }

    fn offer(&mut self, network: &Network, junction: u32, cost: Cost) {
        let depth = usize::from(network.hierarchy.depth[junction as usize]);
        if cost.ms < self.ms[depth] {
            (self.ms[depth], self.dm[depth]) = (cost.ms, cost.dm);
        }
    }

    /// Relaxes all arcs on the way to the root.
    #[inline]
    pub(crate) fn climb(&mut self, network: &Network, costs: &Costs) {
        let hierarchy = &network.hierarchy;
        let mut v = self.junction;
        while v != NONE {
            let depth = usize::from(hierarchy.depth[v as usize]);
            let (ms, dm) = (self.ms[depth], self.dm[depth]);
            let up = hierarchy.up(v);
            if ms < FAR {
                self.relax(hierarchy, up.clone(), costs, Cost { ms, dm });
            }
            v = if up.is_empty() { NONE } else { hierarchy.up_head[up.start] };
        }
    }

    #[inline]
    fn relax(&mut self, hierarchy: &Hierarchy, up: std::ops::Range<usize>, costs: &Costs, from: Cost) {
        let arcs = hierarchy.up_depth[up.clone()].iter().zip(&costs.ms[up.clone()]).zip(&costs.dm[up]);
        for ((depth, ms), dm) in arcs {
            let (at, there) = (usize::from(*depth), from.ms + ms);
            if there < self.ms[at] {
                (self.ms[at], self.dm[at]) = (there, from.dm.saturating_add(*dm));
            }
        }
    }

    /// Climbs until nothing can better the best meeting with one of `others`, which have been climbed; gives that.
    fn climb_to(&mut self, network: &Network, costs: &Costs, others: &[Self]) -> Cost {
        let hierarchy = &network.hierarchy;
        let mut meetings: SmallVec<[(&Self, usize, Cost); 2]> = SmallVec::new();
        for other in others {
            if let Some(ancestor) = hierarchy.common_ancestor(self.junction, other.junction) {
                meetings.push((other, usize::from(hierarchy.depth[ancestor as usize]), Cost::FAR));
            }
        }
        let (mut v, mut least) = (self.junction, FAR);
        while v != NONE {
            let depth = usize::from(hierarchy.depth[v as usize]);
            let (ms, dm) = (self.ms[depth], self.dm[depth]);
            let up = hierarchy.up(v);
            // Most junctions on the way up lie farther than the goal.
            if ms < FAR && ms <= least {
                for (other, common, best) in &mut meetings {
                    let whole = if depth <= *common { ms + other.ms[depth] } else { FAR };
                    if whole < FAR && whole <= best.ms {
                        *best = Cost { ms: whole, dm: dm.saturating_add(other.dm[depth]) };
                        least = least.min(whole);
                    }
                }
                self.relax(hierarchy, up.clone(), costs, Cost { ms, dm });
            }
            v = if up.is_empty() { NONE } else { hierarchy.up_head[up.start] };
        }
        meetings.into_iter().map(|(.., best)| best).min_by_key(|best| best.ms).unwrap_or(Cost::FAR)
    }
}

/// Room for a climb, used again and again.
#[derive(Clone, Debug, Default)]
pub struct Climb(Chain);

/// A goal under one metric.
#[derive(Clone, Debug)]
pub struct Label {
    /// The goal.
    pub goal: Goal,
    /// Number of the metric it was made with.
    pub metric: u64,
    chains: SmallVec<[Chain; 1]>,
}

impl Label {
    /// About 10 us and a kilobyte.
    #[must_use]
    pub fn new(network: &Network, metric: &Metric, goal: Goal) -> Self {
        let mut chains: SmallVec<[Chain; 1]> = SmallVec::new();
        // Lowest first: junctions of one street are neighbours, so the higher one lies on the lower one's way up.
        let mut ends: SmallVec<[(u32, Cost); 4]> = SmallVec::new();
        for (id, offset_m) in &goal.spots {
            let street = &network.streets[id.0 as usize];
            let share = (offset_m / street.length_m).clamp(0.0, 1.0);
            let drive_ms = metric.driving_ms(network, *id);
            let cost = Cost { ms: (drive_ms as f32 * share) as u32, dm: (offset_m * 10.0) as u32 };
            ends.extend(network.tails(*id).map(|tail| (tail, cost)));
        }
        ends.sort_unstable_by_key(|(tail, _)| *tail);
        for (tail, cost) in ends {
            let known =
                chains.iter_mut().find(|chain| network.hierarchy.common_ancestor(chain.junction, tail) == Some(tail));
            match known {
                Some(chain) => chain.offer(network, tail, cost),
                None => {
                    let mut chain = Chain::default();
                    chain.begin(network, tail);
                    chain.offer(network, tail, cost);
                    chains.push(chain);
                }
            }
        }
        for chain in &mut chains {
            chain.climb(network, &metric.down);
        }
        Self { goal, metric: metric.number, chains }
    }

    /// Cost from the end of a street to the goal; far if there is no way. About 6 us for a city of 60,000 junctions.
    pub fn from_end_of(&self, network: &Network, metric: &Metric, street: StreetId, room: &mut Climb) -> Cost {
        debug_assert_eq!(self.metric, metric.number, "a label belongs to one metric");
        let Some(street) = network.street(street) else { return Cost::FAR };
        let climb = &mut room.0;
        climb.begin(network, street.head);
        climb.offer(network, street.head, Cost { ms: 0, dm: 0 });
        climb.climb_to(network, &metric.up, &self.chains)
    }

    /// Cost from a place on a street; `from_end` is what [`Label::from_end_of`] said of that street.
    #[must_use]
    pub fn from(&self, network: &Network, metric: &Metric, start: Start, from_end: Cost) -> Cost {
        let Some(street) = network.street(start.street) else { return Cost::FAR };
        let (whole_ms, drive_ms) = (metric.street_ms(start.street), metric.driving_ms(network, start.street));
        let left = (1.0 - start.offset_m / street.length_m).clamp(0.0, 1.0);
        let rest_ms = (drive_ms as f32 * left) as u32 + (whole_ms - drive_ms);
        let through = Cost {
            ms: from_end.ms.saturating_add(rest_ms).min(FAR),
            dm: from_end.dm.saturating_add((street.length_m * left * 10.0) as u32),
        };
        let ahead = self.goal.spots.iter().find(|(id, offset_m)| *id == start.street && *offset_m >= start.offset_m);
        match ahead {
            Some((_, offset_m)) => {
                let way_m = offset_m - start.offset_m;
                let direct = Cost { ms: (drive_ms as f32 * way_m / street.length_m) as u32, dm: (way_m * 10.0) as u32 };
                if direct.ms <= through.ms { direct } else { through }
            }
            None => through,
        }
    }
}

impl Metric {
    /// Time of a street without its junction, in ms.
    pub(crate) fn driving_ms(&self, network: &Network, id: StreetId) -> u32 {
        let street = &network.streets[id.0 as usize];
        let whole = u64::from(self.street_ms[id.0 as usize]);
        (whole * u64::from(street.drive_ms) / u64::from(street.free_ms().max(1))) as u32
    }
}
