//! The way itself: which streets the shortest time goes over.

use super::label::{Cost, Goal, Start};
use super::metric::{FAR, Metric, STREET};
use super::network::NONE;
use super::{Network, StreetId};
use crate::Position;

/// A way over the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Streets in order. The first is left at its end, the last is left at the goal's place on it.
    pub streets: Vec<StreetId>,
    /// Metres along the first street at which it begins.
    pub from_m: f32,
    /// Metres along the last street at which it ends.
    pub to_m: f32,
    /// Time in ms.
    pub ms: u32,
    /// Length in metres.
    pub length_m: f64,
}

/// Costs and predecessors of one side of a search.
struct Side<'a> {
    network: &'a Network,
    ms: Vec<u32>,
    /// Junction and arc from which a junction, by depth, was reached.
    from: Vec<(u32, u32)>,
}

impl<'a> Side<'a> {
    fn climb(network: &'a Network, costs: &super::metric::Costs, junction: u32, first_ms: u32) -> Self {
        let hierarchy = &network.hierarchy;
        let depth = |v: u32| usize::from(hierarchy.depth[v as usize]);
        let len = depth(junction) + 1;
        let mut side = Self { network, ms: vec![FAR; len], from: vec![(NONE, NONE); len] };
        side.ms[len - 1] = first_ms;
        let mut v = junction;
        while v != NONE {
            let ms = side.ms[depth(v)];
            for arc in hierarchy.up(v) {
                let at = depth(hierarchy.up_head[arc]);
                if ms < FAR && ms + costs.ms[arc] < side.ms[at] {
                    side.ms[at] = ms + costs.ms[arc];
                    side.from[at] = (v, arc as u32);
                }
            }
            v = hierarchy.parent(v);
        }
        side
    }

    /// Arcs from the deepest junction up to the one at `depth`, top first.
    fn arcs_down_from(&self, mut depth: usize) -> Vec<u32> {
        let mut arcs = Vec::new();
        while self.from[depth].0 != NONE {
            let (v, arc) = self.from[depth];
            arcs.push(arc);
            depth = usize::from(self.network.hierarchy.depth[v as usize]);
        }
        arcs
    }
}

