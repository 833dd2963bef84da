//! From an extract to a network: pieces between junctions, their times, the part where all can reach all, and the order.

use h3o::{CellIndex, LatLng, Resolution};

use super::file::ATTRIBUTION_MOST;
use super::geometry::{self, Bounds, bearing_deg, distance_m};
use super::hierarchy::Hierarchy;
use super::junction::{Arrival, Departure, OnTheWay, penalty_s};
use super::network::{NONE, Network, Street};
use super::osm::{Extract, Map, NodeMarks, Way};
use super::profile::{Pace, Profile};
use super::restrictions::{Ends, split};
use super::segments::Segments;
use super::{RoadClass, components};

/// Why an extract gives no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Nothing in it may be travelled with this profile.
    #[error("the extract has no roads for profile {profile}: {ways} ways were read")]
    NoRoads {
        /// The profile.
        profile: &'static str,
        /// Ways read.
        ways: u64,
    },
    /// More streets than numbers for them.
    #[error("the extract has {streets} streets; a network holds {most}: split it by region")]
    TooLarge {
        /// Streets found.
        streets: usize,
        /// Most streets.
        most: usize,
    },
    /// The attribution is longer than a file holds.
    #[error("the attribution has {bytes} bytes; a roads file holds {most}")]
    LongAttribution {
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        most: usize,
    },
    /// The order given is no permutation of the junctions, or a very bad one.
    #[error("the contraction order is not usable")]
    BadOrder,
}

/// What was built.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BuildStats {
    /// Junctions, copies for turn restrictions included.
    pub junctions: usize,
    /// Directed streets.
    pub streets: usize,
    /// Length of all roads, each counted once, in km.
    pub length_km: f64,
    /// Streets left out because nothing connects them.
    pub unreachable: usize,
    /// Streets that lead to the rest or come from it, but not both.
    pub one_way_out: usize,
    /// Copies of junctions that turn restrictions needed.
    pub copies: usize,
    /// Arcs of the hierarchy, shortcuts included.
    pub arcs: usize,
    /// Share of streets with a tagged speed.
    pub tagged: f64,
}

/// Most directed streets: their numbers leave a bit free.
const STREETS_MOST: usize = 1 << 30;
/// Cells of about 0.7 km^2, by which town and country are told apart.
const TOWN_CELL: Resolution = Resolution::Eight;
/// Road length in km per km^2 at which the country ends and the town has begun; Porto's centre has 20, its villages 4.
const COUNTRY_DENSITY: f32 = 9.0;
const TOWN_DENSITY: f32 = 15.0;

/// Shapes and streets while they are made.
#[derive(Default)]
struct Draft {
    places: Vec<[i32; 2]>,
    marks: Vec<NodeMarks>,
    /// Junctions by node of the extract.
    by_node: Map<i64, u32>,
    points: Vec<[i32; 2]>,
    along_m: Vec<f32>,
    shape_first: Vec<u32>,
    pieces: Vec<Piece>,
}

/// A piece of a way between two junctions.
#[derive(Clone, Copy)]
struct Piece {
    from: u32,
    to: u32,
    way: u32,
    on_the_way: OnTheWay,
}

