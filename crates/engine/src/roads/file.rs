//! A network as bytes: a few numbers to recognise it, then everything that cannot be computed again, small.
//!
//! | part | |
//! |---|---|
//! | `WAYROADS` | 8 bytes |
//! | version | `u16`, little endian |
//! | length | bytes that follow the checksum, `u64`: networks stand one after the other in a file |
//! | checksum | XXH3 of those bytes, `u64` |
//! | content hash | XXH3 of the body, `u64`: the same roads have the same, whenever they were built |
//! | data time, attribution, profile | signed varint, string, byte |
//! | body | junctions, shapes, streets, arcs: varints, coordinates as differences |
//!
//! Hierarchy and R-tree follow from the body and are built when it is read. Nothing in the bytes is trusted: every number is checked
//! before it is used as an index.

use xxhash_rust::xxh3::xxh3_64;

use super::build::Parts;
use super::network::{NONE, Network, Street};
use super::{Profile, RoadClass};
use crate::RestoreError;
use crate::bytes::{Reader, Writer};

const MAGIC: &[u8; 8] = b"WAYROADS";

/// Version of the form that this build writes and reads.
pub const ROADS_VERSION: u16 = 1;

/// Most of anything in a file; far above a continent.
const COUNT_MOST: usize = 1 << 30;
/// Longest attribution in bytes.
pub(crate) const ATTRIBUTION_MOST: usize = 4096;

/// Why bytes are no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoads {
    /// They do not begin as a roads file does.
    #[error("this is not a roads file; make one with `wayfare roads build`")]
    Foreign,
    /// Another version wrote them.
    #[error("the roads file has version {found}, this build reads {known}; build it again from its extract")]
    Version {
        /// Version of the file.
        found: u16,
        /// Version this build reads.
        known: u16,
    },
    /// They end too early, or too late.
    #[error(
        "the roads file is cut off or has something behind it: {found} bytes in place of {expected}; copy or build it again"
    )]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// They are not what was written.
    #[error("the roads file is damaged: its checksum is {found:016x}, not {expected:016x}; copy or build it again")]
    Checksum {
        /// Checksum of the bytes.
        found: u64,
        /// Checksum in the file.
        expected: u64,
    },
    /// The checksum is right, but the content makes no sense.
    #[error("the roads file makes no sense at its {part}; build it again")]
    Nonsense {
        /// The part.
        part: &'static str,
    },
}

impl From<RestoreError> for InvalidRoads {
    fn from(error: RestoreError) -> Self {
        Self::Nonsense {
            part: match error {
                RestoreError::Invalid { field } => field,
                _ => "end",
            },
        }
    }
}

/// Bytes before the checksummed part.
pub(crate) const HEAD: usize = 8 + 2 + 8 + 8;

