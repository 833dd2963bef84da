//! The door of Wayfare: what every listener needs, whichever role stands behind it.
//!
//! Accepting and draining ([`serve`]), tokens ([`tokens`]), keys of phones ([`device_key`]), origins ([`origin`]), limits ([`bucket`], [`gate`]) by where somebody comes from ([`network`]), threads ([`cores`]), errors over HTTP ([`reply`]),
//! certificates ([`tls`]) and WebSocket framing ([`ws`]). It knows no driver and no trip.

pub mod audit;
pub mod bucket;
pub mod cores;
pub mod device_key;
pub mod gate;
pub mod network;
pub mod origin;
pub mod reply;
pub mod serve;
pub mod tls;
pub mod tokens;
pub mod ws;

mod ring_jwt;
