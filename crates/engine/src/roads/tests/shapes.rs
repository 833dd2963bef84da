//! Single oddities of extracts: borders, barriers, loops, ferries, forbidden turns.

use super::town::{Dice, Sketch, Turn};
use crate::Position;
use crate::roads::{BuildError, Extract, Metric, Network, Profile, Start, StreetId};

fn middle() -> Position {
    Position::new(41.15, -8.61).unwrap()
}

/// A cross of two ways, 200 m each arm: nodes 0 (middle), 1 west, 2 east, 3 south, 4 north.
fn cross() -> Sketch {
    let mut sketch = Sketch::default();
    for (east_m, north_m) in [(0.0, 0.0), (-200.0, 0.0), (200.0, 0.0), (0.0, -200.0), (0.0, 200.0)] {
        sketch.node(middle().offset(east_m, north_m));
    }
    for (end, _) in [(1, ()), (2, ()), (3, ()), (4, ())] {
        sketch.way(&[end, 0], (true, true));
    }
    sketch
}

fn build(sketch: &Sketch) -> Result<Network, BuildError> {
    let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
    Network::build(&sketch.extract(), Profile::Car, "made up", 1, order).map(|(network, _)| network)
}

fn street(network: &Network, from: [i32; 2], to: [i32; 2]) -> Option<StreetId> {
    let e7 = |place: &Position| [place.lat_e7(), place.lon_e7()];
    (0..network.streets().len() as u32).map(StreetId).find(|id| {
        let line = network.line(*id);
        e7(&line[0]) == from && e7(&line[line.len() - 1]) == to
    })
}

/// Streets of the way from the beginning of one street to the end of another, without the two.
fn between(sketch: &Sketch, network: &Network, (a, b): (usize, usize), (c, d): (usize, usize)) -> Option<usize> {
    let id = |from: usize, to: usize| street(network, sketch.places[from], sketch.places[to]).unwrap();
    let goal = crate::roads::Goal { place: middle(), access_m: 0.0, spots: [(id(c, d), 100.0)].into_iter().collect() };
    let route = network.route(&Metric::free(network), Start { street: id(a, b), offset_m: 50.0 }, &goal)?;
    Some(route.streets.len() - 2)
}

#[track_caller]
fn check_turn(turns: &[Turn], from: usize, to: usize, allowed: bool) {
    let mut sketch = cross();
    sketch.turns = turns.to_vec();
    let network = build(&sketch).unwrap();
    let direct = between(&sketch, &network, (from, 0), (0, to)) == Some(0);
    assert_eq!(direct, allowed, "from {from} to {to}");
}

#[test]
fn forbidden_turns_are_gone_around_and_the_only_one_is_taken() {
    let turn = |from: usize, to: usize, only| Turn { from: from - 1, via: 0, to: to - 1, only };
    check_turn(&[], 1, 4, true);
    check_turn(&[turn(1, 4, false)], 1, 4, false);
    check_turn(&[turn(1, 4, false)], 1, 2, true);
    check_turn(&[turn(1, 4, false)], 2, 4, true);
    check_turn(&[turn(1, 2, true)], 1, 2, true);
    check_turn(&[turn(1, 2, true)], 1, 4, false);
    check_turn(&[turn(1, 2, true)], 3, 4, true);
    check_turn(&[turn(1, 4, false), turn(1, 2, false), turn(1, 3, false)], 1, 3, false);
    check_turn(&[turn(1, 1, false)], 1, 1, false);
}

#[test]
fn a_barrier_parts_a_street_and_walkers_pass() {
    let mut sketch = Sketch::grid(middle(), 3, 150.0, 0.0, &mut Dice::new(1));
    // The middle of the town is shut: through it there is no way, around it there is.
    sketch.barred[4] = true;
    let network = build(&sketch).unwrap();
    assert_eq!(between(&sketch, &network, (3, 4), (4, 5)), Some(6), "back, around three corners and in again");
    let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
    let (on_foot, _) = Network::build(&sketch.extract(), Profile::Foot, "made up", 1, order).unwrap();
    assert_eq!(between(&sketch, &on_foot, (3, 4), (4, 5)), Some(0));
}