impl Network {
    /// Builds the network of a profile. `order` is given the junctions (latitude, longitude in 1e-7 degree) and the undirected pairs of
    /// neighbours, and returns the junctions from the first to be contracted to the last; nested dissection keeps shortcuts few.
    ///
    /// # Errors
    /// When there is nothing to build, too much, or the order is none.
    pub fn build(
        extract: &Extract,
        profile: Profile,
        attribution: &str,
        data_s: i64,
        order: impl FnOnce(&[[i32; 2]], &[[u32; 2]]) -> Vec<u32>,
    ) -> Result<(Self, BuildStats), BuildError> {
        if attribution.len() > ATTRIBUTION_MOST {
            return Err(BuildError::LongAttribution { bytes: attribution.len(), most: ATTRIBUTION_MOST });
        }
        let nothing = BuildError::NoRoads { profile: profile.code(), ways: extract.stats().ways_read };
        let mut draft = Draft::cut(extract, profile);
        let density = draft.density(extract);
        let mut streets = draft.streets(extract, profile, &density);
        if streets.is_empty() {
            return Err(nothing);
        }
        if streets.len() > STREETS_MOST {
            return Err(BuildError::TooLarge { streets: streets.len(), most: STREETS_MOST });
        }
        draft.charge_junctions(extract, profile, &mut streets);
        let plain = draft.places.len() as u32;
        let (mut forbidden, mut only) = (Vec::new(), Vec::new());
        if profile == Profile::Car {
            for restriction in &extract.restrictions {
                let Some(junction) = draft.by_node.get(&restriction.via_node) else { continue };
                let list = if restriction.only { &mut only } else { &mut forbidden };
                list.push((*junction, restriction.from_way, restriction.to_way));
            }
        }
        let mut ends: Vec<Ends> =
            streets.iter().map(|street| Ends { tail: street.tail, head: street.head, way: street.way }).collect();
        let (arcs, copies) = split(&mut ends, plain, &forbidden, &only);
        for (street, ends) in streets.iter_mut().zip(&ends) {
            street.head = ends.head;
        }
        draft.places.extend(copies.iter().map(|junction| draft.places[*junction as usize]).collect::<Vec<_>>());

        let found = streets.len();
        let (arcs, kept) = largest_component(draft.places.len(), &mut streets, arcs);
        if !streets.iter().any(|street| street.core) {
            return Err(nothing);
        }
        let mut network = draft.assemble(&streets, &kept, arcs, order)?;
        network.profile = profile;
        network.attribution = attribution.to_owned();
        network.data_s = data_s;
        network.content_hash = network.hash_content();
        let stats = network.build_stats(found, copies.len());
        Ok((network, stats))
    }

    fn build_stats(&self, found: usize, copies: usize) -> BuildStats {
        let once = self.shape_first.windows(2).map(|ends| f64::from(self.along_m[ends[1] as usize - 1]));
        let tagged = self.streets.iter().filter(|street| street.tagged).count();
        BuildStats {
            junctions: self.junctions.len(),
            streets: self.streets.len(),
            length_km: once.sum::<f64>() / 1000.0,
            unreachable: found - self.streets.len(),
            one_way_out: self.streets.iter().filter(|street| !street.core).count(),
            copies,
            arcs: self.hierarchy.arc_count(),
            tagged: tagged as f64 / self.streets.len() as f64,
        }
    }
}

impl Draft {
    /// Cuts the ways a profile may travel at their junctions.
    fn cut(extract: &Extract, profile: Profile) -> Self {
        let open = |way: &&Way| way.passages[profile as usize].is_some();
        let mut uses: Map<i64, u8> = Map::default();
        for way in extract.ways.iter().filter(open) {
            let nodes = nodes_of(extract, way);
            let last = nodes.len() - 1;
            for (index, node) in nodes.iter().enumerate() {
                let count = uses.entry(*node).or_default();
                *count = count.saturating_add(if index == 0 || index == last { 2 } else { 1 });
            }
        }
        let mut draft = Self::default();
        for (index, way) in extract.ways.iter().enumerate().filter(|(_, way)| open(way)) {
            draft.cut_way(extract, profile, index as u32, way, &uses);
        }
        draft.shape_first.push(draft.points.len() as u32);
        draft
    }

    fn cut_way(&mut self, extract: &Extract, profile: Profile, index: u32, way: &Way, uses: &Map<i64, u8>) {
        let mut start: Option<u32> = None;
        let mut line: Vec<[i32; 2]> = Vec::new();
        let mut on_the_way = OnTheWay::default();
        for node in nodes_of(extract, way) {
            let Some((lat, lon)) = extract.places.get(node).copied() else {
                // Outside the extract: the way ends here, in a dead end, and may begin again later.
                if let (Some(from), Some(end)) = (start, line.last().copied().filter(|_| line.len() >= 2)) {
                    let to = self.fresh(end, NodeMarks::default());
                    self.piece(&line, Piece { from, to, way: index, on_the_way });
                }
                (start, on_the_way) = (None, OnTheWay::default());
                line.clear();
                continue;
            };
            let marks = extract.marks.get(node).copied().unwrap_or_default();
            let barred = marks.barred & 1 << profile as u8 != 0;
            let is_end = uses.get(node).copied().unwrap_or(0) >= 2 || barred;
            if line.last() != Some(&[lat, lon]) || is_end {
                line.push([lat, lon]);
            }
            let Some(from) = start else {
                // A way that enters the extract begins at its first node in it.
                start = Some(self.junction(*node, [lat, lon], marks, barred));
                continue;
            };
            if !is_end {
                on_the_way.signals += u16::from(marks.signals);
                on_the_way.signs += u16::from(marks.stop || marks.give_way);
                on_the_way.crossings += u16::from(marks.crossing);
                on_the_way.tolls += u16::from(marks.toll);
                continue;
            }
            let to = self.junction(*node, [lat, lon], marks, barred);
            self.piece(&line, Piece { from, to, way: index, on_the_way });
            line.clear();
            line.push([lat, lon]);
            // Behind a barrier begins another world.
            start = Some(if barred { self.junction(*node, [lat, lon], marks, barred) } else { to });
            on_the_way = OnTheWay::default();
        }
    }