impl Network {
    /// The network as bytes: 6 MB for a city of 60,000 junctions.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&ROADS_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 16]);
        let mut w = Writer(&mut out);
        w.raw(self.content_hash.to_le_bytes());
        w.int(self.data_s);
        w.uint(self.attribution.len() as u64);
        self.attribution.bytes().for_each(|byte| w.u8(byte));
        w.u8(self.profile as u8);
        self.encode_body(&mut out);
        let (length, checksum) = (out.len() - HEAD, xxh3_64(&out[HEAD..]));
        out[10..18].copy_from_slice(&(length as u64).to_le_bytes());
        out[18..26].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn hash_content(&self) -> u64 {
        let mut body = Vec::new();
        self.encode_body(&mut body);
        xxh3_64(&body)
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.uint(self.junctions.len() as u64);
        w.uint(self.streets.len() as u64);
        w.uint(self.shape_streets.len() as u64);
        w.uint(self.arc_streets.len() as u64);
        w.uint(self.more_tails.len() as u64);
        let mut last = [0, 0];
        let mut coordinates = |w: &mut Writer<'_>, point: [i32; 2]| {
            w.int(i64::from(point[0]) - i64::from(last[0]));
            w.int(i64::from(point[1]) - i64::from(last[1]));
            last = point;
        };
        self.junctions.iter().for_each(|junction| coordinates(&mut w, *junction));
        for ends in self.shape_first.windows(2) {
            w.uint(u64::from(ends[1] - ends[0]));
            for at in ends[0]..ends[1] {
                coordinates(&mut w, self.points[at as usize]);
                // Kept as it was measured: lengths decide between ways, and must not depend on who computes them.
                w.f32(self.along_m[at as usize]);
            }
        }
        let mut last_way = 0;
        for street in &self.streets {
            w.uint(u64::from(street.tail));
            w.uint(u64::from(street.head));
            w.uint(u64::from(street.shape));
            w.int(street.way.wrapping_sub(last_way));
            last_way = street.way;
            w.uint(u64::from(street.drive_ms));
            w.uint(u64::from(street.penalty_ms));
            w.u8(street.class as u8);
            let flags = [street.against, street.roundabout, street.link, street.tagged, street.core];
            w.u8(flags.iter().enumerate().fold(0, |bits, (bit, set)| bits | u8::from(*set) << bit));
        }
        let mut last_first = 0;
        for first in &self.arc_first {
            w.uint(u64::from(first - last_first));
            last_first = *first;
        }
        self.arc_streets.iter().for_each(|street| w.uint(u64::from(*street)));
        for [street, tail] in &self.more_tails {
            w.uint(u64::from(*street));
            w.uint(u64::from(*tail));
        }
    }

    /// All networks of a file: one after the other, as [`Network::encode`] made them.
    ///
    /// # Errors
    /// See [`Network::decode`].
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>, InvalidRoads> {
        let mut networks = Vec::new();
        while !bytes.is_empty() || networks.is_empty() {
            let length = match bytes.get(10..18).and_then(|length| length.try_into().ok()) {
                Some(length) if bytes.starts_with(MAGIC) => u64::from_le_bytes(length),
                _ => return Err(InvalidRoads::Foreign),
            };
            let end = usize::try_from(length)
                .ok()
                .and_then(|length| length.checked_add(HEAD))
                .filter(|end| *end <= bytes.len());
            // One that is too short says so itself.
            let (one, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            networks.push(Self::decode(one)?);
            bytes = rest;
        }
        Ok(networks)
    }

    /// A network from the bytes of [`Network::encode`]. Some 0.4 s for a city of 60,000 junctions.
    ///
    /// # Errors
    /// When the bytes are foreign, of another version, damaged, or make no sense. No bytes make it panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRoads> {
        if bytes.len() < HEAD || !bytes.starts_with(MAGIC) {
            return Err(InvalidRoads::Foreign);
        }
        let mut r = Reader::new(bytes);
        r.raw::<8>()?;
        let version = u16::from_le_bytes(r.raw()?);
        if version != ROADS_VERSION {
            return Err(InvalidRoads::Version { found: version, known: ROADS_VERSION });
        }
        let (length, expected) = (u64::from_le_bytes(r.raw()?), u64::from_le_bytes(r.raw()?));
        if length != (bytes.len() - HEAD) as u64 {
            return Err(InvalidRoads::Length { found: (bytes.len() - HEAD) as u64, expected: length });
        }
        let found = xxh3_64(&bytes[HEAD..]);
        if expected != found {
            return Err(InvalidRoads::Checksum { found, expected });
        }
        let content_hash = u64::from_le_bytes(r.raw()?);
        let data_s = r.int("date")?;
        let length = r.count("attribution", ATTRIBUTION_MOST)?;
        let text = (0..length).map(|_| r.u8()).collect::<Result<Vec<_>, _>>()?;
        let attribution = String::from_utf8(text).map_err(|_| InvalidRoads::Nonsense { part: "attribution" })?;
        let profile = Profile::from_number(r.u8()?).ok_or(InvalidRoads::Nonsense { part: "profile" })?;
        let found = xxh3_64(&bytes[bytes.len() - r.left()..]);
        if content_hash != found {
            // What was matched and learned on other roads would be believed here.
            return Err(InvalidRoads::Nonsense { part: "content hash" });
        }
        let parts = decode_body(&mut r)?;
        r.finish()?;
        let mut network = Self::put_together(parts).map_err(|_| InvalidRoads::Nonsense { part: "order" })?;
        (network.profile, network.attribution) = (profile, attribution);
        (network.data_s, network.content_hash) = (data_s, content_hash);
        Ok(network)
    }
}

