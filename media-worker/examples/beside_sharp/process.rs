//! The two processes that are compared, and what the kernel says of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wayfare_media_worker::{ChildCommand, Limits, Made, Recipe, Trouble, Workbench};

use crate::Failed;

/// The argument that makes of this program a worker's child.
pub const CHILD: &str = "child";

/// What a process has used since it began.
pub struct Cost {
    /// User and system, all threads. Neither side's threads end before their process.
    pub cpu_ms: f64,
    /// The most that was resident.
    pub peak_mb: f64,
}

impl Cost {
    /// Of a process until now.
    pub fn of(id: u32) -> Result<Self, Failed> {
        let mut ran_ns = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
            // Its first number; proc_pid_stat(5) has the same in hundredths of a second.
            let ran = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            ran_ns += ran.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        let peak_kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        Ok(Self { cpu_ms: ran_ns / 1e6, peak_mb: peak_kib * 1024.0 / 1e6 })
    }
}

/// A process that makes pictures.
pub trait Peer {
    /// Makes a photograph's files, and leaves them.
    fn make(&mut self, photograph: &Path) -> Result<(), Failed>;

    /// Until now.
    fn cost(&self) -> Result<Cost, Failed>;
}

/// Ours: a worker's child, by the worker's own side of it. Photographs and files go through pipes.
pub struct Ours {
    runtime: Runtime,
    bench: Workbench,
    recipe: Recipe,
}

impl Ours {
    /// It has started once this returns.
    pub fn start(recipe: &Recipe) -> Result<Self, Failed> {
        let command = ChildCommand::new(std::env::current_exe()?, [CHILD]);
        let bench = Workbench::new(command, Limits::default(), Duration::from_secs(60));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut ours = Self { runtime, bench, recipe: recipe.clone() };
        // A child is started by its first order, whatever it says.
        match ours.process(b"") {
            Err(Trouble::Refused(_)) => Ok(ours),
            other => Err(format!("an empty file gave {other:?}").into()),
        }
    }

    fn process(&mut self, bytes: &[u8]) -> Result<Made, Trouble> {
        self.runtime.block_on(self.bench.process(bytes, &self.recipe, |_| {}))
    }

    /// The files themselves.
    pub fn files(&mut self, photograph: &Path) -> Result<Made, Failed> {
        Ok(self.process(&std::fs::read(photograph)?)?)
    }

    /// How many files were made, or why none.
    pub fn verdict(&mut self, path: &Path) -> Result<String, Failed> {
        match self.process(&std::fs::read(path)?) {
            Ok(made) => Ok(format!("{} × {}, {} files", made.source_width, made.source_height, made.variants.len())),
            Err(Trouble::Refused(refusal)) => Ok(refusal.code.as_str().to_owned()),
            Err(trouble) => Err(trouble.into()),
        }
    }
}

impl Peer for Ours {
    fn make(&mut self, photograph: &Path) -> Result<(), Failed> {
        self.files(photograph).map(drop)
    }

    fn cost(&self) -> Result<Cost, Failed> {
        Cost::of(self.bench.child_id().ok_or("the child is gone")?)
    }
}

/// Theirs: `sharp.mjs`. It reads photographs from their files, which costs it less than a pipe, and keeps what it makes unless it is told where to leave it.
pub struct Sharp {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    recipe: Recipe,
    pub versions: String,
}

impl Sharp {
    /// It has started and loaded its library once this returns.
    pub fn start(peers: &Path, recipe: &Recipe) -> Result<Self, Failed> {
        let mut child = Command::new("node")
            .arg(peers.join("sharp.mjs"))
            .env("UV_THREADPOOL_SIZE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("node has no input or output".into());
        };
        let mut sharp =
            Self { child, input, output: BufReader::new(output), recipe: recipe.clone(), versions: String::new() };
        let versions = sharp.answer()?;
        let of = |name: &str| versions[name].as_str().unwrap_or("?").to_owned();
        sharp.versions = format!("sharp {} with libvips {} on Node {}", of("sharp"), of("vips"), of("node"));
        Ok(sharp)
    }

    /// Leaves the files in `folder`, named like `640.webp`.
    pub fn leave(&mut self, photograph: &Path, sizes: &[(u32, u32)], folder: Option<&Path>) -> Result<(), Failed> {
        let quality = self.recipe.quality;
        let order = json!({
            "path": photograph, "sizes": sizes, "folder": folder,
            "jpegQuality": quality.jpeg, "webpQuality": quality.webp, "webpEffort": quality.webp_effort,
        });
        writeln!(self.input, "{order}")?;
        self.answer().map(drop)
    }

    fn answer(&mut self) -> Result<Value, Failed> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line).map_err(|_| "sharp.mjs has ended; was `npm install` run in its folder?")?)
    }
}

impl Peer for Sharp {
    fn make(&mut self, photograph: &Path) -> Result<(), Failed> {
        let sizes = crate::sizes(&self.recipe);
        self.leave(photograph, &sizes, None)
    }

    fn cost(&self) -> Result<Cost, Failed> {
        Cost::of(self.child.id())
    }
}

impl Drop for Sharp {
    fn drop(&mut self) {
        // Its script holds nothing that has to be put away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
