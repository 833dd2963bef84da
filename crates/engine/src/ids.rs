//! Names of things, as the records give them; the engine only compares them.

/// A driver, for as long as the installation lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DriverId(pub u128);

/// A trip: one order on its way. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TripId(pub u128);

/// A fence that the operator drew. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GeofenceId(pub u128);
