//! `wayfare media-child`: what the workers of pictures start.

use std::process::ExitCode;

use clap::Args;

/// What it may use.
#[derive(Args)]
pub struct Options {
    /// Memory, MiB.
    #[arg(long)]
    memory_mib: u32,
}

/// Makes pictures until there are no more orders.
pub fn run(options: &Options) -> ExitCode {
    wayfare_media_worker::run_child(u64::from(options.memory_mib) << 20, None)
}
