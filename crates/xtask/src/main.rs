//! The chores: `cargo xtask test` and `cargo xtask demo`, and what they must install.
//!
//! No dependencies: this is built before anything else, and should not be waited for.

mod demo;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [ARGS]   build what is needed, then run the house with a generated town in it
cargo xtask test          everything that is checked before a change lands
cargo xtask pages         build the pages into web/dist
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("demo") => demo::demo(arguments.collect()),
        Some("test") => test::test(),
        Some("pages") => tools::pages(),
        _ => {
            print!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nxtask: {why}");
            ExitCode::FAILURE
        }
    }
}
