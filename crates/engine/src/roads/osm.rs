//! What is taken from an OpenStreetMap extract: the ways somebody may travel, where they meet, and what is forbidden there.
//!
//! The reader of the file hands elements over one by one, ways and relations before the nodes they name
//! ([`Extract::add_way`], [`Extract::add_relation`], then [`Extract::add_node`] for every [`Extract::wants_node`]).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::RoadClass;
use super::profile::{self, Passage, Profile};
use super::tags::Tags;

/// A map without randomness: the same extract gives the same network.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A node of the extract.
#[derive(Clone, Copy, Debug)]
pub struct OsmNode<'a> {
    /// OpenStreetMap's id.
    pub id: i64,
    /// Latitude in units of 1e-7 degree.
    pub lat_e7: i32,
    /// Longitude in units of 1e-7 degree.
    pub lon_e7: i32,
    /// Its tags.
    pub tags: &'a [(&'a str, &'a str)],
}

/// A way of the extract.
#[derive(Clone, Copy, Debug)]
pub struct OsmWay<'a> {
    /// OpenStreetMap's id.
    pub id: i64,
    /// Its nodes in order.
    pub nodes: &'a [i64],
    /// Its tags.
    pub tags: &'a [(&'a str, &'a str)],
}

/// A member of a relation.
#[derive(Clone, Copy, Debug)]
pub enum RelationMember<'a> {
    /// A way and its role.
    Way(i64, &'a str),
    /// A node and its role.
    Node(i64, &'a str),
}

/// A relation of the extract; only turn restrictions matter.
#[derive(Clone, Copy, Debug)]
pub struct OsmRelation<'a> {
    /// Its members.
    pub members: &'a [RelationMember<'a>],
    /// Its tags.
    pub tags: &'a [(&'a str, &'a str)],
}

/// What was taken and what was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtractStats {
    /// Ways somebody may travel.
    pub ways: u64,
    /// Ways read.
    pub ways_read: u64,
    /// Nodes on those ways.
    pub nodes: u64,
    /// Nodes named by a way but not in the extract, as at its border: the way is cut there.
    pub nodes_missing: u64,
    /// Ways with a `maxspeed` that could be read.
    pub speeds: u64,
    /// `maxspeed` values that could not be read.
    pub speeds_unread: u64,
    /// Conditional tags (by time, weight or weather): ignored.
    pub conditional: u64,
    /// Turn restrictions.
    pub restrictions: u64,
    /// Turn restrictions that were left out: via a way, incomplete, or conditional.
    pub restrictions_ignored: u64,
}

/// A way with what each profile makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) id: i64,
    /// Range in [`Extract::way_nodes`].
    pub(crate) nodes: std::ops::Range<u32>,
    pub(crate) class: RoadClass,
    pub(crate) link: bool,
    pub(crate) roundabout: bool,
    pub(crate) crossing_min: Option<f32>,
    pub(crate) passages: [Option<Passage>; 3],
}

/// What a node says of the junction or the way it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeMarks {
    pub(crate) signals: bool,
    pub(crate) stop: bool,
    pub(crate) give_way: bool,
    pub(crate) mini_roundabout: bool,
    /// Zebra or other crossing of walkers without lights.
    pub(crate) crossing: bool,
    pub(crate) toll: bool,
    /// Closed to the profile of that bit.
    pub(crate) barred: u8,
}

/// A turn restriction at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restriction {
    pub(crate) from_way: i64,
    pub(crate) via_node: i64,
    pub(crate) to_way: i64,
    /// `only_…`: every other way out is forbidden.
    pub(crate) only: bool,
}

/// Everything the build of a [`super::Network`] needs from an extract.
#[derive(Clone, Debug, Default)]
pub struct Extract {
    pub(crate) ways: Vec<Way>,
    pub(crate) way_nodes: Vec<i64>,
    pub(crate) places: Map<i64, (i32, i32)>,
    pub(crate) marks: Map<i64, NodeMarks>,
    pub(crate) restrictions: Vec<Restriction>,
    wanted: Map<i64, ()>,
    stats: ExtractStats,
}

impl Extract {
    /// An extract of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a way if any profile may travel it.
    pub fn add_way(&mut self, way: &OsmWay<'_>) {
        self.stats.ways_read += 1;
        let tags = Tags(way.tags);
        let Some(judged) = profile::judge(tags) else { return };
        if way.nodes.len() < 2 || judged.passages.iter().all(Option::is_none) {
            return;
        }
        self.stats.ways += 1;
        self.stats.conditional += u64::from(tags.any_ending(":conditional"));
        if tags.get("maxspeed").is_some() {
            let read = tags.get("maxspeed").and_then(super::tags::speed_kmh).is_some();
            *(if read { &mut self.stats.speeds } else { &mut self.stats.speeds_unread }) += 1;
        }
        let start = self.way_nodes.len() as u32;
        self.way_nodes.extend_from_slice(way.nodes);
        self.wanted.extend(way.nodes.iter().map(|id| (*id, ())));
        self.ways.push(Way {
            id: way.id,
            nodes: start..self.way_nodes.len() as u32,
            class: judged.class,
            link: judged.link,
            roundabout: judged.roundabout,
            crossing_min: judged.crossing_min,
            passages: judged.passages,
        });
    }