fn decode_body(r: &mut Reader<'_>) -> Result<Parts, InvalidRoads> {
    let junctions = r.count("junctions", COUNT_MOST)?;
    let streets = r.count("streets", COUNT_MOST)?;
    let shapes = r.count("shapes", COUNT_MOST)?;
    let arcs = r.count("arcs", COUNT_MOST)?;
    let more = r.count("tails", COUNT_MOST)?;
    // Every one of them takes at least a byte: what is longer than the rest was never written.
    let least = junctions.saturating_mul(2) + streets.saturating_mul(8) + shapes.saturating_mul(13) + arcs + 2 * more;
    if junctions == 0 || streets == 0 || shapes == 0 || least > r.left() {
        return Err(InvalidRoads::Nonsense { part: "counts" });
    }
    let mut last = [0_i64, 0];
    let mut coordinates = |r: &mut Reader<'_>| -> Result<[i32; 2], InvalidRoads> {
        let nonsense = InvalidRoads::Nonsense { part: "coordinates" };
        let mut point = [0; 2];
        for (axis, most) in [(0, 900_000_000), (1, 1_800_000_000)] {
            last[axis] = last[axis].checked_add(r.int("coordinates")?).ok_or(nonsense)?;
            point[axis] =
                i32::try_from(last[axis]).ok().filter(|value| value.unsigned_abs() <= most).ok_or(nonsense)?;
        }
        Ok(point)
    };
    let places = (0..junctions).map(|_| coordinates(r)).collect::<Result<Vec<_>, _>>()?;
    let (mut shape_first, mut points, mut along_m) = (vec![0], Vec::new(), Vec::new());
    for _ in 0..shapes {
        let count = r.count("shape", COUNT_MOST)?;
        if count < 2 || count > r.left() || points.len() + count > u32::MAX as usize {
            return Err(InvalidRoads::Nonsense { part: "shape" });
        }
        let mut last_m = 0.0;
        for index in 0..count {
            points.push(coordinates(r)?);
            let at = r.f32("length")?;
            // From 0 up, and some length in the end; positive, so that NaN falls on the refusing side.
            let grows = if index == 0 { at == 0.0 } else { at >= last_m && at < 1e7 };
            if !grows || index + 1 == count && at <= 0.0 {
                return Err(InvalidRoads::Nonsense { part: "length" });
            }
            along_m.push(at);
            last_m = at;
        }
        shape_first.push(points.len() as u32);
    }
    let mut shape_streets = vec![[NONE; 2]; shapes];
    let mut made: Vec<Street> = Vec::with_capacity(streets);
    let mut way = 0_i64;
    for id in 0..streets as u32 {
        let below = |r: &mut Reader<'_>, most: usize| Ok::<u32, RestoreError>(r.count("street", most - 1)? as u32);
        let (tail, head, shape) = (below(r, junctions)?, below(r, junctions)?, below(r, shapes)?);
        way = way.wrapping_add(r.int("way")?);
        let (drive_ms, penalty_ms) = (r.count("time", 1_000_000_000)?, r.count("penalty", usize::from(u16::MAX))?);
        let class = RoadClass::from_number(r.u8()?).ok_or(InvalidRoads::Nonsense { part: "class" })?;
        let flags = r.u8()?;
        let set = |bit: u8| flags & 1 << bit != 0;
        let place = &mut shape_streets[shape as usize][usize::from(set(0))];
        if *place != NONE || drive_ms == 0 {
            return Err(InvalidRoads::Nonsense { part: "street" });
        }
        *place = id;
        made.push(Street {
            tail,
            head,
            shape,
            reverse: NONE,
            way,
            length_m: along_m[shape_first[shape as usize + 1] as usize - 1],
            drive_ms: drive_ms as u32,
            penalty_ms: penalty_ms as u16,
            class,
            against: set(0),
            roundabout: set(1),
            link: set(2),
            tagged: set(3),
            core: set(4),
        });
    }
    for [along, against] in &shape_streets {
        if *along == NONE && *against == NONE {
            return Err(InvalidRoads::Nonsense { part: "shape" });
        }
        if *along != NONE && *against != NONE {
            made[*along as usize].reverse = *against;
            made[*against as usize].reverse = *along;
        }
    }
    let mut arc_first = Vec::with_capacity(junctions + 1);
    let mut first = 0_usize;
    for _ in 0..=junctions {
        first += r.count("arcs", arcs - first)?;
        arc_first.push(first as u32);
    }
    let arc_streets =
        (0..arcs).map(|_| Ok(r.count("arcs", streets - 1)? as u32)).collect::<Result<Vec<_>, RestoreError>>()?;
    let more_tails = (0..more)
        .map(|_| Ok([r.count("tails", streets - 1)? as u32, r.count("tails", junctions - 1)? as u32]))
        .collect::<Result<Vec<_>, RestoreError>>()?;
    if first != arcs || arc_first[0] != 0 || !more_tails.is_sorted() {
        return Err(InvalidRoads::Nonsense { part: "arcs" });
    }
    Ok(Parts {
        junctions: places,
        streets: made,
        arc_first,
        arc_streets,
        more_tails,
        shape_first,
        points,
        along_m,
        shape_streets,
    })
}
