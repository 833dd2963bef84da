//! What the command line can do, a file each.

pub mod audit;
pub mod backup;
pub mod demo;
pub mod eval;
pub mod fixes;
pub mod key;
pub mod log;
pub mod media_child;
pub mod replay;
pub mod roads;
pub mod route;
pub mod serve;
