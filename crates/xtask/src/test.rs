//! `cargo xtask test`: everything that is checked before a change lands, the quick things first.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::run::{Outcome, root, run, run_with, works};
use crate::tools;

/// Tests of the house that are about its records: they run on SQLite with all others, and then on PostgreSQL.
const ABOUT_RECORDS: [&str; 10] =
    ["audit", "corridor", "deliveries", "erasure", "keys", "nearby", "pictures", "pictures_files", "rights", "tracks"];

/// Runs all checks.
pub fn test() -> Outcome {
    run("", "cargo", &["fmt", "--all", "--check"])?;
    // Also crates of other platforms, whose licences are checked.
    run("", "cargo", &["fetch", "--locked"])?;
    tools::pages()?;
    tools::modules()?;
    run("web", "npm", &["run", "--silent", "typecheck"])?;
    run("web", "npm", &["test", "--silent"])?;
    tools::build_tools()?;
    run("", "cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    tools::redis()?;
    tools::s3()?;
    tools::postgres()?;
    tools::python()?;
    let on_postgres = [("HOUSE_ON_POSTGRES", "1")];
    if works("cargo", &["nextest", "--version"]) {
        run("", "cargo", &["nextest", "run", "--workspace", "--no-fail-fast"])?;
        let filter = format!("test(/^({})::/)", ABOUT_RECORDS.join("|"));
        let again = ["nextest", "run", "-p", "wayfare", "--test", "house", "--no-fail-fast", "-E", &filter];
        run_with("", "cargo", &again, &on_postgres)?;
    } else {
        run("", "cargo", &["test", "--workspace", "--all-targets", "--no-fail-fast"])?;
        for room in ABOUT_RECORDS {
            run_with("", "cargo", &["test", "-p", "wayfare", "--test", "house", &format!("{room}::")], &on_postgres)?;
        }
    }
    browser()
}

/// The pages in a real browser, in front of a real house with simulated couriers.
fn browser() -> Outcome {
    tools::chromium()?;
    run("", "cargo", &["build", "--quiet", "--bin", "wayfare"])?;
    let folder = root().join("target/browser-test");
    let _ = std::fs::remove_dir_all(&folder);
    let (house, url) = Demo::start(&folder.display().to_string())?;
    let done = run_with("web", "npm", &["run", "--silent", "e2e"], &[("WAYFARE_URL", &url)]);
    drop(house);
    done
}

/// A running demo, ended when dropped.
struct Demo(Child);

impl Demo {
    /// Starts it on a free port and waits for its address.
    fn start(folder: &str) -> Result<(Self, String), String> {
        let mut child = Command::new(root().join("target/debug/wayfare"))
            .arg("demo")
            .env("WAYFARE_DATA_DIR", folder)
            .env("WAYFARE_HTTP_LISTEN", "127.0.0.1:0")
            .current_dir(root())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the demo cannot be started: {error}"))?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("the demo has no output")?).lines();
        let demo = Self(child);
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let url = line.split_whitespace().find(|word| word.starts_with("http://"))?;
            Some(url.trim_end_matches('/').to_owned())
        });
        // What it prints later is read away: a full or closed pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let url = url.ok_or("the demo ended before it told its address")?;
        println!("  the demo runs at {url}");
        Ok((demo, url))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
