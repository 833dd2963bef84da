//! The log: standard error, text or JSON.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use wayfare::config::Log;

/// Starts logging. Control characters in values are escaped by the formatter, so one event stays one line.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("log.level is {:?}", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format.as_str() {
        "json" => builder.json().init(),
        _ => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
    }
    Ok(())
}