#[test]
fn a_way_that_leaves_the_extract_is_kept_as_far_as_it_is_known() {
    let mut sketch = cross();
    let far: Vec<usize> =
        (1..=4).map(|step| sketch.node(middle().offset(200.0 + f64::from(step) * 100.0, 0.0))).collect();
    sketch.way(&[2, far[0], far[1], far[2], far[3]], (true, true));
    sketch.missing[far[2]] = true;
    let network = build(&sketch).unwrap();
    let kept = street(&network, sketch.places[2], sketch.places[far[1]]).expect("up to the last node there is");
    assert!((network.street(kept).unwrap().length_m - 200.0).abs() < 1.0);
    // Where it comes in again nothing else is connected.
    assert!(
        (0..network.streets().len() as u32)
            .all(|id| { network.line(StreetId(id)).iter().all(|place| place.distance_m(middle()) < 450.0) })
    );
    // Missing at its beginning.
    sketch.missing[far[2]] = false;
    let start = sketch.node(middle().offset(0.0, 900.0));
    let inner = sketch.node(middle().offset(0.0, 500.0));
    sketch.way(&[start, inner, 4], (true, true));
    sketch.missing[start] = true;
    let network = build(&sketch).unwrap();
    assert!(street(&network, sketch.places[inner], sketch.places[4]).is_some());
    assert!(street(&network, sketch.places[2], sketch.places[far[3]]).is_some());
}

#[test]
fn a_way_without_any_node_in_the_extract_is_nothing() {
    let mut sketch = cross();
    let (a, b) = (sketch.node(middle()), sketch.node(middle()));
    sketch.way(&[a, b], (true, true));
    (sketch.missing[a], sketch.missing[b]) = (true, true);
    assert_eq!(build(&sketch).unwrap().streets().len(), 8);
    sketch.missing.fill(true);
    let refused = build(&sketch).unwrap_err();
    assert_eq!(refused, BuildError::NoRoads { profile: "car", ways: 5 });
    assert_eq!(refused.to_string(), "the extract has no roads for profile car: 5 ways were read");
    assert_eq!(
        Network::build(&Extract::new(), Profile::Foot, "", 0, |_, _| Vec::new()).unwrap_err().to_string(),
        "the extract has no roads for profile foot: 0 ways were read"
    );
}

#[test]
fn a_loop_back_to_its_beginning_can_be_driven_into_and_out_of() {
    let mut sketch = cross();
    let (a, b) = (sketch.node(middle().offset(300.0, 100.0)), sketch.node(middle().offset(300.0, -100.0)));
    sketch.way(&[2, a, b, 2], (true, false));
    // A way that repeats a node, and one of no length.
    sketch.way(&[3, 3], (true, true));
    let twin = sketch.node(middle().offset(0.0, 200.0));
    sketch.way(&[4, twin], (true, true));
    let network = build(&sketch).unwrap();
    let own = street(&network, sketch.places[2], sketch.places[2]).unwrap();
    assert!(network.street(own).unwrap().core);
    let goal = network.goal(middle().offset(300.0, 0.0)).unwrap();
    assert_eq!(goal.spots[0].0, own);
    // From behind the goal on the loop itself: once around.
    let start = Start { street: own, offset_m: goal.spots[0].1 + 20.0 };
    let route = network.route(&Metric::free(&network), start, &goal).unwrap();
    assert_eq!(route.streets, [own, own]);
    assert!(network.streets().iter().all(|street| street.length_m > 0.0 && street.drive_ms > 0));
    assert_eq!(Network::decode(&network.encode()).unwrap().encode(), network.encode());
}

