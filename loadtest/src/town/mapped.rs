//! A town on a real map: roads of the engine, restaurants and homes of the extract.

use wayfare_engine::roads::Profile;
use wayfare_engine::{City, LocalPlane, Position, Vehicle};

use super::{Flat, Place, Route, Spot, Town};

/// Restaurants and homes of the demonstration.
const STORES: usize = 12;
const HOMES: usize = 160;
/// They lie within this distance of the middle of its restaurants, metres: couriers should meet.
const REACH_M: f64 = 1_800.0;

/// What is drawn around it: houses and parks, and roads somewhat farther, where couriers may be sent around.
const DRAWN_M: f64 = 2_500.0;
const ROADS_DRAWN_M: f64 = 5_000.0;

/// What is known of a real town.
#[derive(Clone, Debug)]
pub struct MapOfTown {
    /// Its name, for the log.
    pub name: String,
    /// Roads, one network for each profile; those of cars and bicycles are used.
    pub cities: Vec<City>,
    /// Restaurants and the like, with their names.
    pub eateries: Vec<(String, Position)>,
    /// Middles of streets that have a name.
    pub streets: Vec<(String, Position)>,
    /// Outlines to be drawn: water, green and houses, with the word for each.
    pub shapes: Vec<(&'static str, Vec<Position>)>,
}

/// Why a map makes no town.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTown {
    /// Nowhere to fetch an order from.
    #[error("the extract has no restaurant or café with a name near a road; choose one of a town")]
    NoStores,
    /// Nobody to bring it to.
    #[error("the extract has no named street near its restaurants; choose one of a town")]
    NoHomes,
}

pub(super) fn settle(mut map: MapOfTown, seed: u64) -> Result<Town, NoTown> {
    let mut random = fastrand::Rng::with_seed(seed);
    // All vehicles must get there, and away again.
    let reachable =
        |at: &Position| map.cities.iter().all(|city| city.network.goal(*at).is_some_and(|goal| goal.access_m < 60.0));
    let eateries: Vec<&(String, Position)> = map.eateries.iter().filter(|(_, at)| reachable(at)).collect();
    let middle = middle(&eateries.iter().map(|(_, at)| *at).collect::<Vec<_>>()).ok_or(NoTown::NoStores)?;
    let near = |at: &Position| at.distance_m(middle) < REACH_M;
    let plane = LocalPlane::at(middle);
    let spot = |at: Position| {
        let (east_m, north_m) = plane.flat(at);
        Spot::At(Flat { east_m, north_m })
    };
    let mut stores: Vec<Place> = eateries
        .iter()
        .filter(|(_, at)| near(at))
        .map(|(name, at)| Place { name: name.clone(), spot: spot(*at) })
        .collect();
    random.shuffle(&mut stores);
    stores.truncate(STORES);
    let mut homes: Vec<Place> = map
        .streets
        .iter()
        .filter(|(_, at)| near(at) && reachable(at))
        .map(|(name, at)| Place { name: format!("{} {name}", 1 + random.usize(..40)), spot: spot(*at) })
        .collect();
    random.shuffle(&mut homes);
    homes.truncate(HOMES);
    if stores.is_empty() {
        return Err(NoTown::NoStores);
    }
    if homes.is_empty() {
        return Err(NoTown::NoHomes);
    }
    map.shapes.retain(|(_, ring)| ring.iter().any(|at| at.distance_m(middle) < DRAWN_M));
    Ok(Town {
        name: map.name.clone(),
        junctions: Vec::new(),
        streets: Vec::new(),
        stores,
        homes,
        areas: Vec::new(),
        ways: Vec::new(),
        plane,
        map: Some(map),
    })
}

/// The place in the middle of most others: the median of each coordinate.
fn middle(places: &[Position]) -> Option<Position> {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let lat = median(places.iter().map(|at| at.lat_deg()).collect())?;
    let lon = median(places.iter().map(|at| at.lon_deg()).collect())?;
    Position::new(lat, lon).ok()
}

impl MapOfTown {
    /// Over roads from door to door; as the crow flies where no road leads there.
    pub(super) fn route(&self, town: &Town, from: &Place, to: &Place, vehicle: Vehicle) -> Route {
        let (start, end) = (town.spot(from), town.spot(to));
        let profile = Profile::of(vehicle);
        let over_roads = self.cities.iter().find(|city| city.network.profile() == profile).and_then(
            |City { network, metric, .. }| {
                let goal = network.goal(town.position(end))?;
                let starts = network.starts(town.position(start), None);
                let routes = starts.iter().filter_map(|start| network.route(metric, *start, &goal));
                let route = routes.min_by_key(|route| route.ms)?;
                let (line, begins) = network.route_line(&route);
                let flat = |at: &Position| {
                    let (east_m, north_m) = town.plane.flat(*at);
                    Flat { east_m, north_m }
                };
                let mut points = vec![start];
                points.extend(line.iter().map(flat));
                points.push(end);
                let mut junctions = vec![false; points.len()];
                begins.iter().skip(1).for_each(|begin| junctions[begin + 1] = true);
                Some(Route::along(points, junctions))
            },
        );
        over_roads.unwrap_or_else(|| Route::along(vec![start, end], vec![false; 2]))
    }