    fn junction(&mut self, node: i64, place: [i32; 2], marks: NodeMarks, barred: bool) -> u32 {
        if barred {
            return self.fresh(place, NodeMarks::default());
        }
        if let Some(known) = self.by_node.get(&node) {
            return *known;
        }
        let junction = self.fresh(place, marks);
        self.by_node.insert(node, junction);
        junction
    }

    fn fresh(&mut self, place: [i32; 2], marks: NodeMarks) -> u32 {
        self.places.push(place);
        self.marks.push(marks);
        self.places.len() as u32 - 1
    }

    fn piece(&mut self, line: &[[i32; 2]], piece: Piece) {
        let mut along_m = 0.0_f64;
        self.shape_first.push(self.points.len() as u32);
        for (index, point) in line.iter().enumerate() {
            if index > 0 {
                along_m += distance_m(line[index - 1], *point);
            }
            self.points.push(*point);
            self.along_m.push(along_m as f32);
        }
        // Two nodes at one place still are a street.
        if let Some(last) = self.along_m.last_mut() {
            *last = last.max(0.1);
        }
        self.pieces.push(piece);
    }

    fn length_m(&self, shape: usize) -> f32 {
        self.along_m[self.shape_first[shape + 1] as usize - 1]
    }

    fn middle(&self, shape: usize) -> [i32; 2] {
        let (from, to) = (self.shape_first[shape] as usize, self.shape_first[shape + 1] as usize);
        self.points[(from + to) / 2]
    }

    /// Road length in km per km^2 around each shape: over its cell and the two rings around it, 14 km^2.
    fn density(&self, extract: &Extract) -> Vec<f32> {
        let cells: Vec<Option<CellIndex>> = (0..self.pieces.len()).map(|shape| town_cell(self.middle(shape))).collect();
        let mut length_km: Map<CellIndex, f32> = Map::default();
        for (shape, cell) in cells.iter().enumerate() {
            let class = extract.ways[self.pieces[shape].way as usize].class;
            if let Some(cell) = cell.filter(|_| class <= RoadClass::LivingStreet) {
                *length_km.entry(cell).or_default() += self.length_m(shape) / 1000.0;
            }
        }
        let mut around: Map<CellIndex, f32> = Map::default();
        let mut density = |cell: CellIndex| {
            *around.entry(cell).or_insert_with(|| {
                let disk: Vec<CellIndex> = cell.grid_disk(2);
                let length: f32 = disk.iter().filter_map(|cell| length_km.get(cell)).sum();
                let area: f64 = disk.iter().map(|cell| cell.area_km2()).sum();
                length / area.max(0.01) as f32
            })
        };
        cells.into_iter().map(|cell| cell.map_or(0.0, &mut density)).collect()
    }

