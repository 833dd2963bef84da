//! The driver's side of the protocol: resend until acked.
//!
//! [`Driver::connect`] gives a handle and a stream of [`Event`]s. What is given to [`Driver::send`] is kept in a bounded
//! queue, travels in numbered messages, and is sent again, unchanged, on as many connections as it takes, until the
//! server says that it is durable. Acks may come in any order; each message is reported acked exactly once.
//!
//! All decisions are made in [`core`], which owns no socket and reads no clock; the task around it only connects,
//! reads and writes. The queue lives in memory: what was not acked when the process ends is lost, unless the app keeps
//! what [`Driver::close`] returns.
//!
//! `https` URLs become `wss`; they work when the binary turns on one of tokio-tungstenite's TLS features.

// In a test, a panic is the report.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod advice;
mod backoff;
mod config;
pub mod core;
mod event;
mod handle;
mod pace;
mod socket;
mod task;
mod trust;

pub use advice::Advice;
pub use config::{BadUrl, BoxError, DriverConfig, TokenFuture, TokenSource};
pub use event::{Acked, Event};
pub use handle::{Driver, SendError, Stopped};
pub use trust::{BadTrust, Trust};
pub use wayfare_wire::messages::drive::{Detail, Fix};
