//! Running other programs, loudly.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What went wrong, for people.
pub type Outcome = Result<(), String>;

/// The top of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Runs `program` in `folder` of the repository and says how long it took.
pub fn run(folder: &str, program: &str, arguments: &[&str]) -> Outcome {
    run_with(folder, program, arguments, &[])
}

/// The same with additional environment variables.
pub fn run_with(folder: &str, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    let shown = format!("{program} {}", arguments.join(" "));
    println!("\n\x1b[1m▸ {shown}\x1b[0m");
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root().join(folder))
        .status()
        .map_err(|error| format!("`{shown}` cannot be started: {error}"))?;
    println!("  {:.0} s", started.elapsed().as_secs_f32());
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed")) }
}

/// Whether a program can be started and succeeds, quietly.
pub fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}
