//! The H3 cell of the marker, computed only when it may have changed.

use crate::Position;
use crate::geo::{LocalPlane, Unit};
use h3o::{CellIndex, LatLng, Resolution};

/// Cells of about 0.1 km^2, 174 m from centre to edge: a street block or two.
const RESOLUTION: Resolution = Resolution::Nine;
/// Share of a cell's inner radius within which the cell is certain. The rest, 5 m, covers the curvature of its edges: millimetres, but
/// for places within some kilometres of a pole.
const CERTAIN: f64 = 0.97;
/// Beyond this latitude nothing is certain.
const POLAR_DEG: f64 = 89.0;

/// The cell of a position, computed directly: 0.4 us.
pub(crate) fn cell_of(position: Position) -> u64 {
    // The only failure is a coordinate that is not finite, which no `Position` has.
    LatLng::new(position.lat_deg(), position.lon_deg()).map_or(0, |at| at.to_cell(RESOLUTION).into())
}

/// The last cell and the circle inside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellMemo(Option<(u64, Unit, f64)>);

impl CellMemo {
    /// The cell of a position: a few nanoseconds while well inside the last one, 0.4 us near its edge, about 2 us on entering a cell.
    pub(crate) fn cell(&mut self, position: Position, unit: Unit) -> u64 {
        if let Some((cell, centre, certain_m)) = self.0
            && unit.chord_m(centre) < certain_m
        {
            return cell;
        }
        let cell = cell_of(position);
        if self.0.is_none_or(|(last, ..)| last != cell) {
            self.0 = circle_inside(cell).map(|(centre, certain_m)| (cell, centre, certain_m));
        }
        cell
    }
}

fn circle_inside(cell: u64) -> Option<(Unit, f64)> {
    let index = CellIndex::try_from(cell).ok()?;
    let centre = LatLng::from(index);
    let centre = Position::new(centre.lat(), centre.lng()).ok()?;
    if centre.lat_deg().abs() > POLAR_DEG {
        return None;
    }
    let plane = LocalPlane::at(centre);
    let corner = |at: &LatLng| Position::new(at.lat(), at.lng()).ok().map(|at| plane.flat(at));
    let boundary = index.boundary();
    let mut previous = boundary.last().and_then(corner)?;
    let mut inner_m = f64::INFINITY;
    for at in boundary.iter() {
        let next = corner(at)?;
        inner_m = inner_m.min(distance_to_edge_m(previous, next));
        previous = next;
    }
    Some((centre.unit(), inner_m * CERTAIN))
}

/// Distance from the origin to the segment between two points.
fn distance_to_edge_m(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length_2 = (dx * dx + dy * dy).max(f64::MIN_POSITIVE);
    let t = (-(a.0 * dx + a.1 * dy) / length_2).clamp(0.0, 1.0);
    (a.0 + t * dx).hypot(a.1 + t * dy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Near the edges of one cell, wherever it lies.
        #[test]
        fn the_memo_holds_up_to_the_edge(
            lat in prop_oneof![-90.0..=90.0, 88.0..=90.0, Just(64.7)], lon in prop_oneof![-180.0..=180.0, Just(10.536)],
            turns in proptest::collection::vec((0.0..std::f64::consts::TAU, 120.0..260.0), 60),
        ) {
            let start = Position::new(lat, lon).unwrap();
            let Ok(index) = CellIndex::try_from(cell_of(start)) else { return Ok(()) };
            let centre = LatLng::from(index);
            let centre = Position::new(centre.lat(), centre.lng()).unwrap();
            let mut memo = CellMemo::default();
            for (turn, metres) in turns {
                prop_assert_eq!(memo.cell(centre, centre.unit()), cell_of(centre));
                let at = centre.offset(metres * turn.cos(), metres * turn.sin());
                prop_assert_eq!(memo.cell(at, at.unit()), cell_of(at));
            }
        }

        #[test]
        fn the_memo_never_differs_from_the_direct_computation(
            lat in -90.0..=90.0, lon in -180.0..=180.0, turn in 0.0..std::f64::consts::TAU, step_m in 1.0..60.0,
        ) {
            let (mut memo, mut at) = (CellMemo::default(), Position::new(lat, lon).unwrap());
            for _ in 0..60 {
                prop_assert_eq!(memo.cell(at, at.unit()), cell_of(at));
                at = at.offset(step_m * turn.cos(), step_m * turn.sin());
            }
        }
    }

    #[test]
    fn poles_pentagons_and_the_antimeridian_have_cells() {
        // The first is the centre of the base pentagon over the North Atlantic off Norway.
        for (lat, lon) in [(64.7, 10.536), (90.0, 0.0), (-90.0, 180.0), (0.0, 180.0), (0.0, -180.0)] {
            let mut at = Position::new(lat, lon).unwrap();
            let mut memo = CellMemo::default();
            for _ in 0..100 {
                assert_eq!(memo.cell(at, at.unit()), cell_of(at));
                assert!(CellIndex::try_from(cell_of(at)).is_ok());
                at = at.offset(13.0, 7.0);
            }
        }
    }
}
