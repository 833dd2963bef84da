//! Reading an OpenStreetMap extract (`.osm.pbf`), twice: first the ways and the restrictions, then the nodes they name.
//!
//! Reading twice keeps in memory what is on a road only; an extract is mostly houses.

use std::io::Read;

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
/// [`InvalidExtract`], with the place in the file where it ended.
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

fn for_each_block(
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
                take(&block);
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
