//! `wayfare fixes --driver D`.

use std::io::Write as _;

use clap::Args;
use wayfare::Config;
use wayfare_bus::Bus;
use wayfare_wire::{ids, kept};

/// Records read at once.
const PAGE: usize = 64;

/// Which fixes.
#[derive(Args)]
pub struct Options {
    /// `drv_…`
    #[arg(long)]
    driver: ids::Driver,
}

/// Prints what is kept of a driver as CSV, in the order received. The house may be running.
pub async fn run(config: Config, options: Options) -> anyhow::Result<()> {
    let log = match config.redis() {
        Some(redis) => Bus::redis(&redis).await?.fixes,
        None => Bus::read_fix_log(&config.bus()).await?,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "received_ms,session,seq,t_ms,lat,lon,accuracy_m,speed_mps,heading_deg,verdict")?;
    let partition = log.partition_of(options.driver.0);
    let (mut after, mut damaged) = (0, 0);
    loop {
        let page = log.read(partition, after, PAGE).await?;
        if page.records.is_empty() {
            break;
        }
        after = page.next;
        for record in page.records {
            let Ok(entries) = record.entries else {
                damaged += 1;
                continue;
            };
            for entry in entries.into_iter().filter(|entry| entry.driver == options.driver.0) {
                let Some(message) = kept::read(entry.bytes) else { continue };
                for fix in &message.fixes {
                    let number = |value: Option<f32>| value.map_or_else(String::new, |value| value.to_string());
                    let raw = &fix.raw;
                    writeln!(
                        out,
                        "{},{:x},{},{},{},{},{},{},{},{}",
                        message.received.0,
                        message.session,
                        message.seq,
                        raw.taken.0,
                        raw.lat_deg,
                        raw.lon_deg,
                        number(raw.accuracy_m),
                        number(raw.speed_mps),
                        number(raw.heading_deg),
                        if fix.late { "late" } else { "accepted" },
                    )?;
                }
            }
        }
    }
    out.flush()?;
    if damaged > 0 {
        eprintln!("{damaged} damaged records were left out");
    }
    Ok(())
}
