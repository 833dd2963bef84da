//! `cargo xtask demo`.

use crate::run::{Outcome, run};
use crate::tools;

/// Builds the pages and the house, then runs it until it is stopped.
pub fn demo(arguments: Vec<String>) -> Outcome {
    tools::pages()?;
    tools::build_tools()?;
    run("", "cargo", &["build", "--release", "--bin", "wayfare"])?;
    let mut all = vec!["demo"];
    all.extend(arguments.iter().map(String::as_str));
    run("", "target/release/wayfare", &all)
}
