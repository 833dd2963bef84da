//! The whole house from outside: the real binary on a port of its own, real sockets, real kills.
//!
//! Each test has its own house and its own data folder. What every watcher of every test must see is checked where it is applied
//! ([`replica`]), not test by test. `LONG_TESTS=1` makes the tests of faults longer. With `HOUSE_ON_POSTGRES=1` the records of every house are on a
//! PostgreSQL that it has for itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod drive;
mod fences;
mod foresight;
mod forge;
mod harness;
mod kitchen;
mod lossy;
mod phones;
mod picture;
#[path = "../../api/tests/servers/mod.rs"]
mod postgres_server;
mod quic_app;
mod raw;
#[path = "../../crates/bus/tests/servers/mod.rs"]
mod redis_server;
mod replica;
mod rest;
mod ride;
#[path = "../../crates/blobs/tests/servers/mod.rs"]
mod s3_server;
mod watch;

mod apps;
mod audit;
mod backup;
mod bad_input;
mod chaos;
mod corridor;
mod cuts;
mod deliveries;
mod erasure;
mod expiry;
mod gate;
mod handover;
mod keys;
mod kill;
mod library;
mod limits;
mod nearby;
mod offline;
mod outages;
mod paced;
mod pictures;
mod pictures_away;
mod pictures_faults;
mod pictures_figures;
mod pictures_files;
mod pictures_trial;
mod porto;
mod postgres;
mod proto;
mod quic;
mod rates;
mod redis;
mod rights;
mod roads;
mod roles;
mod rows;
mod secure;
mod suspects;
mod tracks;
mod transports;
mod visibility;
mod watch_proto;
