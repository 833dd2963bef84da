//! How far everything is seen once some rings of cells around a place were looked at.
//!
//! H3 cells are regular hexagons on the faces of an icosahedron, seen from the Earth's centre (a gnomonic projection); only at its
//! corners, the pentagons, does the pattern have a fault. Without one among the rings looked at, the following holds.
//! On the flat face, with edges of length 1: a cell outside the rings 0..=k has its centre at least `1.5 (k + 1)` away from the centre of the middle
//! cell, and reaches at most 1 towards it; so everything within `1.5 k + 0.5` of that centre was seen (for k = 0: within the inner radius).
//! A place `o` away from the centre has seen `o` less. And a way on the sphere is at least its length on the face, times the square of the cosine of
//! the largest angle to the face's centre on that way.

use crate::EARTH_RADIUS_M;
use crate::geo::Unit;

/// Edge of a cell of resolution 9 on the face, in metres: H3's unit 0.38196601125010500003, shrunk by the square root of 7 for each
/// resolution, over the square root of 3. On the sphere an edge is never longer.
pub(super) const EDGE_M: f64 = 0.381_966_011_250_105 / SQRT_7_TO_THE_9 / SQRT_3 * EARTH_RADIUS_M;
const SQRT_7_TO_THE_9: f64 = 6_352.448_897_866_082;
const SQRT_3: f64 = 1.732_050_807_568_877_2;

/// Taken off for rounding, in metres: a hundred thousand times what it amounts to.
const SLACK_M: f64 = 0.01;

/// Centres of ten faces; the other ten lie opposite.
const FACES: [Unit; 10] = [
    Unit::from_xyz([0.219_930_779_140_460_6, 0.658_369_178_027_499_6, 0.719_847_537_892_618_2]),
    Unit::from_xyz([-0.213_923_483_450_142_1, 0.147_817_182_955_070_3, 0.965_601_793_521_420_5]),
    Unit::from_xyz([0.109_262_527_878_479_7, -0.481_195_157_287_321, 0.869_777_512_128_725_3]),
    Unit::from_xyz([0.742_856_730_158_679_1, -0.359_394_167_827_802_8, 0.564_800_593_651_703_3]),
    Unit::from_xyz([0.811_253_470_914_096_9, 0.344_895_323_763_938_4, 0.472_138_773_641_393]),
    Unit::from_xyz([-0.105_549_814_961_392_1, 0.979_445_729_641_141_3, 0.171_887_461_000_936_5]),
    Unit::from_xyz([-0.807_540_757_997_009_2, 0.153_355_248_589_881_8, 0.569_526_199_488_268_8]),
    Unit::from_xyz([-0.284_614_806_978_790_7, -0.864_408_097_265_420_6, 0.414_479_255_247_353_9]),
    Unit::from_xyz([0.740_562_147_385_448_2, -0.667_329_956_456_552_4, -0.078_983_764_632_673_7]),
    Unit::from_xyz([0.851_230_398_647_429_3, 0.472_234_378_858_268_1, -0.228_913_738_868_780_8]),
];

/// What the guarantee is made of at one place.
pub(super) struct Reach {
    /// Cosine of the angle to the nearest face's centre.
    cos: f64,
}

impl Reach {
    pub(super) fn at(place: Unit) -> Self {
        Self { cos: FACES.iter().map(|face| face.dot(place).abs()).fold(0.0, f64::max) }
    }

    /// Everything nearer than this was seen in the rings 0..=`rings`. `offset_m`: from the middle cell's centre, if known.
    pub(super) fn seen_m(&self, rings: u32, offset_m: Option<f64>) -> f64 {
        let from_centre_m = match rings {
            0 => EDGE_M * SQRT_3 / 2.0,
            _ => EDGE_M * (1.5 * f64::from(rings) + 0.5),
        };
        let offset_m = offset_m.map_or(EDGE_M, |offset_m| (offset_m / self.shrinks(EDGE_M)).min(EDGE_M));
        (from_centre_m - offset_m) * self.shrinks(from_centre_m) - SLACK_M
    }

    /// Everything nearer than this to the centre of a cell, where [`Self::at`] stands, is inside it. Holds for pentagons too.
    pub(super) fn inside_m(&self) -> f64 {
        EDGE_M * SQRT_3 / 2.0 * self.shrinks(EDGE_M) - SLACK_M
    }

    /// At most how much ways from here, of at most this length on the face, are shortened on the sphere.
    fn shrinks(&self, way_m: f64) -> f64 {
        // cos(a + d) >= cos a - d
        let cos = self.cos - way_m / EARTH_RADIUS_M;
        cos * cos
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, cell::cell_of};
    use h3o::{CellIndex, LatLng};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_is_nearer_than_promised_lies_in_the_rings(
            lat in -90.0..=90.0, lon in -180.0..=180.0, rings in 0_u32..6, turn in 0.0..std::f64::consts::TAU,
        ) {
            let here = Position::new(lat, lon).unwrap();
            let middle = CellIndex::try_from(cell_of(here)).unwrap();
            let seen: Vec<CellIndex> = middle.grid_disk_safe(rings).collect();
            prop_assume!(seen.iter().all(|cell| !cell.is_pentagon()));
            let centre = LatLng::from(middle);
            let centre = Position::new(centre.lat(), centre.lng()).unwrap();
            let reach = Reach::at(here.unit());
            for offset_m in [None, Some(here.unit().chord_m(centre.unit()))] {
                for step in 0..60 {
                    let (sin, cos) = (turn + f64::from(step) * 0.1047).sin_cos();
                    let way_m = reach.seen_m(rings, offset_m).max(0.0);
                    let there = CellIndex::try_from(cell_of(here.offset(way_m * sin, way_m * cos))).unwrap();
                    prop_assert!(seen.contains(&there), "{way_m} m, {rings} rings");
                }
            }
        }

        #[test]
        fn what_is_near_a_centre_is_inside(lat in -90.0..=90.0, lon in -180.0..=180.0, turn in 0.0..std::f64::consts::TAU) {
            let cell = cell_of(Position::new(lat, lon).unwrap());
            let centre = LatLng::from(CellIndex::try_from(cell).unwrap());
            let centre = Position::new(centre.lat(), centre.lng()).unwrap();
            let (inside_m, (sin, cos)) = (Reach::at(centre.unit()).inside_m(), turn.sin_cos());
            prop_assert_eq!(cell_of(centre.offset(inside_m * sin, inside_m * cos)), cell);
        }
    }

    #[test]
    fn the_promise_is_not_needlessly_small() {
        // Porto. Two rings reach at least 2.5 edges from anywhere in the middle cell.
        let reach = Reach::at(Position::new(41.15, -8.61).unwrap().unit());
        assert!(reach.seen_m(2, None) > 300.0, "{}", reach.seen_m(2, None));
        assert!(reach.seen_m(0, Some(0.0)) > 120.0, "{}", reach.seen_m(0, Some(0.0)));
    }
}
