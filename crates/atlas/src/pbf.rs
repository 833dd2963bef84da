//! Reading an OpenStreetMap extract (`.osm.pbf`), twice: first the ways and the restrictions, then the nodes they name.
//!
//! Reading twice keeps in memory what is on a road only; an extract is mostly houses.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use osmpbf::{BlobDecode, BlobReader, PrimitiveBlock, RelMemberType};
use wayfare_engine::roads::{Extract, OsmNode, OsmRelation, OsmWay, RelationMember};

/// What an extract says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceInfo {
    /// When it was made, Unix seconds; 0 if it does not say.
    pub data_s: i64,
    /// The program that wrote it.
    pub program: String,
}

/// Why an extract cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidExtract {
    /// The file cannot be opened or read.
    #[error("the extract cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// Cut off, or no pbf file at all.
    #[error("the extract is damaged or no .osm.pbf file (after {blocks} good blocks): {source}")]
    Damaged {
        /// Blocks read before.
        blocks: u64,
        /// What the reader found.
        source: osmpbf::Error,
    },
    /// Whole, but it names strings or numbers that it does not have.
    #[error("the extract contradicts itself (after {blocks} good blocks); fetch it again")]
    Contradiction {
        /// Blocks read before.
        blocks: u64,
    },
    /// It asks for what we cannot read.
    #[error("the extract needs the feature {0:?}, which is not supported; use an ordinary extract")]
    Feature(String),
    /// Nothing in it.
    #[error("the extract holds no block of data")]
    Empty,
}

/// Features of the format that the reader knows.
const FEATURES: [&str; 4] = ["OsmSchema-V0.6", "DenseNodes", "HistoricalInformation", "LocationsOnWays"];

/// Reads an extract; `open` is called twice. `progress` is told how many blocks were read, of both passes.
///
/// # Errors
/// [`InvalidExtract`], with the place in the file where it ended. What was taken before is lost with it.
pub fn read_extract<R: Read + Send>(
    open: impl Fn() -> std::io::Result<R>,
    mut progress: impl FnMut(u64),
) -> Result<(Extract, SourceInfo), InvalidExtract> {
    let (mut extract, mut info) = (Extract::new(), SourceInfo::default());
    let mut blocks = 0;
    for_each_block(open()?, &mut info, |block| {
        take_ways(block, &mut extract);
        blocks += 1;
        progress(blocks);
    })?;
    if blocks == 0 {
        return Err(InvalidExtract::Empty);
    }
    for_each_block(open()?, &mut info, |block| {
        take_nodes(block, &mut extract);
        blocks += 1;
        progress(blocks);
    })?;
    Ok((extract, info))
}

pub(crate) fn for_each_block(
    file: impl Read + Send,
    info: &mut SourceInfo,
    mut take: impl FnMut(&PrimitiveBlock),
) -> Result<(), InvalidExtract> {
    let mut blocks = 0;
    for blob in BlobReader::new(file) {
        let damaged = |source| InvalidExtract::Damaged { blocks, source };
        match blob.map_err(damaged)?.decode().map_err(damaged)? {
            BlobDecode::OsmHeader(header) => {
                let unknown = header.required_features().iter().find(|feature| !FEATURES.contains(&feature.as_str()));
                if let Some(feature) = unknown {
                    return Err(InvalidExtract::Feature(feature.clone()));
                }
                info.data_s = header.osmosis_replication_timestamp().unwrap_or(0);
                header.writing_program().unwrap_or_default().clone_into(&mut info.program);
            }
            BlobDecode::OsmData(block) => {
                // The reader indexes by what the block says, and panics where that is not there.
                catch_unwind(AssertUnwindSafe(|| take(&block)))
                    .map_err(|_| InvalidExtract::Contradiction { blocks })?;
                blocks += 1;
            }
            BlobDecode::Unknown(_) => {}
        }
    }
    Ok(())
}