    /// Takes a relation if it is a turn restriction of motor vehicles from a way over a node to a way. Several `from` of a
    /// `no_entry`, or several `to` of a `no_exit`, make as many restrictions.
    pub fn add_relation(&mut self, relation: &OsmRelation<'_>) {
        let tags = Tags(relation.tags);
        let Some(kind) = tags.get("type").filter(|kind| kind.starts_with("restriction")) else { return };
        let own = ["restriction", "restriction:motorcar", "restriction:motor_vehicle"];
        let Some(value) = own.iter().find_map(|key| tags.get(key)) else {
            let foreign = kind != "restriction" || tags.any_ending(":conditional");
            self.stats.restrictions_ignored += u64::from(foreign);
            return;
        };
        let excepted = tags.get("except").is_some_and(|except| {
            except.split([';', ',']).any(|who| matches!(who.trim(), "motorcar" | "motor_vehicle" | "vehicle"))
        });
        let only = value.starts_with("only_");
        if excepted || !(only || value.starts_with("no_")) {
            self.stats.restrictions_ignored += 1;
            return;
        }
        let ways = |role: &'static str| {
            relation.members.iter().filter_map(move |member| match member {
                RelationMember::Way(id, found) if *found == role => Some(*id),
                _ => None,
            })
        };
        let via = relation.members.iter().find_map(|member| match member {
            RelationMember::Node(id, "via") => Some(*id),
            _ => None,
        });
        let Some(via_node) = via.filter(|_| ways("via").next().is_none()) else {
            self.stats.restrictions_ignored += 1;
            return;
        };
        let before = self.restrictions.len();
        for from_way in ways("from") {
            let each = ways("to").map(|to_way| Restriction { from_way, via_node, to_way, only });
            self.restrictions.extend(each);
        }
        let taken = self.restrictions.len() - before;
        self.stats.restrictions += taken as u64;
        self.stats.restrictions_ignored += u64::from(taken == 0);
    }

    /// Whether a node is on a way that was taken.
    #[must_use]
    pub fn wants_node(&self, id: i64) -> bool {
        self.wanted.contains_key(&id)
    }

    /// Takes a node that is wanted.
    pub fn add_node(&mut self, node: &OsmNode<'_>) {
        if !self.wants_node(node.id)
            || node.lat_e7.unsigned_abs() > 900_000_000
            || node.lon_e7.unsigned_abs() > 1_800_000_000
        {
            return;
        }
        if self.places.insert(node.id, (node.lat_e7, node.lon_e7)).is_none() {
            self.stats.nodes += 1;
        }
        let marks = marks(Tags(node.tags));
        if marks != NodeMarks::default() {
            self.marks.insert(node.id, marks);
        }
    }

    /// What was taken and what was left out, so far.
    #[must_use]
    pub fn stats(&self) -> ExtractStats {
        let missing = self.wanted.len().saturating_sub(self.places.len()) as u64;
        ExtractStats { nodes_missing: missing, ..self.stats }
    }
}

fn marks(tags: Tags<'_>) -> NodeMarks {
    let highway = tags.get("highway");
    let crossing = highway == Some("crossing");
    let barred = Profile::ALL.into_iter().filter(|profile| profile.is_barred(tags));
    NodeMarks {
        signals: highway == Some("traffic_signals") || crossing && tags.is("crossing", "traffic_signals"),
        stop: highway == Some("stop"),
        give_way: highway == Some("give_way"),
        mini_roundabout: highway == Some("mini_roundabout"),
        crossing: crossing && !tags.is("crossing", "traffic_signals"),
        toll: tags.is("barrier", "toll_booth"),
        barred: barred.fold(0, |bits, profile| bits | 1 << profile as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation<'a>(tags: &'a [(&'a str, &'a str)], members: &'a [RelationMember<'a>]) -> (usize, u64) {
        let mut extract = Extract::new();
        extract.add_relation(&OsmRelation { members, tags });
        (extract.restrictions.len(), extract.stats().restrictions_ignored)
    }

    #[test]
    fn restrictions_over_a_node_are_taken_and_others_counted() {
        use RelationMember::{Node, Way};
        let whole = [Way(1, "from"), Node(2, "via"), Way(3, "to")];
        assert_eq!(relation(&[("type", "restriction"), ("restriction", "no_left_turn")], &whole), (1, 0));
        assert_eq!(relation(&[("type", "restriction"), ("restriction", "only_straight_on")], &whole), (1, 0));
        let several = [Way(1, "from"), Way(4, "from"), Node(2, "via"), Way(3, "to")];
        assert_eq!(relation(&[("type", "restriction"), ("restriction", "no_entry")], &several), (2, 0));
        let via_way = [Way(1, "from"), Way(2, "via"), Way(3, "to")];
        assert_eq!(relation(&[("type", "restriction"), ("restriction", "no_u_turn")], &via_way), (0, 1));
        assert_eq!(relation(&[("type", "restriction"), ("restriction", "no_left_turn")], &whole[..2]), (0, 1));
        let except = [("type", "restriction"), ("restriction", "no_left_turn"), ("except", "bus;motorcar")];
        assert_eq!(relation(&except, &whole), (0, 1));
        let conditional = [("type", "restriction"), ("restriction:conditional", "no_left_turn @ (07:00-09:00)")];
        assert_eq!(relation(&conditional, &whole), (0, 1));
        assert_eq!(relation(&[("type", "route"), ("route", "bus")], &whole), (0, 0));
    }
}
