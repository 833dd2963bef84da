//! Logs that the records follow. Where reading goes on stands in the database and moves in the transaction that folds what was read, so
//! every event is folded exactly once, over falls and whichever process does it.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use wayfare_bus::{LogPage, LogStart};
use wayfare_wire::Cursor;

use crate::House;
use crate::db::{self, Write};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A log, and what the records make of it.
pub trait Follow {
    /// The log.
    const LOG: &'static str;
    /// Name of the cursor in the database.
    const CURSOR: &'static str;
    /// Events folded in one transaction.
    const BATCH: usize;
    /// What is in it, for people.
    const WHAT: &'static str;

    /// Makes changes of records out of events. What fails is tried again, all of it.
    fn fold(house: &House, write: &mut Write, page: &LogPage) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Folds until told to stop, while this process leads.
pub async fn run<F: Follow>(house: &House, mut stop: watch::Receiver<bool>) {
    let mut tail = house.bus.logs.tail(F::LOG).await;
    loop {
        if house.leads() {
            match step::<F>(house).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "{} could not be folded in; trying again", F::WHAT);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        tokio::select! {
            _ = tail.changed() => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Folds one batch; true if there is more.
async fn step<F: Follow>(house: &House) -> Result<bool, Failure> {
    let from = db::meta(&house.db, F::CURSOR).await?;
    let start = match from.as_ref().and_then(|text| text.parse::<Cursor>().ok()) {
        Some(cursor) => LogStart::After { generation: cursor.epoch, id: cursor.seq },
        None => LogStart::Oldest,
    };
    let mut page = house.bus.logs.read(F::LOG, start, F::BATCH).await?;
    if page.reset {
        // Another log than we knew, or too long away: all that is kept is read again, and old news are recognised.
        tracing::warn!("the log of {} does not reach back to where it was read; reading all of it", F::WHAT);
        page = house.bus.logs.read(F::LOG, LogStart::Oldest, F::BATCH).await?;
    }
    if page.events.is_empty() {
        return Ok(false);
    }
    let mut write = house.db.write().await?;
    let next = Cursor { epoch: page.generation, seq: page.next }.to_string();
    if !db::move_cursor(&mut write, F::CURSOR, from.as_deref(), &next).await? {
        return Ok(true);
    }
    F::fold(house, &mut write, &page).await?;
    write.commit().await?;
    house.news.hurry();
    Ok(page.more)
}
