//! Copies of the files while they are in use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::OpenError;

/// A writer in another process may hold the file for this long.
const BUSY: Duration = Duration::from_secs(30);

/// Copies a database that may be in use, as it is at one moment; what was deleted is not in the copy. The copy is on the disk when this
/// returns. Takes about a second for some hundred megabytes; the owner of the file goes on meanwhile.
///
/// # Errors
/// There is no such file, it is damaged, or there is something at `to` already.
pub async fn copy_database(from: &Path, to: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: from.display().to_string(), source };
    let path = to.to_str().ok_or_else(|| failed(sqlx::Error::Configuration("the name is not UTF-8".into())))?;
    // A name is made by the copying: two at once, or a copy into an old one, must not mix.
    std::fs::File::create_new(to).map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    let options = SqliteConnectOptions::new().filename(from).busy_timeout(BUSY);
    let mut source = options.connect().await.map_err(failed)?;
    sqlx::query("VACUUM INTO $1").bind(path).execute(&mut source).await.map_err(failed)?;
    source.close().await.map_err(failed)?;
    let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|source| OpenError::Folder { path: path.to_owned(), source })
}

/// Copies the logs. Whoever read on in the original is told by the copy that it is another one: ids that the original has given out since
/// will stand for other events there.
pub async fn copy_logs(dir: &Path, into: &Path) -> Result<PathBuf, OpenError> {
    let to = into.join("bus.sqlite");
    copy_database(&dir.join("bus.sqlite"), &to).await?;
    let failed = |source| OpenError::Database { path: to.display().to_string(), source };
    let mut copy = SqliteConnectOptions::new().filename(&to).connect().await.map_err(failed)?;
    let anew = sqlx::query("UPDATE meta SET value = MAX(value + 1, $1) WHERE name = 'generation'");
    anew.bind(crate::now_ms()).execute(&mut copy).await.map_err(failed)?;
    copy.close().await.map_err(failed)?;
    Ok(to)
}

/// Copies the fix log.
pub async fn copy_fixes(dir: &Path, into: &Path) -> Result<PathBuf, OpenError> {
    let to = into.join("fixes.sqlite");
    copy_database(&dir.join("fixes.sqlite"), &to).await?;
    Ok(to)
}
