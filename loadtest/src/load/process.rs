//! CPU time and memory of a process, from `/proc`.

use anyhow::{Context as _, bail};

/// The kernel tells CPU time to programs in hundredths of a second, on every architecture.
const TICK_US: u64 = 10_000;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system time of all its threads since it began, microseconds.
    pub(super) cpu_us: u64,
    /// Resident memory, bytes.
    pub(super) rss_bytes: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).context(path)
        };
        Self::parse(&read("stat")?, &read("status")?).context("reading /proc")
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name, in brackets, may hold anything; the fields after it are numbers. utime and stime are 14 and 15, from 1.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_whitespace().skip(11);
        let user: u64 = times.next()?.parse().ok()?;
        let system: u64 = times.next()?.parse().ok()?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let rss_kib: u64 = rss.split_whitespace().next()?.parse().ok()?;
        Some(Self { cpu_us: (user + system) * TICK_US, rss_bytes: rss_kib * 1024 })
    }
}

/// Each connection takes a file; better to say so before than to fail in the middle.
pub(super) fn check_open_files(connections: usize) -> anyhow::Result<()> {
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else {
        return Ok(());
    };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    if let Some(soft) = soft.filter(|soft| *soft < connections + 64) {
        bail!("{connections} connections need more open files than {soft}: ulimit -n {}", connections + 1024);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_memory_are_found_behind_any_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 4 0 1 2 3";
        let usage = Usage::parse(stat, "Name:\tx\nVmRSS:\t    2048 kB\n").unwrap();
        assert_eq!((usage.cpu_us, usage.rss_bytes), (2_000_000, 2_097_152));
    }

    #[test]
    fn we_can_read_ourselves() {
        assert!(Usage::of(std::process::id()).unwrap().rss_bytes > 100_000);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
