//! The cells that a map of all drivers is told by: fine ones with a marker for each driver, coarse ones with counts.

use std::fmt;
use std::str::FromStr;

use h3o::{CellIndex, LatLng, Resolution};

use crate::{Marker, Position};

/// From fine to coarse. Resolution 7 (5 km^2) holds the markers: a street map on a screen shows 10 to 60 such cells, well below the
/// topics of one connection, and a driver in town changes cell every few minutes. Each coarser step is two resolutions, 49 children: a screen needs
/// about as many cells at every zoom.
const STEPS: [Resolution; 4] = [Resolution::Seven, Resolution::Five, Resolution::Three, Resolution::One];

/// An H3 cell of one of the four resolutions of the map: 7 (markers), 5, 3 and 1 (counts of the cells one step finer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapCell(CellIndex);

/// Text or number that names no cell of the map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no H3 cell of resolution 1, 3, 5 or 7, in 15 lower-case hexadecimal digits")]
pub struct InvalidMapCell(pub String);

impl MapCell {
    /// The fine cell of a marker, from the cell it carries: a few nanoseconds.
    #[must_use]
    pub fn of_marker(marker: &Marker) -> Option<Self> {
        CellIndex::try_from(marker.cell).ok()?.parent(STEPS[0]).map(Self)
    }

    /// The fine cell of a position: 0.4 us.
    #[must_use]
    pub fn of_position(position: Position) -> Option<Self> {
        let at = LatLng::new(position.lat_deg(), position.lon_deg()).ok()?;
        Some(Self(at.to_cell(STEPS[0])))
    }

    /// The cell one step coarser, where this one is counted; `None` at the top.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        let step = STEPS.iter().position(|step| *step == self.0.resolution())?;
        self.0.parent(*STEPS.get(step + 1)?).map(Self)
    }

    /// Whether the cell holds markers; otherwise counts.
    #[must_use]
    pub fn holds_markers(self) -> bool {
        self.0.resolution() == STEPS[0]
    }
}

impl fmt::Display for MapCell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:015x}", u64::from(self.0))
    }
}

impl FromStr for MapCell {
    type Err = InvalidMapCell;

    fn from_str(text: &str) -> Result<Self, InvalidMapCell> {
        let invalid = || InvalidMapCell(text.chars().take(32).collect());
        // One spelling per cell: a topic must not have two names.
        let plain = text.len() == 15 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| plain).ok_or_else(invalid)?;
        let cell = CellIndex::try_from(number).map_err(|_| invalid())?;
        if STEPS.contains(&cell.resolution()) { Ok(Self(cell)) } else { Err(invalid()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_reads_back_and_parents_end_at_the_top(lat in -90.0..=90.0, lon in -180.0..=180.0) {
            let mut cell = MapCell::of_position(Position::new(lat, lon).unwrap()).unwrap();
            prop_assert!(cell.holds_markers());
            for _ in 0..3 {
                prop_assert_eq!(cell.to_string().parse(), Ok(cell));
                cell = cell.parent().unwrap();
                prop_assert!(!cell.holds_markers());
            }
            prop_assert_eq!(cell.parent(), None);
        }

        #[test]
        fn any_text_is_answered(text in ".{0,20}") {
            let _ = text.parse::<MapCell>();
        }
    }

    #[test]
    fn only_one_spelling_of_a_cell_of_the_map_is_taken() {
        for text in
            ["8928308280fffff", "872830828FFFFFF", "0872830828ffffff", "+72830828ffffff", "", "*", "87283082800000"]
        {
            assert!(text.parse::<MapCell>().is_err(), "{text}");
        }
        assert!("872830828ffffff".parse::<MapCell>().is_ok());
    }
}
