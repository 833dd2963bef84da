//! Towns made up by dice: a grid with one-way streets, parallel ones, loops, dead ends, barriers and forbidden turns.

use crate::Position;
use crate::roads::{Extract, Network, OsmNode, OsmRelation, OsmWay, Profile, RelationMember};

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % most as u64) as usize
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.below(1 << 20) as f64 / f64::from(1 << 20) * (high - low)
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// About as many metres off as a phone's fix.
    pub(crate) fn noise_m(&mut self, sigma_m: f64) -> f64 {
        (0..4).map(|_| self.between(-1.0, 1.0)).sum::<f64>() * sigma_m * 0.87
    }
}

/// Somewhere on the globe, often at its edges.
pub(crate) fn anywhere(dice: &mut Dice) -> Position {
    let lat = [0.0, 41.15, -84.0, 84.0, 66.5][dice.below(5)] + dice.between(-0.5, 0.5);
    let lon = [179.999, -179.999, 0.0, -8.61, 100.0][dice.below(5)] + dice.between(-0.000_9, 0.000_9);
    Position::new(lat, lon).unwrap()
}

#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Indices of nodes.
    pub(crate) nodes: Vec<usize>,
    /// May it be driven forwards, backwards?
    pub(crate) open: (bool, bool),
    pub(crate) more_tags: Vec<(&'static str, &'static str)>,
}

/// A turn from a way over a node to a way, by their indices: forbidden, or the only one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) from: usize,
    pub(crate) via: usize,
    pub(crate) to: usize,
    pub(crate) only: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sketch {
    pub(crate) places: Vec<[i32; 2]>,
    pub(crate) barred: Vec<bool>,
    /// Nodes that the extract lost.
    pub(crate) missing: Vec<bool>,
    pub(crate) ways: Vec<Way>,
    pub(crate) turns: Vec<Turn>,
}

impl Sketch {
    pub(crate) fn node(&mut self, place: Position) -> usize {
        self.places.push([place.lat_e7(), place.lon_e7()]);
        self.barred.push(false);
        self.missing.push(false);
        self.places.len() - 1
    }

    pub(crate) fn way(&mut self, nodes: &[usize], open: (bool, bool)) -> usize {
        self.ways.push(Way { nodes: nodes.to_vec(), open, more_tags: Vec::new() });
        self.ways.len() - 1
    }

    /// `across` times `across` crossings; the rows and columns are ways, all of them open both ways.
    pub(crate) fn grid(middle: Position, across: usize, step_m: f64, jitter_m: f64, dice: &mut Dice) -> Self {
        let mut sketch = Self::default();
        let half = (across - 1) as f64 / 2.0;
        for row in 0..across {
            for column in 0..across {
                let mut off = |at: usize| (at as f64 - half) * step_m + dice.between(-jitter_m, jitter_m);
                let (east_m, north_m) = (off(column), off(row));
                sketch.node(middle.offset(east_m, north_m));
            }
        }
        for line in 0..across {
            sketch.way(&(0..across).map(|at| line * across + at).collect::<Vec<_>>(), (true, true));
            sketch.way(&(0..across).map(|at| at * across + line).collect::<Vec<_>>(), (true, true));
        }
        sketch
    }

    /// A grid with everything that makes routing hard.
    pub(crate) fn hard(middle: Position, across: usize, dice: &mut Dice) -> Self {
        let mut sketch = Self::grid(middle, across, 120.0, 40.0, dice);
        let crossings = sketch.places.len();
        for way in &mut sketch.ways {
            way.open = [(true, true), (true, true), (true, false), (false, true)][dice.below(4)];
            if dice.once_in(3) {
                // Shorter ways: restrictions often stand where ways end.
                let from = dice.below(way.nodes.len() - 1);
                way.nodes = way.nodes.split_off(from);
            }
        }
        for _ in 0..dice.below(5) {
            let (a, b) = (dice.below(crossings), dice.below(crossings));
            let place = middle.offset(dice.between(-300.0, 300.0), dice.between(-300.0, 300.0));
            let between = sketch.node(place);
            let open = [(true, true), (true, false)][dice.below(2)];
            match dice.below(4) {
                0 => sketch.way(&[a, between, a], open),
                1 => sketch.way(&[a, between], open),
                2 => sketch.way(&[a, b], open),
                _ => sketch.way(&[a, between, b], open),
            };
        }
        // Both ends of a barrier stand at one place; at most one, in the middle of a way.
        if dice.once_in(2) {
            let node = dice.below(crossings);
            sketch.barred[node] = true;
        }
        for _ in 0..dice.below(8) {
            let via = dice.below(crossings);
            let here: Vec<usize> =
                (0..sketch.ways.len()).filter(|way| sketch.ways[*way].nodes.contains(&via)).collect();
            if !here.is_empty() {
                let (from, to) = (here[dice.below(here.len())], here[dice.below(here.len())]);
                sketch.turns.push(Turn { from, via, to, only: dice.once_in(3) });
            }
        }
        sketch
    }