    /// Whether a road is near enough to be drawn.
    pub(super) fn draws(&self, town: &Town, line: &[Position]) -> bool {
        let middle = town.position(Flat::default());
        line.iter().any(|at| at.distance_m(middle) < ROADS_DRAWN_M)
    }

    /// Whom the roads belong to.
    pub(super) fn attribution(&self) -> &str {
        self.cities.first().map_or("", |city| city.network.attribution())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use std::sync::Arc;

    use wayfare_engine::roads::{Extract, Network, OsmNode, OsmWay};

    use super::*;

    fn place(east_m: f64, north_m: f64) -> Position {
        Position::new(43.73, 7.42).unwrap().offset(east_m, north_m)
    }

    /// Streets every 200 m, six each way.
    fn map() -> MapOfTown {
        let mut extract = Extract::new();
        let id = |x: i64, y: i64| 1 + x * 10 + y;
        for line in 0..6_i64 {
            let along: Vec<i64> = (0..6).map(|at| id(line, at)).collect();
            let across: Vec<i64> = (0..6).map(|at| id(at, line)).collect();
            extract.add_way(&OsmWay { id: 100 + line, nodes: &along, tags: &[("highway", "residential")] });
            extract.add_way(&OsmWay { id: 200 + line, nodes: &across, tags: &[("highway", "residential")] });
        }
        for x in 0..6 {
            for y in 0..6 {
                let at = place(x as f64 * 200.0, y as f64 * 200.0);
                extract.add_node(&OsmNode { id: id(x, y), lat_e7: at.lat_e7(), lon_e7: at.lon_e7(), tags: &[] });
            }
        }
        let network = |profile| {
            let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
            City::new(Arc::new(Network::build(&extract, profile, "somebody", 0, order).unwrap().0))
        };
        MapOfTown {
            name: "grid".into(),
            cities: vec![network(Profile::Car), network(Profile::Bicycle)],
            eateries: vec![("Chez Test".into(), place(100.0, 8.0)), ("Far out".into(), place(90_000.0, 0.0))],
            streets: (0..6).map(|line| (format!("Rue {line}"), place(500.0, f64::from(line) * 200.0))).collect(),
            shapes: Vec::new(),
        }
    }

    #[test]
    fn couriers_ride_on_the_streets_of_the_map_from_door_to_door() {
        let town = Town::on_map(map(), 3).unwrap();
        assert_eq!((town.stores.len(), town.homes.len()), (1, 6), "a restaurant without a road is none");
        for home in &town.homes {
            let route = town.route(&town.stores[0], home, Vehicle::Motorbike);
            assert_eq!(route.points.first(), Some(&town.spot(&town.stores[0])));
            assert_eq!(route.points.last(), Some(&town.spot(home)));
            let on_street = |at: &Flat| {
                let from = town.plane.flat(place(0.0, 0.0));
                let off = |value: f64| (value.rem_euclid(200.0)).min(200.0 - value.rem_euclid(200.0));
                off(at.east_m - from.0) < 0.5 || off(at.north_m - from.1) < 0.5
            };
            assert!(route.points[1..route.points.len() - 1].iter().all(on_street), "{route:?}");
            assert_eq!(route.points.len(), route.junctions.len());
        }
        assert_eq!(Town::on_map(map(), 3).unwrap().homes, town.homes, "the same seed, the same town");
        let drawn = town.geojson();
        assert!(drawn.contains("\"attribution\":\"somebody\""));
        assert_eq!(
            drawn.matches("LineString").count(),
            60,
            "a road is drawn once, whichever way and by whatever one rides"
        );
    }

    #[test]
    fn a_map_without_restaurants_or_streets_makes_no_town() {
        let nobody_eats = MapOfTown { eateries: Vec::new(), ..map() };
        assert_eq!(Town::on_map(nobody_eats, 1).map(drop), Err(NoTown::NoStores));
        let nobody_lives = MapOfTown { streets: Vec::new(), ..map() };
        assert_eq!(Town::on_map(nobody_lives, 1).map(drop), Err(NoTown::NoHomes));
    }
}
