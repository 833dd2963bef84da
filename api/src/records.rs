//! The records as they are stored and shown, and the rules by which they change.

pub mod arrival;
pub mod assignment;
pub mod device_key;
pub mod driver;
pub mod erasure;
pub mod fence;
pub mod manual;
pub mod offer;
pub mod store;
pub mod table;
pub mod track;
pub mod trip;
pub mod upload;

pub use driver::Driver;
pub use trip::Trip;
