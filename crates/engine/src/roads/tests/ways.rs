//! Shortest ways against Dijkstra's algorithm over streets, with the restrictions as the extract says them.

use std::collections::{BTreeMap, BinaryHeap};

use proptest::prelude::*;

use super::town::{Dice, Sketch, anywhere};
use crate::roads::label::Cost;
use crate::roads::{Climb, Goal, Label, Metric, Network, Start, StreetId};

/// Which street may follow which, by the sketch alone: ends are told apart by their places.
struct Turns {
    follows: Vec<Vec<u32>>,
}

/// Beginning and end of a street, as nodes of the sketch.
type Ends = (usize, usize);

impl Turns {
    fn of(sketch: &Sketch, network: &Network) -> Self {
        let node_at: BTreeMap<[i32; 2], usize> =
            sketch.places.iter().enumerate().map(|(index, place)| (*place, index)).collect();
        let ends: Vec<Ends> = (0..network.streets().len() as u32)
            .map(|id| {
                let line = network.line(StreetId(id));
                let node = |at: usize| node_at[&[line[at].lat_e7(), line[at].lon_e7()]];
                (node(0), node(line.len() - 1))
            })
            .collect();
        let street = |id: u32| network.street(StreetId(id)).unwrap();
        let all = 0..ends.len() as u32;
        let follows = all.clone().map(|from| {
            let via = ends[from as usize].1;
            all.clone()
                // At a barrier one can but turn back.
                .filter(|to| {
                    let turns_back = network.reverse(StreetId(from)) == Some(StreetId(*to));
                    ends[*to as usize].0 == via && (!sketch.barred[via] || turns_back)
                })
                .filter(|to| {
                    let back = ends[*to as usize].1 == ends[from as usize].0;
                    sketch.barred[via] || allowed(sketch, street(from).way, via, street(*to).way, back)
                })
                .collect()
        });
        Self { follows: follows.collect() }
    }

    /// The fastest ways from the end of `start` to the goal, over whole streets and a part of the last.
    fn dijkstra(&self, network: &Network, metric: &Metric, start: StreetId, goal: &Goal) -> Option<Fastest> {
        let mut fastest: Vec<Option<Fastest>> = vec![None; self.follows.len()];
        let mut heap = BinaryHeap::from([(std::cmp::Reverse(0_u64), start.0, Fastest::default())]);
        let mut best = None;
        while let Some((_, ended, so_far)) = heap.pop() {
            for next in &self.follows[ended as usize] {
                for (id, offset_m) in goal.spots.iter().filter(|(id, _)| id.0 == *next) {
                    let share = (offset_m / network.street(*id).unwrap().length_m).clamp(0.0, 1.0);
                    let ms = u64::from((metric.driving_ms(network, *id) as f32 * share) as u32);
                    so_far.and(ms, *offset_m).offer_to(&mut best);
                }
                let street = StreetId(*next);
                let length_m = network.street(street).unwrap().length_m;
                let there = so_far.and(u64::from(metric.street_ms(street)), length_m);
                if there.offer_to(&mut fastest[*next as usize]) {
                    let known = fastest[*next as usize].expect("just offered");
                    heap.push((std::cmp::Reverse(known.ms), *next, known));
                }
            }
        }
        best
    }
}

/// All ways of the least time between two places. Times are whole milliseconds, so that two of them may tie, and any of those
/// is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fastest {
    ms: u64,
    /// Length of the shortest of them, in decimetres cut off street by street.
    least_dm: u64,
    /// Length of the longest of them.
    most_dm: u64,
}

impl Fastest {
    fn and(self, ms: u64, length_m: f32) -> Self {
        let dm = (length_m * 10.0) as u64;
        Self { ms: self.ms + ms, least_dm: self.least_dm + dm, most_dm: self.most_dm + dm }
    }

    /// Whether `known` learnt something by it.
    fn offer_to(self, known: &mut Option<Self>) -> bool {
        let before = *known;
        *known = match before {
            Some(other) if other.ms < self.ms => before,
            Some(other) if other.ms == self.ms => Some(Self {
                ms: self.ms,
                least_dm: self.least_dm.min(other.least_dm),
                most_dm: self.most_dm.max(other.most_dm),
            }),
            _ => Some(self),
        };
        *known != before
    }
}

