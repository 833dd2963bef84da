//! Networks as bytes: what was written comes back, and nothing else is believed.

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::town::{Dice, Sketch, anywhere};
use crate::learn::SpeedField;
use crate::roads::file::HEAD;
use crate::roads::{
    Climb, Extract, InvalidRoads, Label, MatchRoom, Matcher, Metric, Network, OsmNode, OsmWay, Profile, Sight, Start,
    StreetId,
};
use crate::{Millis, Position};

fn made(seed: u64, across: usize) -> Option<Network> {
    let mut dice = Dice::new(seed);
    Sketch::hard(anywhere(&mut dice), across, &mut dice).network(&mut dice)
}

/// Makes length and checksum right, so that only the content can be at fault.
fn sign(bytes: &mut [u8]) {
    let (length, checksum) = ((bytes.len() - HEAD) as u64, xxh3_64(&bytes[HEAD..]));
    bytes[10..18].copy_from_slice(&length.to_le_bytes());
    bytes[18..26].copy_from_slice(&checksum.to_le_bytes());
}

/// Everything that can be asked of a network, so that a bad index would show.
fn use_all(network: &Network) {
    let mut metric = Metric::free(network);
    metric.reweight_live(network, 1, &SpeedField::default(), Millis(0));
    let places: Vec<Position> =
        (0..network.streets().len() as u32).map(|id| network.place(StreetId(id), 1.0)).collect();
    let (mut room, mut climb, mut matcher) = (MatchRoom::default(), Climb::default(), Matcher::default());
    let mut found = Vec::new();
    for (id, place) in places.iter().enumerate().take(20) {
        network.near(*place, 100.0, &mut found);
        let (_, _) = (network.speed_cell(StreetId(id as u32)), network.line(StreetId(id as u32)));
        let sight = Sight { place: *place, accuracy_m: None, heading_deg: None, taken: Millis(id as i64 * 10_000) };
        matcher.step(network, &sight, &mut room);
        let start = Start { street: StreetId(id as u32), offset_m: 0.0 };
        let Some(goal) = network.goal(*place) else { continue };
        let label = Label::new(network, &metric, goal.clone());
        for other in 0..network.streets().len().min(20) as u32 {
            let _ = label.from_end_of(network, &metric, StreetId(other), &mut climb);
        }
        if let Some(route) = network.route(&metric, start, &goal) {
            let _ = network.route_line(&route);
        }
    }
}

fn same(a: &Network, b: &Network) -> bool {
    let (all, other) = (Metric::free(a), Metric::free(b));
    a.encode() == b.encode()
        && a.content_hash() == b.content_hash()
        && (a.profile(), a.attribution(), a.data_s()) == (b.profile(), b.attribution(), b.data_s())
        && a.bounds() == b.bounds()
        && a.streets() == b.streets()
        && a.hierarchy == b.hierarchy
        && all == other
}

