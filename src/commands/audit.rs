//! `wayfare audit verify`.

use std::io::Write as _;

use clap::Subcommand;
use wayfare::Config;
use wayfare_net::audit::trail;

/// What is to be done with the audit trail.
#[derive(Subcommand)]
pub enum Options {
    /// Follow the chain of hashes from the oldest entry to the newest. The house may be running.
    Verify,
}

/// Fails with the place at which the trail is not as it was written.
pub fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    let Options::Verify = options;
    let verified = trail::verify(&config.audit_folder())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "entries {} to {} are as they were written", verified.first, verified.last)?;
    writeln!(out, "hash of the newest: {}", verified.hash)?;
    Ok(())
}