    pub(crate) fn way_id(way: usize) -> i64 {
        (way as i64 + 1) * 10
    }

    pub(crate) fn extract(&self) -> Extract {
        let mut extract = Extract::new();
        for (index, way) in self.ways.iter().enumerate() {
            let nodes: Vec<i64> = way.nodes.iter().map(|node| *node as i64 + 1).collect();
            let oneway = match way.open {
                (true, true) => "no",
                (false, true) => "-1",
                _ => "yes",
            };
            let mut tags = vec![("oneway", oneway)];
            tags.extend(&way.more_tags);
            if !tags.iter().any(|(key, _)| matches!(*key, "highway" | "route")) {
                tags.push(("highway", "residential"));
            }
            extract.add_way(&OsmWay { id: Self::way_id(index), nodes: &nodes, tags: &tags });
        }
        for turn in &self.turns {
            let members = [
                RelationMember::Way(Self::way_id(turn.from), "from"),
                RelationMember::Node(turn.via as i64 + 1, "via"),
                RelationMember::Way(Self::way_id(turn.to), "to"),
            ];
            let value = if turn.only { "only_straight_on" } else { "no_left_turn" };
            extract.add_relation(&OsmRelation {
                members: &members,
                tags: &[("type", "restriction"), ("restriction", value)],
            });
        }
        for (index, [lat_e7, lon_e7]) in self.places.iter().copied().enumerate() {
            if !self.missing[index] {
                let bollard: &[(&str, &str)] = if self.barred[index] { &[("barrier", "bollard")] } else { &[] };
                extract.add_node(&OsmNode { id: index as i64 + 1, lat_e7, lon_e7, tags: bollard });
            }
        }
        extract
    }

    /// The network for cars; junctions are contracted in an order that the dice give.
    pub(crate) fn network(&self, dice: &mut Dice) -> Option<Network> {
        let built = Network::build(&self.extract(), Profile::Car, "made up", 1, |places, pairs| {
            let mut order: Vec<u32> = (0..places.len() as u32).collect();
            match dice.below(3) {
                0 => {}
                1 => order.sort_by_key(|junction| pairs.iter().filter(|pair| pair.contains(junction)).count()),
                _ => (1..order.len()).for_each(|at| order.swap(at, dice.below(at + 1))),
            }
            order
        });
        built.ok().map(|(network, _)| network)
    }
}

/// A town of 15 by 15 crossings, 110 m apart, where nothing is forbidden.
pub(crate) fn plain_town(middle: Position) -> Network {
    let mut dice = Dice::new(1);
    let sketch = Sketch::grid(middle, 15, 110.0, 15.0, &mut dice);
    let in_stripes = |places: &[[i32; 2]], _: &[[u32; 2]]| dissect(places);
    Network::build(&sketch.extract(), Profile::Car, "made up", 1, in_stripes).unwrap().0
}

/// Nested dissection by halving the longer side: good enough for a grid.
fn dissect(places: &[[i32; 2]]) -> Vec<u32> {
    fn part(places: &[[i32; 2]], mut own: Vec<u32>, order: &mut Vec<u32>) {
        if own.len() <= 3 {
            order.extend(own);
            return;
        }
        let spread = |axis: usize| {
            let values = || own.iter().map(|at| i64::from(places[*at as usize][axis]));
            values().max().unwrap_or(0) - values().min().unwrap_or(0)
        };
        let axis = usize::from(spread(1) > spread(0));
        own.sort_by_key(|at| places[*at as usize][axis]);
        let wide = (own.len() as f64).sqrt() as usize;
        let middle = (own.len() - wide) / 2;
        let high = own.split_off(middle + wide);
        let cut = own.split_off(middle);
        part(places, own, order);
        part(places, high, order);
        order.extend(cut);
    }
    let mut order = Vec::new();
    part(places, (0..places.len() as u32).collect(), &mut order);
    order
}
