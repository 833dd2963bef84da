//! Menu images: photographs in, web-ready variants out.
//!
//! [`process`] is the whole pipeline as one pure function: bytes in, variants out, no file, socket or clock. What a picture is, is found in its bytes and
//! never in its name ([`sniff`]); whether it may be decoded is decided on its header, before any pixel exists ([`Limits`]). It is decoded
//! once, cropped and shrunk once to the widest variant, turned upright, converted to sRGB, and encoded; everything else in the file (places, cameras, thumbnails, what hangs behind
//! its end) is left behind, because nothing but pixels goes on.

mod colour;
mod crop;
mod encode;
mod jpeg;
mod limits;
mod look;
mod pipeline;
mod pixels;
mod raster;
mod refusal;
mod sniff;

pub use crop::{Focus, Preset};
pub use encode::{Quality, VariantFormat};
pub use limits::Limits;
pub use pipeline::{Failure, Header, Made, Recipe, Step, Variant, inspect, process};
pub use refusal::{Code, Refusal};
pub use sniff::{Format, sniff};
