//! The best way from one address to another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Flat, Place, Spot, StreetKind, Town};

/// A way through the town.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// From the start to the end, at least one point.
    pub points: Vec<Flat>,
    /// Which of the points are junctions, where one may have to wait.
    pub junctions: Vec<bool>,
    /// Its length in metres.
    pub length_m: f64,
}

impl Route {
    fn through(points: Vec<Flat>) -> Self {
        let junctions = vec![true; points.len()];
        Self::along(points, junctions)
    }

    pub(super) fn along(points: Vec<Flat>, junctions: Vec<bool>) -> Self {
        let steps = points.windows(2);
        let length_m = steps.map(|step| step[0].distance_m(step[1])).sum();
        Self { points, junctions, length_m }
    }
}

/// Side streets feel this much longer than they are: riders prefer main roads.
const SIDE_STREET: f64 = 1.15;

/// Dijkstra's algorithm from both ends of the first street to both ends of the last.
pub(super) fn find(town: &Town, from: &Place, to: &Place) -> Route {
    let (start, end) = (town.spot(from), town.spot(to));
    let (Spot::OnStreet { street: begins, .. }, Spot::OnStreet { street: ends, .. }) = (from.spot, to.spot) else {
        return Route::through(vec![start, end]);
    };
    if begins == ends {
        return Route::through(vec![start, end]);
    }
    let (first, last) = (&town.streets[begins], &town.streets[ends]);
    let count = town.junctions.len();
    let (mut best_m, mut came_from) = (vec![f64::INFINITY; count], vec![None; count]);
    let mut open = BinaryHeap::new();
    for junction in [first.from, first.to] {
        best_m[junction] = start.distance_m(town.junctions[junction]);
        open.push((Reverse(Cost(best_m[junction])), junction));
    }
    while let Some((Reverse(Cost(cost_m)), here)) = open.pop() {
        if cost_m > best_m[here] {
            continue;
        }
        for &(there, street) in &town.ways[here] {
            let street = &town.streets[street];
            let factor = match street.kind {
                StreetKind::Street => SIDE_STREET,
                StreetKind::Main | StreetKind::Bridge => 1.0,
            };
            let through_m = cost_m + factor * town.length_m(street);
            if through_m < best_m[there] {
                (best_m[there], came_from[there]) = (through_m, Some(here));
                open.push((Reverse(Cost(through_m)), there));
            }
        }
    }
    let whole_m = |junction: usize| best_m[junction] + town.junctions[junction].distance_m(end);
    let mut junction = if whole_m(last.from) <= whole_m(last.to) { last.from } else { last.to };
    let mut points = vec![end, town.junctions[junction]];
    while let Some(before) = came_from[junction] {
        points.push(town.junctions[before]);
        junction = before;
    }
    points.push(start);
    points.reverse();
    Route::through(points)
}

/// A distance in metres that is never NaN, in the order of its size.
#[derive(Clone, Copy, PartialEq)]
struct Cost(f64);

impl Eq for Cost {}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cost {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
