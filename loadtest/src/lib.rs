//! A town of simulated drivers and watchers; the load generator.
//!
//! - [`demo::run_demo`]: couriers who work in a generated [`town`], as real clients of a running server.
//! - [`replay::replay`]: recorded traces played through the driver library, watched and checked.
//! - [`rate::rate`]: what the update rate that the server asks for saves.
//! - [`load`]: many drivers and watchers, to measure latency, CPU and memory.
//!
//! Everything goes through the public doors of the server; nothing here knows what is behind them.

// In a test, a panic is the report.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(target_os = "linux")]
pub mod air;
pub mod clock;
pub mod courier;
pub mod demo;
pub mod desk;
pub mod load;
pub mod noise;
pub mod rate;
pub mod replay;
pub mod rest;
pub mod suite;
pub mod town;
pub mod transport;
pub mod view;
pub mod walk;
pub mod watcher;