fn take_ways(block: &PrimitiveBlock, extract: &mut Extract) {
    let (mut tags, mut nodes, mut members): (Vec<(&str, &str)>, Vec<i64>, Vec<RelationMember<'_>>) = Default::default();
    for group in block.groups() {
        for way in group.ways() {
            tags.clear();
            tags.extend(way.tags());
            nodes.clear();
            nodes.extend(way.refs());
            extract.add_way(&OsmWay { id: way.id(), nodes: &nodes, tags: &tags });
        }
        for relation in group.relations() {
            tags.clear();
            tags.extend(relation.tags());
            // Members are many and restrictions few.
            if !tags.iter().any(|(key, value)| *key == "type" && value.starts_with("restriction")) {
                continue;
            }
            members.clear();
            members.extend(relation.members().filter_map(|member| {
                let role = member.role().unwrap_or_default();
                match member.member_type {
                    RelMemberType::Way => Some(RelationMember::Way(member.member_id, role)),
                    RelMemberType::Node => Some(RelationMember::Node(member.member_id, role)),
                    RelMemberType::Relation => None,
                }
            }));
            extract.add_relation(&OsmRelation { members: &members, tags: &tags });
        }
    }
}

fn take_nodes(block: &PrimitiveBlock, extract: &mut Extract) {
    let mut tags: Vec<(&str, &str)> = Vec::new();
    for group in block.groups() {
        for node in group.dense_nodes().filter(|node| extract.wants_node(node.id())).collect::<Vec<_>>() {
            tags.clear();
            tags.extend(node.tags());
            let (lat_e7, lon_e7) = (node.decimicro_lat(), node.decimicro_lon());
            extract.add_node(&OsmNode { id: node.id(), lat_e7, lon_e7, tags: &tags });
        }
        for node in group.nodes().filter(|node| extract.wants_node(node.id())).collect::<Vec<_>>() {
            tags.clear();
            tags.extend(node.tags());
            let (lat_e7, lon_e7) = (node.decimicro_lat(), node.decimicro_lon());
            extract.add_node(&OsmNode { id: node.id(), lat_e7, lon_e7, tags: &tags });
        }
    }
}

/// Small extracts, for tests.
#[cfg(test)]
pub(crate) mod made {
    /// A field of a protobuf message that holds bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2][..], &varint(content.len() as u64), content].concat()
    }

    fn number(number: u8, value: u64) -> Vec<u8> {
        [&[number << 3][..], &varint(value)].concat()
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    fn zigzag(values: &[i64]) -> Vec<u8> {
        let mut last = 0;
        let each = values.iter().flat_map(|value| {
            let step = value.wrapping_sub(std::mem::replace(&mut last, *value));
            varint((step << 1 ^ step >> 63) as u64)
        });
        each.collect()
    }

    pub(crate) fn blob(kind: &str, raw: &[u8]) -> Vec<u8> {
        let content = field(1, raw);
        let header = [field(1, kind.as_bytes()), number(3, content.len() as u64)].concat();
        [&(header.len() as u32).to_be_bytes()[..], &header, &content].concat()
    }

    pub(crate) fn header(features: &[&str]) -> Vec<u8> {
        blob("OSMHeader", &features.iter().flat_map(|feature| field(4, feature.as_bytes())).collect::<Vec<_>>())
    }

    /// One block: dense nodes on a line 100 m apart, and a way over them with one tag.
    pub(crate) fn block(nodes: &[i64], tag: (&str, &str)) -> Vec<u8> {
        let strings = [&b""[..], tag.0.as_bytes(), tag.1.as_bytes()];
        let table: Vec<u8> = strings.iter().flat_map(|string| field(1, string)).collect();
        let lat: Vec<i64> = nodes.iter().map(|id| id.saturating_mul(9_000).saturating_add(411_500_000)).collect();
        let lon: Vec<i64> = nodes.iter().map(|_| -86_100_000).collect();
        let dense = [field(1, &zigzag(nodes)), field(8, &zigzag(&lat)), field(9, &zigzag(&lon))].concat();
        let way = [number(1, 7), field(2, &[1]), field(3, &[2]), field(8, &zigzag(nodes))].concat();
        let group = field(2, &[field(2, &dense), field(3, &way)].concat());
        blob("OSMData", &[field(1, &table), group].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::made::{blob, block, header};
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;
    use wayfare_engine::roads::{BuildError, Network, Profile};

    fn read(bytes: &[u8]) -> Result<(Extract, SourceInfo), InvalidExtract> {
        read_extract(|| Ok(bytes), |_| {})
    }

    fn build(extract: &Extract) -> Result<Network, BuildError> {
        let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
        Network::build(extract, Profile::Car, "", 0, order).map(|(network, _)| network)
    }

    #[test]
    fn ways_and_their_nodes_are_read() {
        let bytes = [header(&["OsmSchema-V0.6", "DenseNodes"]), block(&[1, 2, 3], ("highway", "primary"))].concat();
        let (extract, _) = read(&bytes).unwrap();
        assert_eq!((extract.stats().ways, extract.stats().nodes, extract.stats().nodes_missing), (1, 3, 0));
        let network = build(&extract).unwrap();
        assert_eq!(network.streets().len(), 2);
        assert!((network.streets()[0].length_m - 200.0).abs() < 1.0);
    }

    #[track_caller]
    fn check_refused(bytes: &[u8], sentence: &str) {
        let refused = read(bytes).map(|_| ()).unwrap_err().to_string();
        assert!(refused.starts_with(sentence), "{refused}");
    }

    #[test]
    fn what_is_no_extract_is_refused_in_a_sentence() {
        let good = [header(&["DenseNodes"]), block(&[1, 2, 3], ("highway", "primary"))].concat();
        check_refused(b"", "the extract holds no block of data");
        check_refused(&header(&[]), "the extract holds no block of data");
        check_refused(
            b"<?xml version=\"1.0\"?><osm></osm>",
            "the extract is damaged or no .osm.pbf file (after 0 good blocks)",
        );
        check_refused(&good[..good.len() - 9], "the extract is damaged or no .osm.pbf file (after 0 good blocks)");
        let twice = [&good[..], &block(&[4, 5], ("highway", "primary"))].concat();
        check_refused(&twice[..twice.len() - 9], "the extract is damaged or no .osm.pbf file (after 1 good blocks)");
        let foreign = [header(&["DenseNodes", "Teleportation"]), good].concat();
        check_refused(
            &foreign,
            "the extract needs the feature \"Teleportation\", which is not supported; use an ordinary extract",
        );
    }

    #[test]
    fn an_extract_without_roads_says_so() {
        let (extract, _) = read(&[header(&[]), block(&[1, 2, 3], ("building", "yes"))].concat()).unwrap();
        let refused = build(&extract).unwrap_err().to_string();
        assert_eq!(refused, "the extract has no roads for profile car: 1 ways were read");
    }

    #[test]
    fn a_block_that_contradicts_itself_is_refused_or_read_in_part_and_never_a_panic() {
        let good = [header(&[]), block(&[1, 2, 3], ("highway", "primary"))].concat();
        // The way's key becomes a number far beyond the table: a way without tags is no road.
        let mut bytes = good;
        let keys = bytes.windows(3).rposition(|window| window == [0x12, 1, 1]).unwrap();
        bytes[keys + 2] = 0x7f;
        assert_eq!(read(&bytes).unwrap().0.stats().ways, 0);
        // Nodes whose differences add up to more than a number holds.
        let far = i64::MAX / 3;
        let far =
            [header(&[]), block(&[1, 2], ("highway", "primary")), block(&[far, -far, far], ("highway", "primary"))];
        let read_far = read(&far.concat());
        let contradiction = "the extract contradicts itself (after 1 good blocks); fetch it again";
        assert!(read_far.map(|_| ()).map_or_else(|error| error.to_string() == contradiction, |()| true));
    }

    /// Real extracts, where there are any.
    #[test]
    fn real_extracts_are_read_and_cut_ones_refused() {
        let folder =
            std::env::var_os("WAYFARE_DATA").map_or_else(|| PathBuf::from("../../../shared/data"), PathBuf::from);
        for (name, least) in [("monaco.osm.pbf", 1_000), ("porto.osm.pbf", 20_000)] {
            let Ok(bytes) = std::fs::read(folder.join(name)) else {
                eprintln!("no {name} in {}: only generated extracts are read", folder.display());
                continue;
            };
            let (extract, source) = read(&bytes).unwrap();
            assert!(extract.stats().ways > least && !source.program.is_empty(), "{:?} {source:?}", extract.stats());
            let cut = read(&bytes[..bytes.len() / 2]).map(|_| ()).unwrap_err();
            assert!(matches!(cut, InvalidExtract::Damaged { .. }), "{cut}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_bytes_make_the_reader_panic(
            noise in prop::collection::vec(any::<u8>(), 0..200), spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let _ = read(&noise);
            let _ = read(&[header(&[]), blob("OSMData", &noise)].concat());
            let mut bytes = [header(&["DenseNodes"]), block(&[1, 2, 3], ("highway", "primary"))].concat();
            for (index, byte) in spoil {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok((extract, _)) = read(&bytes) {
                let _ = build(&extract);
            }
        }
    }
}
