//! Where the operator delivers.

use crate::Position;

/// A union of boxes and polygons; a position in any of them is inside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceArea {
    shapes: Vec<Shape>,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Box { south: f64, west: f64, north: f64, width: f64 },
    Polygon { reference_lon: f64, vertices: Vec<(f64, f64)> },
}

/// Why a shape is no area.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidArea {
    /// A polygon needs corners.
    #[error("a polygon of {0} corners encloses nothing; at least 3 are needed")]
    TooFewCorners(usize),
    /// The southern edge lies north of the northern one.
    #[error("the southern edge ({south}) lies north of the northern one ({north})")]
    UpsideDown {
        /// Southern edge in degrees.
        south: f64,
        /// Northern edge in degrees.
        north: f64,
    },
}

impl ServiceArea {
    /// An area with nothing in it yet; nothing is inside.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the box between two corners. When the western edge lies east of the eastern one, the box crosses the antimeridian.
    ///
    /// # Errors
    /// When `south_west` lies north of `north_east`.
    pub fn with_box(mut self, south_west: Position, north_east: Position) -> Result<Self, InvalidArea> {
        let (south, north) = (south_west.lat_deg(), north_east.lat_deg());
        if south > north {
            return Err(InvalidArea::UpsideDown { south, north });
        }
        let west = south_west.lon_deg();
        let whole_turn = north_east.lon_deg() - west >= 360.0;
        let width = if whole_turn { 360.0 } else { (north_east.lon_deg() - west).rem_euclid(360.0) };
        self.shapes.push(Shape::Box { south, west, north, width });
        Ok(self)
    }

    /// Adds a simple polygon; a closing corner equal to the first may be given or left out. Edges are straight in
    /// latitude and longitude and take the short way round the globe. Polygons around a pole are not supported: use a box.
    ///
    /// # Errors
    /// With fewer than 3 corners.
    pub fn with_polygon(mut self, corners: Vec<Position>) -> Result<Self, InvalidArea> {
        let Some(first) = corners.first() else {
            return Err(InvalidArea::TooFewCorners(0));
        };
        if corners.len() < 3 {
            return Err(InvalidArea::TooFewCorners(corners.len()));
        }
        // Unrolled from corner to corner, so that crossing the antimeridian is no step.
        let reference_lon = first.lon_deg();
        let mut lon = reference_lon;
        let vertices = corners
            .iter()
            .map(|corner| {
                lon += turn_deg(corner.lon_deg() - lon);
                (corner.lat_deg(), lon)
            })
            .collect();
        self.shapes.push(Shape::Polygon { reference_lon, vertices });
        Ok(self)
    }

    /// Whether `position` lies in any shape. Linear in the number of corners; about 2 ns each.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.shapes.iter().any(|shape| shape.contains(position.lat_deg(), position.lon_deg()))
    }
}

impl Shape {
    fn contains(&self, lat: f64, lon: f64) -> bool {
        match self {
            Self::Box { south, west, north, width } => {
                (*south..=*north).contains(&lat) && (lon - west).rem_euclid(360.0) <= *width
            }
            Self::Polygon { reference_lon, vertices } => {
                let near = reference_lon + turn_deg(lon - reference_lon);
                // A polygon wider than half the globe reaches beyond the nearest copy of the point.
                [near, near - 360.0, near + 360.0].iter().any(|lon| crossings_are_odd(vertices, lat, *lon))
            }
        }
    }
}

/// Casts a ray eastwards and counts the edges it crosses.
fn crossings_are_odd(vertices: &[(f64, f64)], lat: f64, lon: f64) -> bool {
    let mut inside = false;
    let mut previous = vertices[vertices.len() - 1];
    for &corner in vertices {
        let ((lat_a, lon_a), (lat_b, lon_b)) = (previous, corner);
        if (lat_a > lat) != (lat_b > lat) && lon < lon_a + (lat - lat_a) / (lat_b - lat_a) * (lon_b - lon_a) {
            inside = !inside;
        }
        previous = corner;
    }
    inside
}

/// The same turn within -180..180 degrees.
fn turn_deg(deg: f64) -> f64 {
    (deg + 180.0).rem_euclid(360.0) - 180.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat_deg: f64, lon_deg: f64) -> Position {
        Position::new(lat_deg, lon_deg).unwrap()
    }

    #[track_caller]
    fn check(area: &ServiceArea, lat: f64, lon: f64, inside: bool) {
        assert_eq!(area.contains(at(lat, lon)), inside, "({lat}, {lon})");
    }

    #[test]
    fn a_box_holds_its_edges_and_nothing_else() {
        let area = ServiceArea::new().with_box(at(41.0, -9.0), at(42.0, -8.0)).unwrap();
        check(&area, 41.5, -8.5, true);
        check(&area, 41.0, -9.0, true);
        check(&area, 42.0, -8.0, true);
        check(&area, 42.1, -8.5, false);
        check(&area, 41.5, -7.9, false);
        check(&area, -8.5, 41.5, false);
    }

    #[test]
    fn a_box_may_cross_the_antimeridian_or_span_the_globe() {
        let fiji = ServiceArea::new().with_box(at(-20.0, 176.0), at(-15.0, -178.0)).unwrap();
        check(&fiji, -17.0, 179.9, true);
        check(&fiji, -17.0, -179.9, true);
        check(&fiji, -17.0, 180.0, true);
        check(&fiji, -17.0, -177.0, false);
        check(&fiji, -17.0, 0.0, false);
        let all = ServiceArea::new().with_box(at(-90.0, -180.0), at(90.0, 180.0)).unwrap();
        check(&all, 90.0, 12.0, true);
    }

    #[test]
    fn a_polygon_may_be_concave_and_cross_the_antimeridian() {
        let l = vec![at(0.0, 178.0), at(0.0, -178.0), at(1.0, -178.0), at(1.0, 179.0), at(3.0, 179.0), at(3.0, 178.0)];
        let area = ServiceArea::new().with_polygon(l).unwrap();
        check(&area, 0.5, -179.0, true);
        check(&area, 0.5, 178.5, true);
        check(&area, 2.0, 178.5, true);
        check(&area, 2.0, -179.0, false);
        check(&area, 0.5, -177.0, false);
        check(&area, 0.5, 0.0, false);
    }

    #[test]
    fn what_is_no_area_is_refused() {
        assert_eq!(ServiceArea::new().with_polygon(vec![at(0.0, 0.0)]), Err(InvalidArea::TooFewCorners(1)));
        assert_eq!(ServiceArea::new().with_polygon(vec![]), Err(InvalidArea::TooFewCorners(0)));
        assert!(ServiceArea::new().with_box(at(2.0, 0.0), at(1.0, 1.0)).is_err());
        assert!(!ServiceArea::new().contains(at(1.0, 1.0)));
    }
}
