//! `wayfare backup DIR`.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use wayfare::Config;
use wayfare_bus::embedded::backup;

/// Where to.
#[derive(Args)]
pub struct Options {
    /// A folder that does not exist yet, or is empty. It is as private as `data.dir`: keys are in it.
    into: PathBuf,
}

/// Copies everything that `data.dir` holds. The house may be running. What a bus on Redis holds (logs and the fix log) is not in it, nor what a
/// PostgreSQL holds (the records).
///
/// The order matters, since each file is a moment younger than the one before: logs must not know more than the records they tell of, and
/// records may have folded only fixes that the fix log has. A house that starts on the copy finds itself as after a fall.
pub async fn run(config: Config, options: Options) -> anyhow::Result<()> {
    let (from, into) = (&config.data.dir, &options.into);
    let on_server = !config.database.url.is_empty();
    if !on_server && !from.join("records.sqlite").is_file() {
        bail!("data.dir: {} holds no house", from.display());
    }
    make_folder(into)?;
    let mut copied = Vec::new();
    let on_redis = config.redis().is_some();
    if !on_redis {
        copied.push(backup::copy_logs(from, into).await?);
    }
    if !on_server {
        let records = into.join("records.sqlite");
        backup::copy_database(&from.join("records.sqlite"), &records).await?;
        copied.push(records);
    }
    if !on_redis {
        copied.push(backup::copy_fixes(from, into).await?);
    }
    // After the records: what they name is there still, since files are deleted long after the records have let go of them.
    if config.files.bucket.is_empty() {
        copied.extend(copy_files(&config.files.folder(&config.data), &into.join("files"))?);
    }
    copied.extend(copy_folder(&config.audit_folder(), &into.join("audit"))?);
    // What was learned is written anew as a whole now and then.
    let learned = from.join("learned.bin");
    if learned.is_file() {
        copied.push(copy_file(&learned, &into.join("learned.bin"))?);
    }
    fs::File::open(into)?.sync_all()?;
    let bytes: u64 = copied.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum();
    if on_redis {
        println!(
            "Logs and the fix log are on Redis (bus.url), and not in this copy: back Redis up with its own means, before this."
        );
    }
    if on_server {
        println!(
            "The records are in PostgreSQL (database.url), and not in this copy: back it up with its own means, after this."
        );
    }
    if !config.files.bucket.is_empty() {
        println!("Pictures are in the bucket {} and not in this copy.", config.files.bucket);
    }
    println!("{} files, {bytes} bytes, in {}", copied.len(), into.display());
    Ok(())
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let name = || path.display().to_string();
    if path.exists() && fs::read_dir(path).with_context(name)?.next().is_some() {
        bail!("{} is not empty", path.display());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(name)
}

fn copy_folder(from: &Path, into: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::DirBuilder::new().mode(0o700).create(into).with_context(|| into.display().to_string())?;
    if !from.is_dir() {
        return Ok(Vec::new());
    }
    let mut copied = Vec::new();
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            copied.push(copy_file(&entry.path(), &into.join(entry.file_name()))?);
        }
    }
    Ok(copied)
}

/// Whole files of pictures, with their folders. What is deleted or written meanwhile is left out.
fn copy_files(from: &Path, into: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut copied = Vec::new();
    if !from.is_dir() {
        return Ok(copied);
    }
    fs::DirBuilder::new().mode(0o700).create(into).with_context(|| into.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        // Half-written ones are in a folder that begins with a dot.
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copied.extend(copy_files(&path, &into.join(name))?);
        } else if path.exists() {
            copied.push(copy_file(&path, &into.join(name))?);
        }
    }
    Ok(copied)
}

fn copy_file(from: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    fs::File::open(to)?.sync_all()?;
    Ok(to.to_owned())
}
