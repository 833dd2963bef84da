//! A town to work in: made up (streets, a river with two bridges, a park, restaurants and homes), or on a real map ([`MapOfTown`]). The same seed
//! gives the same town.
//!
//! A made-up town lies in the open Atlantic, so that nobody takes it for a real place.

mod geojson;
mod layout;
mod mapped;
mod names;
mod route;

pub use mapped::{MapOfTown, NoTown};
pub use route::Route;

use wayfare_engine::{LocalPlane, Position, Vehicle};

/// To be shown on every map of a town.
pub const ATTRIBUTION: &str = "Generated town, not a real place";

/// Middle of every generated town: latitude and longitude in degrees.
const CENTRE: (f64, f64) = (45.0, -20.0);

/// A place on the town's own plane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flat {
    /// Metres east of the centre.
    pub east_m: f64,
    /// Metres north of the centre.
    pub north_m: f64,
}

impl Flat {
    /// Metres between two places.
    #[must_use]
    pub fn distance_m(self, other: Self) -> f64 {
        (other.east_m - self.east_m).hypot(other.north_m - self.north_m)
    }

    /// The place that far along the way to `other`: 0 is here, 1 is there.
    #[must_use]
    pub fn towards(self, other: Self, share: f64) -> Self {
        Self {
            east_m: self.east_m + share * (other.east_m - self.east_m),
            north_m: self.north_m + share * (other.north_m - self.north_m),
        }
    }

    /// Direction to `other`, degrees clockwise from north, 0..360.
    #[must_use]
    pub fn heading_deg(self, other: Self) -> f64 {
        let (east, north) = (other.east_m - self.east_m, other.north_m - self.north_m);
        east.atan2(north).to_degrees().rem_euclid(360.0)
    }
}

/// What kind of way a street is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreetKind {
    /// A side street.
    Street,
    /// A main road.
    Main,
    /// A main road over the river.
    Bridge,
}

/// A straight piece of street between two junctions; traffic goes both ways.
#[derive(Clone, Debug, PartialEq)]
pub struct Street {
    /// Index of the junction at one end.
    pub from: usize,
    /// Index of the junction at the other end.
    pub to: usize,
    /// What kind of way it is.
    pub kind: StreetKind,
    /// Name of the whole street that this is a piece of.
    pub name: String,
}

/// An address.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Name of the restaurant, or number and street.
    pub name: String,
    /// Where it is.
    pub spot: Spot,
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spot {
    /// In a made-up town: on a piece of street, so far along it (0..=1).
    OnStreet {
        /// Index of the piece.
        street: usize,
        /// Share of it.
        along: f64,
    },
    /// On a map.
    At(Flat),
}

/// What an area is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaKind {
    /// The river.
    Water,
    /// Houses.
    Block,
    /// The park.
    Park,
}

/// A polygon without holes; the first corner is not repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    /// What it is.
    pub kind: AreaKind,
    /// Corners in order.
    pub ring: Vec<Flat>,
}

/// A generated town.
#[derive(Clone, Debug)]
pub struct Town {
    /// Its name.
    pub name: String,
    /// Where streets meet.
    pub junctions: Vec<Flat>,
    /// Pieces of street.
    pub streets: Vec<Street>,
    /// Restaurants.
    pub stores: Vec<Place>,
    /// Where customers live.
    pub homes: Vec<Place>,
    /// Everything between the streets.
    pub areas: Vec<Area>,
    /// For each junction: neighbours, and the piece of street that leads there.
    ways: Vec<Vec<(usize, usize)>>,
    plane: LocalPlane,
    /// Real roads, where the town is on a map.
    map: Option<MapOfTown>,
}

impl Town {
    /// About two kilometres across, with 10 restaurants and 120 homes.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let layout = layout::lay_out(seed);
        let (lat_deg, lon_deg) = CENTRE;
        let centre = Position::new(lat_deg, lon_deg).expect("the centre is a place on Earth");
        Self {
            name: layout.name,
            ways: layout::ways(layout.junctions.len(), &layout.streets),
            junctions: layout.junctions,
            streets: layout.streets,
            stores: layout.stores,
            homes: layout.homes,
            areas: layout.areas,
            plane: LocalPlane::at(centre),
            map: None,
        }
    }

    /// A town on a real map: some of its restaurants, and homes along its named streets, chosen by the seed.
    ///
    /// # Errors
    /// [`NoTown`]: nobody eats there, or nobody lives there.
    pub fn on_map(map: MapOfTown, seed: u64) -> Result<Self, NoTown> {
        mapped::settle(map, seed)
    }

    /// Where on Earth a place of the town would be.
    #[must_use]
    pub fn position(&self, flat: Flat) -> Position {
        self.plane.position(flat.east_m, flat.north_m)
    }

    /// Where an address is, on the middle of its street.
    #[must_use]
    pub fn spot(&self, place: &Place) -> Flat {
        match place.spot {
            Spot::OnStreet { street, along } => {
                let street = &self.streets[street];
                self.junctions[street.from].towards(self.junctions[street.to], along)
            }
            Spot::At(at) => at,
        }
    }

    /// Length of a piece of street in metres.
    #[must_use]
    pub fn length_m(&self, street: &Street) -> f64 {
        self.junctions[street.from].distance_m(self.junctions[street.to])
    }

    /// The best way from one address to another with a vehicle.
    #[must_use]
    pub fn route(&self, from: &Place, to: &Place, vehicle: Vehicle) -> Route {
        match &self.map {
            Some(map) => map.route(self, from, to, vehicle),
            None => route::find(self, from, to),
        }
    }

    /// The town as a GeoJSON `FeatureCollection`, with its attribution as a member.
    #[must_use]
    pub fn geojson(&self) -> String {
        match &self.map {
            Some(map) => geojson::write_map(self, map),
            None => geojson::write(self),
        }
    }
}

#[cfg(test)]
mod tests;
