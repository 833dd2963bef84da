//! `loadtest`: a town of simulated couriers, recorded traces, and load, in front of a running server.

mod cli;

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    let arguments = cli::Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(arguments.log_filter()).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(cli::run(arguments))
}
