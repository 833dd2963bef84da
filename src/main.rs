//! The command line of Wayfare. Reads the configuration, starts the house, waits, drains; everything else is in the rooms.

mod commands;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wayfare::{Config, Roles};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-hosted, real-time delivery-tracking engine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; `wayfare config` prints a sample.
    #[arg(long, global = true, env = "WAYFARE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the house (also without any command).
    Serve,
    /// Run only the part that takes drivers in; needs bus.url.
    Ingest,
    /// Run only the part that serves watchers; needs bus.url.
    Fanout,
    /// Run only the part for people and records; needs bus.url.
    Api,
    /// Run only the part that makes pictures for menus; needs bus.url, and files.bucket or files.dir.
    MediaWorker,
    /// One picture after the other, in a process with little memory; started by the workers.
    #[command(hide = true)]
    MediaChild(commands::media_child::Options),
    /// Run the house with a generated town and simulated couriers in it.
    Demo(commands::demo::Options),
    /// Drive couriers from a GPX file or a CSV of trips through a running house.
    Replay(commands::replay::Options),
    /// Print the fixes that are kept of a driver.
    Fixes(commands::fixes::Options),
    /// Build a roads file from an OpenStreetMap extract, or tell what is in one.
    #[command(subcommand)]
    Roads(commands::roads::Options),
    /// Print the quickest way between two places.
    Route(commands::route::Options),
    /// Measure how good arrivals, free-flow times and matches are, on recorded trips.
    #[command(subcommand)]
    Eval(commands::eval::Options),
    /// Prove that the audit trail is as it was written.
    #[command(subcommand)]
    Audit(commands::audit::Options),
    /// Copy everything the house holds into a folder. The house may be running.
    Backup(commands::backup::Options),
    /// Make another service key, if the first was lost; or change the keys that sign tokens. The house may be running.
    Key {
        #[command(subcommand)]
        options: Option<commands::key::Options>,
    },
    /// Print a documented sample of the configuration.
    Config,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::MediaChild(options)) = &arguments.command {
        return commands::media_child::run(options);
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The kernel backs memory by pages of 4 KiB only. A house's memory is many small pieces: with pages of 2 MiB it was larger by a third (25 of
/// 65 MiB, 2 KiB of each driver), while a delivery cost the same.
fn only_small_pages() {
    // A kernel without the switch has nothing to switch off.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Steps by which the runtime's threads, and those of the databases that they start, stand back behind the cores when there are more threads
/// than processors: a core that has something for a watcher need not wait for a statement to end. They still get a quarter of a busy processor.
const STAND_BACK: i32 = 5;

/// The calling thread stands back.
fn stand_back() {
    #[cfg(target_os = "linux")]
    if let Ok(nice) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, nice + STAND_BACK);
    }
}

/// An error with its causes on one line; a cause that was said already is not said again.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        _ if said.ends_with(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    // What needs no house.
    match arguments.command {
        Some(Command::Config) => {
            // A reader like `head` may have enough before the end.
            let _ = std::io::stdout().write_all(Config::sample().as_bytes());
            return Ok(());
        }
        Some(Command::Roads(options)) => return commands::roads::run(options),
        Some(Command::Route(options)) => return commands::route::run(&options),
        Some(Command::Eval(options)) => return commands::eval::run(&options),
        _ => {}
    }
    only_small_pages();
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    commands::log::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().on_thread_start(stand_back).enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            None | Some(Command::Serve) => commands::serve::run(config, Roles::All).await,
            Some(Command::Ingest) => commands::serve::run(config, Roles::Ingest).await,
            Some(Command::Fanout) => commands::serve::run(config, Roles::Fanout).await,
            Some(Command::Api) => commands::serve::run(config, Roles::Api).await,
            Some(Command::MediaWorker) => commands::serve::run(config, Roles::MediaWorker).await,
            Some(Command::Demo(options)) => commands::demo::run(config, options).await,
            Some(Command::Replay(options)) => commands::replay::run(options).await,
            Some(Command::Fixes(options)) => commands::fixes::run(config, options).await,
            Some(Command::Audit(options)) => commands::audit::run(&config, &options),
            Some(Command::Backup(options)) => commands::backup::run(config, options).await,
            Some(Command::Key { options }) => commands::key::run(config, options).await,
            Some(
                Command::Config | Command::Roads(_) | Command::Route(_) | Command::Eval(_) | Command::MediaChild(_),
            ) => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    #[test]
    fn an_error_is_one_sentence_and_repeats_nothing() {
        let check = |error: anyhow::Error, text: &str| assert_eq!(super::sentence(&error), text);
        check(anyhow::anyhow!("nothing there"), "nothing there");
        let wrapped = Err::<(), _>(anyhow::anyhow!("nothing there").context("it cannot be read: nothing there"));
        check(wrapped.context("town.roads").unwrap_err(), "town.roads: it cannot be read: nothing there");
    }
}