#[test]
fn whom_the_data_belongs_to_fits_in_a_file_or_is_refused() {
    let mut extract = Extract::new();
    extract.add_way(&OsmWay { id: 1, nodes: &[1, 2], tags: &[("highway", "residential")] });
    for id in [1, 2] {
        extract.add_node(&OsmNode { id, lat_e7: 411_500_000 + 10_000 * id as i32, lon_e7: -86_100_000, tags: &[] });
    }
    let build = |attribution: &str| {
        let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
        Network::build(&extract, Profile::Car, attribution, 0, order).map(|(network, _)| network)
    };
    let longest = "é".repeat(2_048);
    let network = build(&longest).unwrap();
    assert_eq!(Network::decode_all(&network.encode()).unwrap()[0].attribution(), longest);
    let refused = build(&format!("{longest}!")).map(drop).unwrap_err().to_string();
    assert_eq!(refused, "the attribution has 4097 bytes; a roads file holds 4096");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_comes_back(seed in any::<u64>(), across in 2_usize..6) {
        let Some(network) = made(seed, across) else { return Ok(()) };
        let bytes = network.encode();
        let again = Network::decode(&bytes).unwrap();
        prop_assert!(same(&network, &again));
        let two = [bytes.clone(), bytes].concat();
        let both = Network::decode_all(&two).unwrap();
        prop_assert_eq!(both.len(), 2);
        prop_assert!(both.iter().all(|one| same(one, &network)));
    }

    #[test]
    fn a_changed_byte_or_a_missing_end_is_refused(seed in any::<u64>(), at in any::<prop::sample::Index>(), by in 1_u8..) {
        let Some(network) = made(seed, 3) else { return Ok(()) };
        let bytes = network.encode();
        let mut changed = bytes.clone();
        changed[at.index(bytes.len())] ^= by;
        prop_assert!(Network::decode(&changed).is_err());
        prop_assert!(Network::decode_all(&changed).is_err());
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert!(Network::decode(cut).is_err() && Network::decode_all(cut).is_err());
        let longer = [&bytes[..], &bytes[..at.index(bytes.len())]].concat();
        prop_assert_eq!(Network::decode(&longer).is_err(), longer.len() > bytes.len());
        prop_assert_eq!(Network::decode_all(&longer).is_err(), longer.len() > bytes.len());
    }

    #[test]
    fn content_that_makes_no_sense_is_refused_or_harmless_though_the_checksum_is_right(
        seed in any::<u64>(), spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(), cuts in any::<bool>(),
    ) {
        let Some(network) = made(seed, 2) else { return Ok(()) };
        let mut bytes = network.encode();
        if cuts {
            bytes.truncate(HEAD + 8 + cut.index(bytes.len() - HEAD - 8));
        }
        for (index, byte) in spoil {
            let at = HEAD + index.index(bytes.len() - HEAD);
            bytes[at] = byte;
        }
        sign(&mut bytes);
        if let Ok(network) = Network::decode(&bytes) {
            use_all(&network);
        }
        // The same with a content hash that is right too.
        let body = HEAD + 8 + 1 + 1 + "made up".len() + 1;
        if bytes.len() > body {
            let hash = xxh3_64(&bytes[body..]);
            bytes[HEAD..HEAD + 8].copy_from_slice(&hash.to_le_bytes());
            sign(&mut bytes);
            if let Ok(network) = Network::decode(&bytes) {
                use_all(&network);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        let mut bytes = noise;
        if magic {
            bytes.splice(..0, *b"WAYROADS\x01\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            sign(&mut bytes);
        }
        let _ = Network::decode(&bytes);
        let _ = Network::decode_all(&bytes);
    }
}

#[track_caller]
fn check_refused(bytes: &[u8], sentence: &str) {
    assert_eq!(Network::decode_all(bytes).unwrap_err().to_string(), sentence);
}

#[test]
fn whoever_opens_the_wrong_file_is_told_what_it_is() {
    let bytes = made(3, 3).unwrap().encode();
    let foreign = "this is not a roads file; make one with `wayfare roads build`";
    check_refused(b"", foreign);
    check_refused(b"PK\x03\x04", foreign);
    check_refused(&bytes[..9], foreign);
    let mut newer = bytes.clone();
    newer[8] = 9;
    check_refused(&newer, "the roads file has version 9, this build reads 1; build it again from its extract");
    let short = bytes.len() - HEAD;
    check_refused(
        &bytes[..bytes.len() - 5],
        &format!(
            "the roads file is cut off or has something behind it: {} bytes in place of {short}; copy or build it again",
            short - 5
        ),
    );
    let mut damaged = bytes.clone();
    damaged[HEAD + 40] ^= 1;
    let refused = Network::decode(&damaged).unwrap_err();
    assert!(matches!(refused, InvalidRoads::Checksum { .. }), "{refused}");
    // A content hash that belongs to other roads.
    let mut other = bytes;
    other[HEAD] ^= 1;
    sign(&mut other);
    check_refused(&other, "the roads file makes no sense at its content hash; build it again");
}