impl Network {
    /// The quickest way from a place on a street to a goal; `None` if there is none. About 100 us; allocates.
    #[must_use]
    pub fn route(&self, metric: &Metric, start: Start, goal: &Goal) -> Option<Route> {
        let label = super::Label::new(self, metric, goal.clone());
        let end = label.from_end_of(self, metric, start.street, &mut super::Climb::default());
        let whole = label.from(self, metric, start, end);
        if whole.is_far() {
            return None;
        }
        let direct = goal.spots.iter().find(|(id, offset_m)| *id == start.street && *offset_m >= start.offset_m);
        if let Some((_, to_m)) = direct
            && self.direct_ms(metric, start, *to_m) <= whole.ms
        {
            return Some(self.measured(vec![start.street], start.offset_m, *to_m, whole.ms));
        }
        let street = self.street(start.street)?;
        let there = Side::climb(self, &metric.up, street.head, 0);
        let mut best: Option<(u32, usize, Side<'_>, (StreetId, f32))> = None;
        for (id, offset_m) in &goal.spots {
            let share = (offset_m / self.streets[id.0 as usize].length_m).clamp(0.0, 1.0);
            let last_ms = (metric.driving_ms(self, *id) as f32 * share) as u32;
            for tail in self.tails(*id) {
                let Some(ancestor) = self.hierarchy.common_ancestor(street.head, tail) else { continue };
                let back = Side::climb(self, &metric.down, tail, last_ms);
                let depths = 0..=usize::from(self.hierarchy.depth[ancestor as usize]);
                let Some(meeting) = depths.min_by_key(|depth| there.ms[*depth] + back.ms[*depth]) else { continue };
                let ms = there.ms[meeting] + back.ms[meeting];
                if ms < FAR && best.as_ref().is_none_or(|(known, ..)| ms < *known) {
                    best = Some((ms, meeting, back, (*id, *offset_m)));
                }
            }
        }
        let (_, meeting, back, (last, to_m)) = best?;
        let mut streets = vec![start.street];
        for arc in there.arcs_down_from(meeting).into_iter().rev() {
            self.unpack(metric, arc, true, &mut streets);
        }
        for arc in back.arcs_down_from(meeting) {
            self.unpack(metric, arc, false, &mut streets);
        }
        streets.push(last);
        Some(self.measured(streets, start.offset_m, to_m, whole.ms))
    }

    fn direct_ms(&self, metric: &Metric, start: Start, to_m: f32) -> u32 {
        let length_m = self.streets[start.street.0 as usize].length_m;
        (metric.driving_ms(self, start.street) as f32 * (to_m - start.offset_m) / length_m) as u32
    }

    fn measured(&self, streets: Vec<StreetId>, from_m: f32, to_m: f32, ms: u32) -> Route {
        let whole: f64 = streets.iter().map(|id| f64::from(self.streets[id.0 as usize].length_m)).sum();
        let last_m = streets.last().map_or(0.0, |id| f64::from(self.streets[id.0 as usize].length_m));
        let length_m = (whole - f64::from(from_m) - (last_m - f64::from(to_m))).max(0.0);
        Route { streets, from_m, to_m, ms, length_m }
    }

    /// Appends the streets under an arc, travelled up (from tail to head) or down.
    fn unpack(&self, metric: &Metric, arc: u32, up: bool, streets: &mut Vec<StreetId>) {
        let mut todo = vec![(arc, up)];
        while let Some((arc, up)) = todo.pop() {
            let costs = if up { &metric.up } else { &metric.down };
            let via = costs.via[arc as usize];
            if via == NONE {
                continue;
            }
            if via & STREET != 0 {
                streets.push(StreetId(via & !STREET));
                continue;
            }
            let (low, high) = (self.hierarchy.arc_tail[arc as usize], self.hierarchy.up_head[arc as usize]);
            let (first, second) = if up { (low, high) } else { (high, low) };
            // Down to the junction between, and up from it.
            if let (Some(down), Some(on)) = (self.hierarchy.arc(via, first), self.hierarchy.arc(via, second)) {
                todo.push((on, true));
                todo.push((down, false));
            }
        }
    }

    /// Points of a route in order, and for each street the index of its first point.
    #[must_use]
    pub fn route_line(&self, route: &Route) -> (Vec<Position>, Vec<usize>) {
        let (mut points, mut begins) = (Vec::new(), Vec::with_capacity(route.streets.len()));
        let last = route.streets.len().saturating_sub(1);
        for (index, id) in route.streets.iter().enumerate() {
            let street = &self.streets[id.0 as usize];
            let from_m = if index == 0 { route.from_m } else { 0.0 };
            let to_m = if index == last { route.to_m } else { street.length_m };
            begins.push(points.len().saturating_sub(usize::from(index > 0)));
            self.append_piece(*id, from_m, to_m, &mut points);
        }
        (points, begins)
    }

    /// Points of a street between two offsets, without the first if it repeats the last there is.
    fn append_piece(&self, id: StreetId, from_m: f32, to_m: f32, points: &mut Vec<Position>) {
        let street = &self.streets[id.0 as usize];
        let range = self.shape(street.shape);
        let mut push = |place: Position| {
            if points.last() != Some(&place) {
                points.push(place);
            }
        };
        push(self.place_on(id, from_m).0);
        let mut inner = |at: usize| {
            let along = self.along_m[at];
            let offset_m = if street.against { street.length_m - along } else { along };
            if offset_m > from_m && offset_m < to_m {
                let [lat, lon] = self.points[at];
                push(super::geometry::position(lat, lon));
            }
        };
        if street.against {
            range.rev().for_each(&mut inner)
        } else {
            range.for_each(&mut inner)
        }
        push(self.place_on(id, to_m).0);
    }

    /// Time in ms and way in metres from each start to the goal; `None` where there is no way. One label and a climb each:
    /// which of many couriers is nearest by road.
    #[must_use]
    pub fn many_to_one(&self, metric: &Metric, starts: &[Start], goal: &Goal) -> Vec<Option<(u32, f64)>> {
        let label = super::Label::new(self, metric, goal.clone());
        let mut room = super::Climb::default();
        let mut one = |start: &Start| {
            let end = label.from_end_of(self, metric, start.street, &mut room);
            let cost: Cost = label.from(self, metric, *start, end);
            (!cost.is_far()).then(|| (cost.ms, f64::from(cost.dm) / 10.0))
        };
        starts.iter().map(&mut one).collect()
    }
}