    /// One or two directed streets for every piece, without the cost of junctions.
    fn streets(&self, extract: &Extract, profile: Profile, density: &[f32]) -> Vec<Street> {
        let mut streets = Vec::with_capacity(self.pieces.len() * 2);
        for (shape, piece) in self.pieces.iter().enumerate() {
            let way = &extract.ways[piece.way as usize];
            let Some(passage) = way.passages[profile as usize] else { continue };
            let town = ((density[shape] - COUNTRY_DENSITY) / (TOWN_DENSITY - COUNTRY_DENSITY)).clamp(0.0, 1.0);
            let length_m = self.length_m(shape);
            let street = |pace: Pace, against: bool| {
                let kmh = pace.country_kmh + (pace.town_kmh - pace.country_kmh) * town;
                let mut drive_s = f64::from(length_m) / (f64::from(kmh) / 3.6);
                if let Some(minutes) = way.crossing_min {
                    let whole: f32 = self.way_length_m(piece.way, shape);
                    drive_s = f64::from(minutes) * 60.0 * f64::from(length_m / whole.max(length_m));
                }
                Street {
                    tail: if against { piece.to } else { piece.from },
                    head: if against { piece.from } else { piece.to },
                    shape: shape as u32,
                    reverse: NONE,
                    way: way.id,
                    length_m,
                    drive_ms: (drive_s * 1000.0).clamp(1.0, 1e8) as u32,
                    penalty_ms: 0,
                    class: way.class,
                    against,
                    roundabout: way.roundabout,
                    link: way.link,
                    tagged: pace.tagged,
                    core: false,
                }
            };
            let first = streets.len() as u32;
            if passage.forward.is_open() {
                streets.push(street(passage.forward, false));
            }
            if passage.backward.is_open() {
                streets.push(street(passage.backward, true));
            }
            if streets.len() as u32 == first + 2 {
                streets[first as usize].reverse = first + 1;
                streets[first as usize + 1].reverse = first;
            }
        }
        streets
    }

    /// Length of all pieces of a way; pieces of one way stand together.
    fn way_length_m(&self, way: u32, shape: usize) -> f32 {
        let same = |at: &usize| self.pieces[*at].way == way;
        let before = (0..shape).rev().take_while(same);
        let after = (shape..self.pieces.len()).take_while(same);
        before.chain(after).map(|at| self.length_m(at)).sum()
    }

    /// Charges every street with the junction at its end.
    fn charge_junctions(&self, extract: &Extract, profile: Profile, streets: &mut [Street]) {
        let mut leaving: Vec<Vec<u32>> = vec![Vec::new(); self.places.len()];
        let mut arms: Vec<u8> = vec![0; self.places.len()];
        let mut strongest: Vec<RoadClass> = vec![RoadClass::Ferry; self.places.len()];
        for piece in &self.pieces {
            let class = extract.ways[piece.way as usize].class;
            for end in [piece.from, piece.to] {
                arms[end as usize] = arms[end as usize].saturating_add(1);
                strongest[end as usize] = strongest[end as usize].min(class);
            }
        }
        for (id, street) in streets.iter().enumerate() {
            leaving[street.tail as usize].push(id as u32);
        }
        let departure = |street: &Street| Departure {
            class: street.class,
            link: street.link,
            roundabout: street.roundabout,
            bearing_deg: self.end_bearings(street).0,
        };
        let penalties: Vec<u16> = streets
            .iter()
            .map(|street| {
                let head = street.head as usize;
                let on = leaving[head].iter().map(|id| &streets[*id as usize]).filter(|on| on.shape != street.shape);
                let departures: smallvec::SmallVec<[Departure; 6]> = on.map(departure).collect();
                let arrival = Arrival {
                    class: street.class,
                    link: street.link,
                    roundabout: street.roundabout,
                    tagged: street.tagged,
                    bearing_deg: self.end_bearings(street).1,
                };
                let way = self.pieces[street.shape as usize].on_the_way;
                let seconds = penalty_s(
                    profile,
                    arrival,
                    usize::from(arms[head]),
                    strongest[head],
                    &departures,
                    self.marks[head],
                    way,
                );
                (seconds * 1000.0).clamp(0.0, 65_000.0) as u16
            })
            .collect();
        for (street, penalty_ms) in streets.iter_mut().zip(penalties) {
            street.penalty_ms = penalty_ms;
        }
    }

    /// Direction of travel at the beginning and at the end of a street, degrees.
    fn end_bearings(&self, street: &Street) -> (f32, f32) {
        let (from, to) =
            (self.shape_first[street.shape as usize] as usize, self.shape_first[street.shape as usize + 1] as usize);
        let (first, last) = (
            bearing_deg(self.points[from], self.points[from + 1]),
            bearing_deg(self.points[to - 2], self.points[to - 1]),
        );
        if street.against { ((last + 180.0) % 360.0, (first + 180.0) % 360.0) } else { (first, last) }
    }

