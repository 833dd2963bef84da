//! `wayfare key`.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use wayfare::Config;
use wayfare_api::SigningKey;

/// What is to be done with the keys that sign tokens.
#[derive(Subcommand)]
pub enum Options {
    /// List the keys that sign tokens, newest first.
    List,
    /// Make a key that signs from ten seconds later on; tokens of the keys before it stay valid.
    Rotate,
    /// Withdraw a key that signs no more: its tokens open nothing from then on, and what they opened is closed.
    Withdraw {
        /// The key's id, `key_…`.
        id: String,
    },
}

/// Works on the records; without anything to do, makes a service key.
pub async fn run(config: Config, options: Option<Options>) -> anyhow::Result<()> {
    let api = config.api();
    let mut out = std::io::stdout().lock();
    match options {
        None => writeln!(out, "{}", wayfare_api::issue_service_key(&api).await?.0)?,
        Some(Options::List) => {
            for key in wayfare_api::list_keys(&api).await? {
                writeln!(out, "{}", line(&key))?;
            }
        }
        Some(Options::Rotate) => writeln!(out, "{}", line(&wayfare_api::make_key(&api).await?))?,
        Some(Options::Withdraw { id }) => wayfare_api::withdraw_key(&api, &id).await?,
    }
    Ok(())
}

fn line(key: &SigningKey) -> String {
    let mut line = format!("{}  {:<9}  signs from {}", key.id, key.state, utc(key.signs_from_ms));
    if let Some(at_ms) = key.believed_until_ms {
        line.push_str(&format!(", believed until {}", utc(at_ms)));
    }
    if let Some(at_ms) = key.withdrawn_ms {
        line.push_str(&format!(", withdrawn {}", utc(at_ms)));
    }
    line
}

fn utc(at_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}