#[test]
fn a_roundabout_is_driven_one_way_around() {
    let mut sketch = cross();
    let ring: Vec<usize> = [(60.0, 0.0), (0.0, 60.0), (-60.0, 0.0), (0.0, -60.0)]
        .into_iter()
        .map(|(east_m, north_m)| sketch.node(middle().offset(east_m, north_m)))
        .collect();
    sketch.ways.clear();
    for (arm, at) in [(2, 0), (4, 1), (1, 2), (3, 3)] {
        sketch.way(&[arm, ring[at]], (true, true));
    }
    let around = sketch.way(&[ring[0], ring[1], ring[2], ring[3], ring[0]], (true, false));
    sketch.ways[around].more_tags = vec![("junction", "roundabout"), ("highway", "tertiary")];
    let network = build(&sketch).unwrap();
    assert_eq!(network.streets().iter().filter(|street| street.roundabout).count(), 4);
    // East to north is a quarter of it, north to east three.
    assert_eq!(between(&sketch, &network, (2, ring[0]), (ring[1], 4)), Some(1));
    assert_eq!(between(&sketch, &network, (4, ring[1]), (ring[0], 2)), Some(3));
}

#[test]
fn a_ferry_takes_as_long_as_it_says_over_all_its_pieces() {
    let mut sketch = cross();
    let (pier, island) = (sketch.node(middle().offset(1_000.0, 0.0)), sketch.node(middle().offset(4_000.0, 0.0)));
    let ferry = sketch.way(&[2, pier, island], (true, true));
    sketch.ways[ferry].more_tags = vec![("route", "ferry"), ("duration", "00:30")];
    let road = sketch.node(middle().offset(1_000.0, 300.0));
    sketch.way(&[pier, road], (true, true));
    let network = build(&sketch).unwrap();
    let ms = |a: usize, b: usize| {
        let id = street(&network, sketch.places[a], sketch.places[b]).unwrap();
        network.street(id).unwrap().drive_ms
    };
    let whole = ms(2, pier) + ms(pier, island);
    assert!((1_799_000..=1_800_000).contains(&whole), "{whole}");
    assert!(ms(pier, island) > 3 * ms(2, pier));
}

#[test]
fn a_street_over_the_antimeridian_is_short_and_its_places_lie_on_it() {
    let mut sketch = Sketch::default();
    let edge = Position::new(-17.0, 180.0).unwrap();
    let ends = [-300.0, 300.0, 900.0].map(|east_m| sketch.node(edge.offset(east_m, 0.0)));
    sketch.way(&[ends[0], ends[1]], (true, true));
    sketch.way(&[ends[1], ends[2]], (true, true));
    let network = build(&sketch).unwrap();
    let across = street(&network, sketch.places[ends[0]], sketch.places[ends[1]]).unwrap();
    assert!((network.street(across).unwrap().length_m - 600.0).abs() < 2.0);
    for step in 0..=60_u8 {
        let offset_m = f32::from(step) * 10.0;
        let place = network.place(across, offset_m);
        assert!(place.distance_m(edge.offset(f64::from(offset_m) - 300.0, 0.0)) < 2.0, "{offset_m}: {place:?}");
        assert!(network.bounds().contains(place), "{offset_m}: {place:?}");
        assert!(network.bounds().widened(500.0).contains(place.offset(0.0, 400.0)));
    }
    assert!(!network.bounds().contains(Position::new(-17.0, 0.0).unwrap()));
}

#[test]
fn an_order_that_is_none_is_refused() {
    let extract = cross().extract();
    let orders: [fn(usize) -> Vec<u32>; 4] =
        [|_| Vec::new(), |n| vec![0; n], |n| (0..n as u32 + 1).collect(), |n| (1..=n as u32).collect()];
    for order in orders {
        let built = Network::build(&extract, Profile::Car, "", 0, |places, _| order(places.len()));
        assert_eq!(built.unwrap_err(), BuildError::BadOrder);
    }
}