fn allowed(sketch: &Sketch, from: i64, via: usize, to: i64, ends_where_it_came_from: bool) -> bool {
    let turns = || sketch.turns.iter().filter(|turn| turn.via == via && Sketch::way_id(turn.from) == from);
    let back = from == to && ends_where_it_came_from;
    if turns().any(|turn| !turn.only && Sketch::way_id(turn.to) == to) && (from != to || back) {
        return false;
    }
    let leaves = |way: usize| {
        let nodes = &sketch.ways[way].nodes;
        let (forward, backward) = sketch.ways[way].open;
        nodes
            .iter()
            .enumerate()
            .any(|(at, node)| *node == via && (forward && at + 1 < nodes.len() || backward && at > 0))
    };
    let must: Vec<i64> = turns().filter(|turn| turn.only).map(|turn| Sketch::way_id(turn.to)).collect();
    let usable = turns().any(|turn| turn.only && leaves(turn.to));
    !usable || must.contains(&to) && !(back && must.len() == 1)
}

/// A place on a street that leads somewhere and back, as a goal.
fn any_goal(network: &Network, dice: &mut Dice) -> Option<Goal> {
    let core: Vec<u32> =
        (0..network.streets().len() as u32).filter(|id| network.streets()[*id as usize].core).collect();
    let id = StreetId(core[dice.below(core.len())]);
    let length_m = network.street(id)?.length_m;
    network.goal(network.place(id, length_m * dice.between(0.0, 1.0) as f32))
}

fn check_ways(network: &Network, metric: &Metric, turns: &Turns, dice: &mut Dice) -> Result<(), TestCaseError> {
    let Some(goal) = any_goal(network, dice) else {
        return Err(TestCaseError::fail("a place on a street has no street"));
    };
    let label = Label::new(network, metric, goal.clone());
    let mut room = Climb::default();
    let mut starts = Vec::new();
    for id in 0..network.streets().len() as u32 {
        let street = *network.street(StreetId(id)).unwrap();
        let start = Start { street: StreetId(id), offset_m: street.length_m * dice.between(0.0, 1.0) as f32 };
        let end = label.from_end_of(network, metric, start.street, &mut room);
        let slow = turns.dijkstra(network, metric, start.street, &goal);
        prop_assert_eq!(
            (!end.is_far()).then_some(u64::from(end.ms)),
            slow.map(|ways| ways.ms),
            "from the end of {}",
            id
        );
        prop_assert!(
            slow.is_none_or(|ways| (ways.least_dm..=ways.most_dm).contains(&u64::from(end.dm))),
            "{end:?} from the end of {id}, {slow:?}"
        );
        let cost = label.from(network, metric, start, end);
        let spread_m = slow.map_or(0.0, |ways| (ways.most_dm - ways.least_dm) as f64 / 10.0);
        check_route(network, metric, turns, start, &goal, cost, spread_m)?;
        starts.push((start, cost));
    }
    let only: Vec<Start> = starts.iter().map(|(start, _)| *start).collect();
    let together = network.many_to_one(metric, &only, &goal);
    for ((_, cost), one) in starts.iter().zip(together) {
        prop_assert_eq!((!cost.is_far()).then_some((cost.ms, f64::from(cost.dm) / 10.0)), one);
    }
    Ok(())
}

