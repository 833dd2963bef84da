//! Any bytes as a roads file whose length, checksum and content hash are right: refused in a sentence, or a network that can be asked anything.
//!
//! `cargo fuzz run roads_file` in `crates/engine`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayfare_engine::roads::{
    Climb, Extract, Label, MatchRoom, Matcher, Metric, Network, OsmNode, OsmWay, Profile, Sight, Start, StreetId,
};
use wayfare_engine::Millis;
use xxhash_rust::xxh3::xxh3_64;

const HEAD: usize = 26;

// Changes to a small town's file, by place and value, and what is put behind it; or bytes of their own.
fuzz_target!(|input: (bool, Vec<(u16, u8)>, Vec<u8>)| {
    let (own, changes, mut bytes) = input;
    let _ = Network::decode_all(&bytes);
    if own {
        bytes.splice(..0, *b"WAYROADS\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    } else {
        let mut town = town();
        for (at, value) in changes {
            let at = HEAD + usize::from(at) % (town.len() - HEAD);
            town[at] = value;
        }
        town.extend_from_slice(&bytes);
        bytes = town;
    }
    // Hash 8, time 1, attribution 1 + 0, profile 1.
    if bytes.len() > HEAD + 11 {
        let content = xxh3_64(&bytes[HEAD + 11..]);
        bytes[HEAD..HEAD + 8].copy_from_slice(&content.to_le_bytes());
    }
    let (length, checksum) = ((bytes.len() - HEAD) as u64, xxh3_64(&bytes[HEAD..]));
    bytes[10..18].copy_from_slice(&length.to_le_bytes());
    bytes[18..26].copy_from_slice(&checksum.to_le_bytes());
    match Network::decode_all(&bytes) {
        Ok(networks) => networks.iter().for_each(ask),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
});

fn town() -> Vec<u8> {
    let mut extract = Extract::new();
    for at in 0..3_i64 {
        let way = |id, nodes: [i64; 3], extract: &mut Extract| {
            extract.add_way(&OsmWay { id, nodes: &nodes, tags: &[("highway", "residential")] });
        };
        way(at * 2, [at * 3, at * 3 + 1, at * 3 + 2], &mut extract);
        way(at * 2 + 1, [at, at + 3, at + 6], &mut extract);
    }
    for id in 0..9_i64 {
        let (lat_e7, lon_e7) = (411_500_000 + (id / 3) as i32 * 9_000, -86_100_000 + (id % 3) as i32 * 12_000);
        extract.add_node(&OsmNode { id, lat_e7, lon_e7, tags: &[] });
    }
    let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
    Network::build(&extract, Profile::Car, "", 0, order).expect("a town").0.encode()
}

fn ask(network: &Network) {
    let metric = Metric::free(network);
    let (mut room, mut climb, mut matcher, mut found) =
        (MatchRoom::default(), Climb::default(), Matcher::default(), Vec::new());
    let few = 0..network.streets().len().min(16) as u32;
    for id in few.clone() {
        let place = network.place(StreetId(id), 3.0);
        let _ = (network.speed_cell(StreetId(id)), network.line(StreetId(id)), network.reverse(StreetId(id)));
        network.near(place, 80.0, &mut found);
        let taken = Millis(i64::from(id) * 9_000);
        matcher.step(network, &Sight { place, accuracy_m: None, heading_deg: None, taken }, &mut room);
        let Some(goal) = network.goal(place) else { continue };
        let label = Label::new(network, &metric, goal.clone());
        for other in few.clone() {
            let end = label.from_end_of(network, &metric, StreetId(other), &mut climb);
            let start = Start { street: StreetId(other), offset_m: 1.0 };
            let _ = label.from(network, &metric, start, end);
            if let Some(route) = network.route(&metric, start, &goal) {
                let _ = network.route_line(&route);
            }
        }
    }
    let written = network.encode();
    // Numbers that were longer than they need be are written short, under a content hash that is not theirs: that is seen.
    if let Ok(again) = Network::decode(&written) {
        assert_eq!(again.encode(), written);
    }
}
