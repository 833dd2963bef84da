//! What must be on the machine, and how it gets there.

use std::path::Path;
use std::time::SystemTime;

use crate::run::{Outcome, root, run, works};

/// Where Debian puts it; the browser tests look here.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Builds the pages if they are older than their sources.
pub fn pages() -> Outcome {
    if !works("npm", &["--version"]) {
        return Err("the pages need Node.js (20.19 or newer) and npm".into());
    }
    let web = root().join("web");
    let sources = ["package-lock.json", "vite.config.ts", "client/src", "pages"];
    let newest = sources.iter().filter_map(|source| newest(&web.join(source))).max();
    let built = newest_in_dist(&web.join("dist/index.html"));
    if built.is_some() && built > newest {
        return Ok(());
    }
    modules()?;
    run("web", "npm", &["run", "--silent", "build"])
}

/// Installs what the pages are built with, if the lock file changed.
pub fn modules() -> Outcome {
    let web = root().join("web");
    let installed = newest(&web.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= newest(&web.join("package-lock.json")) {
        return Ok(());
    }
    run("web", "npm", &["ci", "--no-audit", "--no-fund"])
}

/// What libjpeg-turbo is built with. Without the assembler it would be several times slower, so its build refuses that.
pub fn build_tools() -> Outcome {
    if works("cmake", &["--version"]) && works("nasm", &["--version"]) {
        return Ok(());
    }
    run("", "apt-get", &["update", "-qq"])?;
    run("", "apt-get", &["install", "-y", "-qq", "--no-install-recommends", "cmake", "nasm"])
        .map_err(|why| format!("{why}; install cmake and nasm, which libjpeg-turbo is built with"))
}

/// A browser for the browser tests.
pub fn chromium() -> Outcome {
    if Path::new(CHROMIUM).exists() {
        return Ok(());
    }
    run("", "apt-get", &["update", "-qq"])?;
    run("", "apt-get", &["install", "-y", "-qq", "--no-install-recommends", "chromium"])
        .map_err(|why| format!("{why}; install Chromium as {CHROMIUM} for the browser tests"))
}

/// Servers for the tests of the bus on Redis, which start and end them. Debian begins one of its own with the package; it is left alone.
pub fn redis() -> Outcome {
    if works("redis-server", &["--version"]) && works("redis-cli", &["--version"]) {
        return Ok(());
    }
    run("", "apt-get", &["update", "-qq"])?;
    run("", "apt-get", &["install", "-y", "-qq", "--no-install-recommends", "redis-server"])
        .map_err(|why| format!("{why}; install redis-server 7 for the tests of the bus"))
}

/// Version of the server that speaks S3. Newer ones need a newer compiler than we do.
const S3_SERVER: &str = "0.14.1";

/// A server for the tests of files on S3, built from its crate into `target/tools`: no package of Debian has one.
pub fn s3() -> Outcome {
    let program = root().join("target/tools/bin/s3s-fs");
    if works(&program.display().to_string(), &["--version"]) {
        return Ok(());
    }
    let (tools, build) = (root().join("target/tools"), root().join("target/tools/build"));
    let (tools, build) = (tools.display().to_string(), build.display().to_string());
    let arguments = [
        "install",
        "s3s-fs",
        "--version",
        S3_SERVER,
        "--locked",
        "--features",
        "binary",
        "--root",
        &tools,
        "--target-dir",
        &build,
    ];
    run("", "cargo", &arguments).map_err(|why| format!("{why}; the tests of files on S3 need s3s-fs {S3_SERVER}"))
}

/// Clients of other people that the tests run beside ours: of uploads by tus, and of QUIC.
const PYTHON_PACKAGES: [&str; 2] = ["tuspy==1.1.0", "aioquic==1.7.2"];

/// Python with [`PYTHON_PACKAGES`], in an environment of its own under `target/tools`.
pub fn python() -> Outcome {
    let folder = root().join("target/tools/python");
    let python = folder.join("bin/python").display().to_string();
    if works(&python, &["-c", "import aioquic, tusclient"]) {
        return Ok(());
    }
    let folder = folder.display().to_string();
    if !works("python3", &["-m", "venv", &folder]) {
        run("", "apt-get", &["update", "-qq"])?;
        run("", "apt-get", &["install", "-y", "-qq", "--no-install-recommends", "python3-venv"])
            .map_err(|why| format!("{why}; install Python 3 with venv for the tests of uploads and of QUIC"))?;
        run("", "python3", &["-m", "venv", &folder])?;
    }
    run("", &python, &[&["-m", "pip", "install", "--quiet"], &PYTHON_PACKAGES[..]].concat())
}

/// Servers for the tests of the records on PostgreSQL, which start and end them. Debian's own is left alone here too.
pub fn postgres() -> Outcome {
    if Path::new("/usr/lib/postgresql").exists() || works("postgres", &["--version"]) {
        return Ok(());
    }
    run("", "apt-get", &["update", "-qq"])?;
    run("", "apt-get", &["install", "-y", "-qq", "--no-install-recommends", "postgresql"])
        .map_err(|why| format!("{why}; install PostgreSQL 14 or newer for the tests of the records"))
}

fn newest_in_dist(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// The newest change in a file or a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    let metadata = path.metadata().ok()?;
    if metadata.is_file() {
        return metadata.modified().ok();
    }
    let entries = path.read_dir().ok()?;
    entries.flatten().filter_map(|entry| newest(&entry.path())).max()
}
