//! What else is in an extract, for a demonstration on a real map: where one eats, where streets have names, and shapes to draw.

use std::collections::HashMap;
use std::io::Read;

use osmpbf::{PrimitiveBlock, Way};
use wayfare_engine::Position;

use crate::pbf::{InvalidExtract, SourceInfo, for_each_block};

/// Places and shapes of an extract. In the order of the extract, so the same extract gives the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places {
    /// Restaurants, cafés and the like that have a name.
    pub eateries: Vec<(String, Position)>,
    /// Points in the middle of named streets where people live.
    pub streets: Vec<(String, Position)>,
    /// Outlines of houses. Outlines are closed: the first point is the last again.
    pub buildings: Vec<Vec<Position>>,
    /// Outlines of parks, gardens and woods.
    pub greens: Vec<Vec<Position>>,
    /// Outlines of lakes, basins and rivers.
    pub waters: Vec<Vec<Position>>,
}

const EATERIES: [&str; 4] = ["restaurant", "cafe", "fast_food", "bar"];
const HOMES_ON: [&str; 4] = ["residential", "tertiary", "secondary", "living_street"];
/// Shapes of one kind that are kept: the houses of a large city.
const SHAPES_MOST: usize = 300_000;

/// What a way will become once its nodes are known.
enum Wanted {
    Eatery(String),
    Street(String),
    Building,
    Green,
    Water,
}

/// Reads places; `open` is called twice.
///
/// # Errors
/// [`InvalidExtract`].
pub fn read_places<R: Read + Send>(open: impl Fn() -> std::io::Result<R>) -> Result<Places, InvalidExtract> {
    let (mut places, mut info) = (Places::default(), SourceInfo::default());
    let mut wanted: Vec<(Wanted, Vec<i64>)> = Vec::new();
    let mut nodes: HashMap<i64, Option<Position>> = HashMap::new();
    for_each_block(open()?, &mut info, |block| {
        for way in block.groups().flat_map(|group| group.ways().collect::<Vec<_>>()) {
            if let Some(kind) = judge(&way) {
                let refs: Vec<i64> = way.refs().collect();
                nodes.extend(refs.iter().map(|node| (*node, None)));
                wanted.push((kind, refs));
            }
        }
    })?;
    for_each_block(open()?, &mut info, |block| take_nodes(block, &mut nodes, &mut places))?;
    for (kind, refs) in wanted {
        let line: Vec<Position> = refs.iter().filter_map(|node| nodes.get(node).copied().flatten()).collect();
        let Some(middle) = line.get(line.len() / 2).copied() else { continue };
        match kind {
            Wanted::Eatery(name) => places.eateries.push((name, middle)),
            Wanted::Street(name) => places.streets.push((name, middle)),
            Wanted::Building => push(&mut places.buildings, line),
            Wanted::Green => push(&mut places.greens, line),
            Wanted::Water => push(&mut places.waters, line),
        }
    }
    Ok(places)
}

fn push(shapes: &mut Vec<Vec<Position>>, line: Vec<Position>) {
    // An outline that the extract cuts, or that is made of several ways, is none.
    if line.len() >= 4 && line.first() == line.last() && shapes.len() < SHAPES_MOST {
        shapes.push(line);
    }
}

fn judge(way: &Way<'_>) -> Option<Wanted> {
    let tags: HashMap<&str, &str> = way.tags().collect();
    let named = || tags.get("name").map(|name| (*name).to_owned());
    let is = |key: &str, values: &[&str]| tags.get(key).is_some_and(|value| values.contains(value));
    if is("amenity", &EATERIES) {
        return named().map(Wanted::Eatery);
    }
    if is("highway", &HOMES_ON) {
        return named().map(Wanted::Street);
    }
    if tags.get("building").is_some_and(|value| *value != "no") {
        return Some(Wanted::Building);
    }
    if is("leisure", &["park", "garden", "pitch"])
        || is("landuse", &["grass", "forest", "cemetery"])
        || is("natural", &["wood", "scrub"])
    {
        return Some(Wanted::Green);
    }
    (is("natural", &["water"]) || is("waterway", &["riverbank"])).then_some(Wanted::Water)
}

fn take_nodes(block: &PrimitiveBlock, nodes: &mut HashMap<i64, Option<Position>>, places: &mut Places) {
    let mut take = |id: i64, lat: f64, lon: f64, eatery: Option<String>| {
        let Ok(position) = Position::new(lat, lon) else { return };
        if let Some(known) = nodes.get_mut(&id) {
            *known = Some(position);
        }
        places.eateries.extend(eatery.map(|name| (name, position)));
    };
    fn eatery<'a>(tags: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
        let (mut eats, mut name) = (false, None);
        for (key, value) in tags {
            match key {
                "amenity" => eats = EATERIES.contains(&value),
                "name" => name = Some(value.to_owned()),
                _ => {}
            }
        }
        name.filter(|_| eats)
    }
    for group in block.groups() {
        group.dense_nodes().for_each(|node| take(node.id(), node.lat(), node.lon(), eatery(node.tags())));
        group.nodes().for_each(|node| take(node.id(), node.lat(), node.lon(), eatery(node.tags())));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use crate::pbf::made::{block, header};

    fn read(nodes: &[i64], tag: (&str, &str)) -> Places {
        let bytes = [header(&[]), block(nodes, tag)].concat();
        read_places(|| Ok(&bytes[..])).unwrap()
    }

    #[test]
    fn only_closed_ways_are_outlines() {
        assert_eq!(read(&[1, 2, 3, 1], ("building", "yes")).buildings.len(), 1);
        assert_eq!(read(&[1, 2, 3, 1], ("leisure", "park")).greens.len(), 1);
        assert_eq!(read(&[1, 2, 3, 1], ("natural", "water")).waters.len(), 1);
        for (nodes, tag) in [
            (&[1, 2, 3, 4][..], ("building", "yes")),
            (&[1, 2, 1], ("building", "yes")),
            (&[1, 2, 3, 1], ("building", "no")),
            (&[1, 2, 3, 4], ("natural", "water")),
        ] {
            assert_eq!(read(nodes, tag), Places::default(), "{nodes:?} {tag:?}");
        }
    }

    #[test]
    fn a_street_without_a_name_is_no_address_and_a_nameless_restaurant_none() {
        for tag in [("highway", "residential"), ("amenity", "restaurant")] {
            assert_eq!(read(&[1, 2, 3], tag), Places::default());
        }
    }
}
