//! The driver's side of the protocol: resend until acked.
//!
//! [`Driver::connect`] gives a handle and a stream of [`Event`]s. What is given to [`Driver::send`] is kept in a bounded
//! queue, travels in numbered messages, and is sent again, unchanged, on as many connections as it takes, until the
//! server says that it is durable. Acks may come in any order; each message is reported acked exactly once.
//!
//! There are three ways to the server: QUIC where an address for it is given, WebSocket, and a request per message. The best is tried
//! first; one that leads nowhere is left for the next, and tried again later ([`core::ladder`]).
//!
//! On a connection messages are written in Protocol Buffers, or in JSON if [`DriverConfig::codec`] says so.
//!
//! All decisions are made in [`core`], which owns no socket and reads no clock; the task around it only connects,
//! reads and writes. With [`DriverConfig::queue_dir`] the queue is on the disk and survives the process ([`Store`]); without, what was
//! not acked when the process ends is lost, unless the app keeps what [`Driver::close`] returns.

// In a test, a panic is the report.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod advice;
mod backoff;
mod config;
pub mod core;
mod event;
mod handle;
mod pace;
mod pipe;
mod store;
mod task;
mod trust;

pub use advice::Advice;
pub use config::{BadUrl, BoxError, DriverConfig, TokenFuture, TokenSource};
pub use core::ladder::Way;
pub use event::{Acked, Event};
pub use handle::{BadStart, Driver, SendError, Stopped};
pub use store::{Kept, Store};
pub use trust::{BadTrust, Trust};
pub use wayfare_wire::codec::DriveCodec;
pub use wayfare_wire::messages::drive::{Delivery, DeliveryStop, Detail, Fix, Phone};