    /// Numbers everything for good and builds what hangs on the numbers.
    fn assemble(
        self,
        streets: &[Street],
        kept: &[bool],
        arcs: Vec<(u32, u32)>,
        order: impl FnOnce(&[[i32; 2]], &[[u32; 2]]) -> Vec<u32>,
    ) -> Result<Network, BuildError> {
        // Junctions that are left, in their old order.
        let mut number = vec![NONE; self.places.len()];
        let mut places = Vec::new();
        let ends = arcs.iter().flat_map(|(tail, street)| [*tail, streets[*street as usize].head]);
        for junction in ends {
            if number[junction as usize] == NONE {
                number[junction as usize] = places.len() as u32;
                places.push(self.places[junction as usize]);
            }
        }
        let mut pairs: Vec<[u32; 2]> = arcs
            .iter()
            .map(|(tail, street)| [number[*tail as usize], number[streets[*street as usize].head as usize]])
            .filter(|[a, b]| a != b)
            .map(|[a, b]| [a.min(b), a.max(b)])
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let by_rank = order(&places, &pairs);
        let mut rank = vec![NONE; places.len()];
        for (at, junction) in by_rank.iter().enumerate() {
            *rank.get_mut(*junction as usize).ok_or(BuildError::BadOrder)? = at as u32;
        }
        if by_rank.len() != places.len() || rank.contains(&NONE) {
            return Err(BuildError::BadOrder);
        }
        let ranked = |junction: u32| rank[number[junction as usize] as usize];

        // Streets by the rank of their tails, so that neighbours in the network are neighbours in memory.
        let mut sorted: Vec<(u32, u32)> = arcs.iter().map(|(tail, street)| (ranked(*tail), *street)).collect();
        sorted.sort_unstable();
        let mut new_id = vec![NONE; streets.len()];
        let (mut made, mut arc_streets, mut arc_first, mut more_tails) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (tail, street) in &sorted {
            while arc_first.len() <= *tail as usize {
                arc_first.push(arc_streets.len() as u32);
            }
            if new_id[*street as usize] == NONE {
                new_id[*street as usize] = made.len() as u32;
                let old = streets[*street as usize];
                made.push(Street { tail: *tail, head: ranked(old.head), ..old });
            } else {
                more_tails.push([new_id[*street as usize], *tail]);
            }
            arc_streets.push(new_id[*street as usize]);
        }
        while arc_first.len() <= places.len() {
            arc_first.push(arc_streets.len() as u32);
        }
        more_tails.sort_unstable();

        // Shapes that are still used, in the order of the streets.
        let mut shapes: Map<u32, u32> = Map::default();
        let (mut shape_first, mut points, mut along_m, mut shape_streets) =
            (vec![0], Vec::new(), Vec::new(), Vec::new());
        for (id, street) in made.iter_mut().enumerate() {
            let shape = *shapes.entry(street.shape).or_insert_with(|| {
                let range = self.shape_first[street.shape as usize] as usize
                    ..self.shape_first[street.shape as usize + 1] as usize;
                points.extend_from_slice(&self.points[range.clone()]);
                along_m.extend_from_slice(&self.along_m[range]);
                shape_first.push(points.len() as u32);
                shape_streets.push([NONE; 2]);
                shape_streets.len() as u32 - 1
            });
            street.shape = shape;
            street.reverse = if street.reverse != NONE && kept[street.reverse as usize] {
                new_id[street.reverse as usize]
            } else {
                NONE
            };
            shape_streets[shape as usize][usize::from(street.against)] = id as u32;
        }
        let mut junctions = vec![[0; 2]; places.len()];
        for (at, place) in places.iter().enumerate() {
            junctions[rank[at] as usize] = *place;
        }
        Network::put_together(Parts {
            junctions,
            streets: made,
            arc_first,
            arc_streets,
            more_tails,
            shape_first,
            points,
            along_m,
            shape_streets,
        })
        .map_err(|_| BuildError::BadOrder)
    }
}

/// What a network is made of; the rest follows from it.
pub(crate) struct Parts {
    pub(crate) junctions: Vec<[i32; 2]>,
    pub(crate) streets: Vec<Street>,
    pub(crate) arc_first: Vec<u32>,
    pub(crate) arc_streets: Vec<u32>,
    pub(crate) more_tails: Vec<[u32; 2]>,
    pub(crate) shape_first: Vec<u32>,
    pub(crate) points: Vec<[i32; 2]>,
    pub(crate) along_m: Vec<f32>,
    pub(crate) shape_streets: Vec<[u32; 2]>,
}

