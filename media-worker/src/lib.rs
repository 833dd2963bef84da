//! Menu images: photographs in, web-ready variants out.
//!
//! [`process`] is the whole pipeline as one pure function: bytes in, variants out, no file, socket or clock. What a picture is, is found in its bytes and
//! never in its name ([`sniff`]); whether it may be decoded is decided on its header, before any pixel exists ([`Limits`]). It is decoded
//! once, cropped and shrunk once to the widest variant, turned upright, converted to sRGB, and encoded; everything else in the file (places, cameras, thumbnails, what hangs behind
//! its end) is left behind, because nothing but pixels goes on.
//!
//! What a worker does with it: it claims jobs from the bus ([`run_workers`]), makes the pictures, puts them where they can be had, and says how far it is.
//! It runs in child processes ([`Workbench`], [`run_child`]): the decoders read what strangers made, and what they do to a process must cost one try of one
//! picture and nothing else.

mod child;
mod colour;
mod crop;
mod encode;
mod frames;
mod jpeg;
mod limits;
mod look;
mod pipeline;
mod pixels;
mod raster;
mod refusal;
mod sniff;
mod work;
mod workbench;
mod worker;

pub use child::{Pipeline, run as run_child};
pub use crop::{Focus, Preset};
pub use encode::{Quality, VariantFormat};
pub use limits::Limits;
pub use pipeline::{Failure, Header, Made, Recipe, Step, Variant, inspect, process};
pub use refusal::{Code, Refusal};
pub use sniff::{Format, sniff};
pub use workbench::{ChildCommand, Trouble, Workbench};
pub use worker::{MediaConfig, run as run_workers};