/// The route takes the time told and is as long as told, but for `spread_m`: it may be another of the fastest ways.
fn check_route(
    network: &Network,
    metric: &Metric,
    turns: &Turns,
    start: Start,
    goal: &Goal,
    cost: Cost,
    spread_m: f64,
) -> Result<(), TestCaseError> {
    let Some(route) = network.route(metric, start, goal) else {
        prop_assert!(cost.is_far());
        return Ok(());
    };
    prop_assert_eq!(route.ms, cost.ms);
    prop_assert_eq!(route.streets[0], start.street);
    for pair in route.streets.windows(2) {
        prop_assert!(turns.follows[pair[0].0 as usize].contains(&pair[1].0), "{:?}", pair);
    }
    let last = *route.streets.last().unwrap();
    prop_assert!(goal.spots.iter().any(|(id, offset_m)| *id == last && *offset_m == route.to_m));
    // The time again, street by street.
    let driven = |id: StreetId, share: f32| u64::from((metric.driving_ms(network, id) as f32 * share) as u32);
    let length = |id: StreetId| network.street(id).unwrap().length_m;
    let first = start.street;
    let ms = if route.streets.len() == 1 {
        let share_m = route.to_m - route.from_m;
        u64::from((metric.driving_ms(network, first) as f32 * share_m / length(first)) as u32)
    } else {
        let left = (1.0 - start.offset_m / length(first)).clamp(0.0, 1.0);
        let junction = u64::from(metric.street_ms(first) - metric.driving_ms(network, first));
        let inner = &route.streets[1..route.streets.len() - 1];
        driven(first, left)
            + junction
            + inner.iter().map(|id| u64::from(metric.street_ms(*id))).sum::<u64>()
            + driven(last, (route.to_m / length(last)).clamp(0.0, 1.0))
    };
    prop_assert_eq!(u64::from(route.ms), ms);
    // Decimetres are cut off street by street.
    let slack_m = spread_m + 0.11 * (route.streets.len() + 1) as f64;
    let told_m = f64::from(cost.dm) / 10.0;
    prop_assert!((route.length_m - told_m).abs() <= slack_m, "{} {}", route.length_m, told_m);
    // The line begins and ends where it should, and is as long as the route.
    let (points, begins) = network.route_line(&route);
    prop_assert_eq!(begins.len(), route.streets.len());
    prop_assert!(begins.iter().all(|at| *at < points.len()) && begins.is_sorted());
    prop_assert!(points[0].distance_m(network.place(first, start.offset_m)) < 0.1);
    prop_assert!(points[points.len() - 1].distance_m(network.place(last, route.to_m)) < 0.1);
    let line_m: f64 = points.windows(2).map(|pair| pair[0].distance_m(pair[1])).sum();
    let tolerance_m = 0.005 * route.length_m + 0.2 * route.streets.len() as f64;
    prop_assert!((line_m - route.length_m).abs() <= tolerance_m, "{} {}", line_m, route.length_m);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn ways_are_the_shortest_that_are_allowed_whatever_the_times(seed in any::<u64>(), across in 2_usize..5) {
        let mut dice = Dice::new(seed);
        let sketch = Sketch::hard(anywhere(&mut dice), across, &mut dice);
        let Some(network) = sketch.network(&mut dice) else { return Ok(()) };
        let turns = Turns::of(&sketch, &network);
        let mut metric = Metric::free(&network);
        check_ways(&network, &metric, &turns, &mut dice)?;
        for number in 1..3 {
            metric.reweight(&network, number, |_, street| street.free_ms() / 4 + dice.below(60_000) as u32);
            check_ways(&network, &metric, &turns, &mut dice)?;
        }
    }

    #[test]
    fn streets_of_the_core_reach_each_other(seed in any::<u64>(), across in 2_usize..5) {
        let mut dice = Dice::new(seed);
        let sketch = Sketch::hard(anywhere(&mut dice), across, &mut dice);
        let Some(network) = sketch.network(&mut dice) else { return Ok(()) };
        let metric = Metric::free(&network);
        let core: Vec<u32> = (0..network.streets().len() as u32).filter(|id| network.streets()[*id as usize].core).collect();
        for to in &core {
            let goal = Goal { place: network.place(StreetId(*to), 0.0), access_m: 0.0, spots: [(StreetId(*to), 0.0)].into_iter().collect() };
            let starts: Vec<Start> = core.iter().map(|from| Start { street: StreetId(*from), offset_m: 0.0 }).collect();
            for (from, cost) in core.iter().zip(network.many_to_one(&metric, &starts, &goal)) {
                prop_assert!(cost.is_some(), "no way from {} to {}", from, to);
            }
        }
    }
}