impl Network {
    /// Builds hierarchy, R-tree and box over parts that fit each other.
    pub(crate) fn put_together(parts: Parts) -> Result<Self, super::hierarchy::BadOrder> {
        let Parts {
            junctions,
            streets,
            arc_first,
            arc_streets,
            more_tails,
            shape_first,
            points,
            along_m,
            shape_streets,
        } = parts;
        let tails = (0..junctions.len() as u32).flat_map(|tail| {
            let (from, to) = (arc_first[tail as usize], arc_first[tail as usize + 1]);
            (from..to).map(move |arc| (tail, arc))
        });
        let roads = tails.map(|(tail, arc)| (tail, streets[arc_streets[arc as usize] as usize].head));
        let hierarchy = Hierarchy::build(junctions.len(), roads)?;
        let segments = Segments::build(&points, &shape_first);
        let bounds = bounds_of(&points);
        Ok(Self {
            profile: Profile::Car,
            bounds,
            attribution: String::new(),
            data_s: 0,
            content_hash: 0,
            junctions,
            streets,
            arc_first,
            arc_streets,
            more_tails,
            shape_first,
            points,
            along_m,
            shape_streets,
            hierarchy,
            segments,
            speed_cells: std::sync::OnceLock::new(),
        })
    }
}

fn nodes_of<'a>(extract: &'a Extract, way: &Way) -> &'a [i64] {
    &extract.way_nodes[way.nodes.start as usize..way.nodes.end as usize]
}

fn town_cell([lat, lon]: [i32; 2]) -> Option<CellIndex> {
    let place = geometry::position(lat, lon);
    LatLng::new(place.lat_deg(), place.lon_deg()).ok().map(|at| at.to_cell(TOWN_CELL))
}

/// Arcs and streets of the largest component. Streets that lead there and back are marked as its core; others hang on it one way
/// only, as at the border of an extract: fixes are matched on them, but no stop is put there.
fn largest_component(
    junctions: usize,
    streets: &mut [Street],
    mut arcs: Vec<(u32, u32)>,
) -> (Vec<(u32, u32)>, Vec<bool>) {
    arcs.sort_unstable();
    let first: Vec<u32> = (0..=junctions as u32).map(|v| arcs.partition_point(|(tail, _)| *tail < v) as u32).collect();
    let heads: Vec<u32> = arcs.iter().map(|(_, street)| streets[*street as usize].head).collect();
    let (component, largest) = components::strong(&first, &heads);
    let ends: Vec<[u32; 2]> = arcs.iter().zip(&heads).map(|((tail, _), head)| [*tail, *head]).collect();
    let connected = components::weak(junctions, &ends);
    let seed = component.iter().position(|own| *own == largest).unwrap_or(0);
    let inside = |junction: u32| connected.get(junction as usize) == connected.get(seed);
    let core = |junction: u32| component[junction as usize] == largest;
    let mut kept = vec![false; streets.len()];
    arcs.retain(|(tail, _)| inside(*tail));
    for (tail, id) in &arcs {
        let street = &mut streets[*id as usize];
        kept[*id as usize] = true;
        street.core |= core(*tail) && core(street.head);
    }
    (arcs, kept)
}

/// The box of all points; the narrower way round where they lie on both sides of the antimeridian.
fn bounds_of(points: &[[i32; 2]]) -> Bounds {
    let origin = points.first().copied().unwrap_or_default();
    let (mut south, mut north, mut west, mut east) = (i32::MAX, i32::MIN, 0, 0);
    for [lat, lon] in points {
        (south, north) = (south.min(*lat), north.max(*lat));
        let off = geometry::lon_diff_e7(*lon, origin[1]);
        (west, east) = (west.min(off), east.max(off));
    }
    let lon = |off: i32| {
        let deg = (f64::from(origin[1]) + f64::from(off)) / 1e7;
        if deg > 180.0 {
            deg - 360.0
        } else if deg < -180.0 {
            deg + 360.0
        } else {
            deg
        }
    };
    Bounds { south: f64::from(south) / 1e7, north: f64::from(north) / 1e7, west: lon(west), east: lon(east) }
}
