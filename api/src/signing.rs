//! The keys that sign tokens. One signs; those before it are believed until the last token they can have signed is over, or until they are
//! withdrawn.
//!
//! A new key is told to every door first and signs some seconds later ([`SIGNS_AFTER_MS`]), so no door ever meets a token whose key it has not
//! heard of, and none has to ask for keys. The private half of a key that no longer signs is thrown away. Keys may be changed by the API or
//! from the command line beside a running house, which hears of it through the outbox.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_net::tokens::{InvalidKey, Signer};
use wayfare_wire::{Claims, ids};

use crate::ApiConfig;
use crate::db::{self, Database, DatabaseError, Write};
use crate::ids::random;
use crate::outbox;

/// A new key signs this much later than it is told. A house beside which it was made on the command line looks for it every 5 s.
const SIGNS_AFTER_MS: i64 = 10_000;

/// No token lives longer, seconds: a year, and a day for leap years.
pub const TOKEN_S_MAX: i64 = 366 * 86_400;

/// Most keys that are believed at once: each is one more by which a thief could come in.
const BELIEVED_MAX: usize = 8;

/// A key that signs, has signed, or will sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SigningKey {
    /// Its id, which stands in the header of each token (`kid`).
    pub id: String,
    /// `next` (told, and about to sign), `current` (signs), `retired` (signs no more, its tokens are valid) or `withdrawn` (they are not).
    pub state: &'static str,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it began to sign, or will, Unix milliseconds.
    pub signs_from_ms: i64,
    /// Of a retired key: when the last token that it can have signed is over, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub believed_until_ms: Option<i64>,
    /// When it was withdrawn, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn_ms: Option<i64>,
}

/// Why a key is not made or withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none of this id.
    #[error("there is no signing key {0:.60?}")]
    Absent(String),
    /// It is the one that signs.
    #[error("the key signs: make another first, and wait until that one signs")]
    Signs,
    /// Another is about to sign already.
    #[error("the key {id} was made just now and signs in {in_ms} ms: make another after that")]
    Pending {
        /// Which.
        id: String,
        /// How long until it signs.
        in_ms: i64,
    },
    /// Too many are believed.
    #[error("{BELIEVED_MAX} keys are believed already: withdraw old ones first")]
    Many,
    /// See there.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What is needed to sign and to tell others, in memory.
pub struct Signing(RwLock<Arc<Held>>);

struct Held {
    /// With the time from which each signs, oldest first; never empty.
    signers: Vec<(i64, Signer)>,
    believed: Vec<(String, String)>,
}

impl Signing {
    /// Reads the keys, and makes the first if there is none.
    pub async fn open(db: &Database) -> Result<Self, DatabaseError> {
        let now_ms = wayfare_bus::now_ms();
        let mut write = db.write().await?;
        if Row::all(&mut write).await?.is_empty() {
            first(&mut write, now_ms).await?;
        }
        forget_private(&mut write, now_ms).await?;
        let held = Held::of(&Row::all(&mut write).await?, now_ms)?;
        write.commit().await?;
        Ok(Self(RwLock::new(Arc::new(held))))
    }

    /// Reads the keys again: some were made or withdrawn.
    pub async fn reload(&self, db: &Database) -> Result<(), DatabaseError> {
        let held = Held::of(&Row::all_of(db).await?, wayfare_bus::now_ms())?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        Ok(())
    }

    /// Signs with the key whose time it is.
    pub fn sign(&self, claims: &Claims) -> String {
        let (held, now_ms) = (self.held(), wayfare_bus::now_ms());
        let due = held.signers.iter().rev().find(|(from_ms, _)| *from_ms <= now_ms);
        // A clock that was set back makes every key one of the future.
        let (_, signer) = due.unwrap_or(&held.signers[0]);
        signer.sign(claims)
    }

    /// Ids and public keys (base64url) of all that are believed.
    pub fn believed(&self) -> Vec<(String, String)> {
        self.held().believed.clone()
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn of(rows: &[Row], now_ms: i64) -> Result<Self, DatabaseError> {
        let (mut signers, mut believed) = (Vec::new(), Vec::new());
        for row in rows.iter().filter(|row| row.is_believed(rows, now_ms)) {
            believed.push((row.id.clone(), row.public_key.clone()));
            // Those that sign no more have no private half, whatever the clock says.
            if let Some(pkcs8) = &row.pkcs8 {
                signers.push((row.signs_from_ms, Signer::from_pkcs8(row.id.clone(), &decode(pkcs8)?)?));
            }
        }
        if signers.is_empty() {
            return Err(InvalidKey.into());
        }
        Ok(Self { signers, believed })
    }
}

/// All keys there ever were, newest first.
pub async fn list(db: &Database) -> Result<Vec<SigningKey>, DatabaseError> {
    let (rows, now_ms) = (Row::all_of(db).await?, wayfare_bus::now_ms());
    Ok(rows.iter().rev().map(|row| row.shown(&rows, now_ms)).collect())
}

/// Makes a key that will sign. `by` is told where nobody's token says who it was.
pub async fn make(write: &mut Write, by: Option<&str>) -> Result<SigningKey, KeyError> {
    let now_ms = wayfare_bus::now_ms();
    let rows = Row::all(write).await?;
    if let Some(next) = rows.iter().find(|row| row.is_next(now_ms)) {
        return Err(KeyError::Pending { id: next.id.clone(), in_ms: next.signs_from_ms - now_ms });
    }
    if rows.iter().filter(|row| row.is_believed(&rows, now_ms)).count() >= BELIEVED_MAX {
        return Err(KeyError::Many);
    }
    let row = Row::draw(now_ms, now_ms + SIGNS_AFTER_MS)?;
    row.insert(write).await?;
    outbox::put_key(write, &row.id, 1, "POST /v1/keys", by).await?;
    Ok(row.shown(std::slice::from_ref(&row), now_ms))
}

/// Withdraws a key: what it has signed opens nothing from now on, and what was opened is closed. Again: nothing happens.
pub async fn withdraw(write: &mut Write, id: &str, by: Option<&str>) -> Result<(), KeyError> {
    let now_ms = wayfare_bus::now_ms();
    let rows = Row::all(write).await?;
    let row = rows.iter().find(|row| row.id == id).ok_or_else(|| KeyError::Absent(id.to_owned()))?;
    if row.withdrawn_ms.is_some() {
        return Ok(());
    }
    if !row.is_next(now_ms) && row.superseded_ms(&rows, now_ms).is_none() {
        return Err(KeyError::Signs);
    }
    sqlx::query("UPDATE signing_key SET withdrawn_ms = $2, pkcs8 = NULL WHERE id = $1")
        .bind(id)
        .bind(now_ms)
        .execute(&mut **write)
        .await
        .map_err(DatabaseError::from)?;
    outbox::put_key(write, id, 2, "DELETE /v1/keys/{id}", by).await?;
    Ok(())
}

/// Throws the private halves of keys away that sign no more.
pub async fn forget_private(write: &mut Write, now_ms: i64) -> Result<(), DatabaseError> {
    let rows = Row::all(write).await?;
    for row in rows.iter().filter(|row| row.pkcs8.is_some() && row.superseded_ms(&rows, now_ms).is_some()) {
        sqlx::query("UPDATE signing_key SET pkcs8 = NULL WHERE id = $1").bind(&row.id).execute(&mut **write).await?;
    }
    Ok(())
}

/// Who it was, where no token says it.
const COMMAND_LINE: &str = "command line";

/// The keys, from the command line.
///
/// # Errors
/// There are no records, or they cannot be read.
pub async fn list_keys(config: &ApiConfig) -> Result<Vec<SigningKey>, DatabaseError> {
    let db = Database::open(&config.database).await?;
    Signing::open(&db).await?;
    let keys = list(&db).await;
    db.close().await;
    keys
}

/// Makes a key from the command line; a house that is running hears of it within 5 s.
///
/// # Errors
/// See [`KeyError`].
pub async fn make_key(config: &ApiConfig) -> Result<SigningKey, KeyError> {
    let db = Database::open(&config.database).await?;
    Signing::open(&db).await?;
    let mut write = db.write().await?;
    let key = make(&mut write, Some(COMMAND_LINE)).await?;
    write.commit().await.map_err(DatabaseError::from)?;
    db.close().await;
    Ok(key)
}

/// Withdraws a key from the command line; the same otherwise.
///
/// # Errors
/// See [`KeyError`].
pub async fn withdraw_key(config: &ApiConfig, id: &str) -> Result<(), KeyError> {
    let db = Database::open(&config.database).await?;
    Signing::open(&db).await?;
    let mut write = db.write().await?;
    withdraw(&mut write, id, Some(COMMAND_LINE)).await?;
    write.commit().await.map_err(DatabaseError::from)?;
    db.close().await;
    Ok(())
}

/// The first key: the one that an older version kept elsewhere, or a new one.
async fn first(write: &mut Write, now_ms: i64) -> Result<(), DatabaseError> {
    #[derive(Deserialize)]
    struct Stored {
        kid: String,
        pkcs8: String,
    }
    const OLD_NAME: &str = "signing_key";
    let row = match db::meta_in(write, OLD_NAME).await? {
        Some(stored) => {
            let Stored { kid, pkcs8 } = serde_json::from_str(&stored)?;
            let signer = Signer::from_pkcs8(kid.clone(), &decode(&pkcs8)?)?;
            let public_key = signer.public_base64url().to_owned();
            let pkcs8 = Some(pkcs8);
            Row { id: kid, created_ms: now_ms, signs_from_ms: now_ms, public_key, pkcs8, withdrawn_ms: None }
        }
        None => Row::draw(now_ms, now_ms)?,
    };
    row.insert(write).await?;
    sqlx::query("DELETE FROM meta WHERE name = $1").bind(OLD_NAME).execute(&mut **write).await?;
    Ok(())
}

fn decode(pkcs8: &str) -> Result<Vec<u8>, InvalidKey> {
    STANDARD.decode(pkcs8).map_err(|_| InvalidKey)
}

type Columns = (String, i64, i64, String, Option<String>, Option<i64>);

const ALL: &str =
    "SELECT id, created_ms, signs_from_ms, public_key, pkcs8, withdrawn_ms FROM signing_key ORDER BY signs_from_ms, id";

/// As it is stored.
#[derive(Debug, Clone)]
struct Row {
    id: String,
    created_ms: i64,
    signs_from_ms: i64,
    public_key: String,
    /// The private half, while it signs or will.
    pkcs8: Option<String>,
    withdrawn_ms: Option<i64>,
}

impl Row {
    fn draw(created_ms: i64, signs_from_ms: i64) -> Result<Self, DatabaseError> {
        let (id, pkcs8) = (ids::format("key", random()?), Signer::generate_pkcs8()?);
        let public_key = Signer::from_pkcs8(id.clone(), &pkcs8)?.public_base64url().to_owned();
        let pkcs8 = Some(STANDARD.encode(pkcs8));
        Ok(Self { id, created_ms, signs_from_ms, public_key, pkcs8, withdrawn_ms: None })
    }

    /// Told, and about to sign.
    fn is_next(&self, now_ms: i64) -> bool {
        self.withdrawn_ms.is_none() && self.signs_from_ms > now_ms
    }

    /// Since when another one signs in its place.
    fn superseded_ms(&self, rows: &[Self], now_ms: i64) -> Option<i64> {
        let has_signed = |row: &&Self| {
            row.signs_from_ms <= now_ms && row.withdrawn_ms.is_none_or(|withdrawn_ms| row.signs_from_ms <= withdrawn_ms)
        };
        let later = rows.iter().filter(|row| row.signs_from_ms > self.signs_from_ms).filter(has_signed);
        later.map(|row| row.signs_from_ms).min()
    }

    fn believed_until_ms(&self, rows: &[Self], now_ms: i64) -> Option<i64> {
        self.superseded_ms(rows, now_ms).map(|at_ms| at_ms + TOKEN_S_MAX * 1000)
    }

    fn is_believed(&self, rows: &[Self], now_ms: i64) -> bool {
        self.withdrawn_ms.is_none() && self.believed_until_ms(rows, now_ms).is_none_or(|until_ms| now_ms < until_ms)
    }

    fn shown(&self, rows: &[Self], now_ms: i64) -> SigningKey {
        let until_ms = self.believed_until_ms(rows, now_ms).filter(|_| self.withdrawn_ms.is_none());
        let state = match (self.withdrawn_ms, until_ms) {
            (Some(_), _) => "withdrawn",
            (None, Some(_)) => "retired",
            (None, None) if self.is_next(now_ms) => "next",
            (None, None) => "current",
        };
        SigningKey {
            id: self.id.clone(),
            state,
            created_ms: self.created_ms,
            signs_from_ms: self.signs_from_ms,
            believed_until_ms: until_ms,
            withdrawn_ms: self.withdrawn_ms,
        }
    }

    async fn insert(&self, write: &mut Write) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO signing_key (id, created_ms, signs_from_ms, public_key, pkcs8) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&self.id)
        .bind(self.created_ms)
        .bind(self.signs_from_ms)
        .bind(&self.public_key)
        .bind(&self.pkcs8)
        .execute(&mut **write)
        .await?;
        Ok(())
    }

    /// All, in the order in which they began to sign.
    async fn all(write: &mut Write) -> Result<Vec<Self>, DatabaseError> {
        let rows: Vec<Columns> = sqlx::query_as(ALL).fetch_all(&mut **write).await?;
        Ok(rows.into_iter().map(Self::of).collect())
    }

    async fn all_of(db: &Database) -> Result<Vec<Self>, DatabaseError> {
        let rows: Vec<Columns> = sqlx::query_as(ALL).fetch_all(db.read()).await?;
        Ok(rows.into_iter().map(Self::of).collect())
    }

    fn of((id, created_ms, signs_from_ms, public_key, pkcs8, withdrawn_ms): Columns) -> Self {
        Self { id, created_ms, signs_from_ms, public_key, pkcs8, withdrawn_ms }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use crate::db::testing::databases;

    const DAY_MS: i64 = 86_400_000;

    fn row(id: &str, signs_from_ms: i64, withdrawn_ms: Option<i64>) -> Row {
        let public_key = String::new();
        Row { id: id.into(), created_ms: 0, signs_from_ms, public_key, pkcs8: None, withdrawn_ms }
    }

    #[test]
    fn a_key_signs_from_its_time_on_and_is_believed_until_its_last_token_is_over() {
        let check = |rows: &[Row], now_ms: i64, expected: &str| {
            let states: Vec<&str> = rows.iter().map(|row| row.shown(rows, now_ms).state).collect();
            let believed: String =
                rows.iter().filter(|row| row.is_believed(rows, now_ms)).map(|row| &*row.id).collect();
            assert_eq!(format!("{} {believed}", states.join(" ")), expected, "at {now_ms}");
        };
        let rows = [row("a", 0, None), row("b", 100, None)];
        check(&rows, 50, "current next ab");
        check(&rows, 100, "retired current ab");
        check(&rows, 99 + 366 * DAY_MS, "retired current ab");
        check(&rows, 100 + 366 * DAY_MS, "retired current b");
        check(&[row("a", 0, Some(200)), row("b", 100, None)], 200, "withdrawn current b");
        // Taken back before it ever signed: the one before goes on.
        check(&[row("a", 0, None), row("b", 100, Some(60))], 200, "current withdrawn a");
        let rows = [row("a", 0, None), row("b", 100, Some(300)), row("c", 200, None)];
        check(&rows, 400, "retired withdrawn current ac");
        assert_eq!(
            rows[0].shown(&rows, 400).believed_until_ms,
            Some(100 + 366 * DAY_MS),
            "since b signed in its place"
        );
    }

    #[tokio::test]
    async fn keys_are_made_superseded_and_withdrawn_and_their_private_halves_go() {
        for scratch in databases().await {
            check(&scratch.db, scratch.file.as_deref()).await;
        }
    }

    async fn check(db: &Database, file: Option<&std::path::Path>) {
        // As an older version left it.
        let pkcs8 = Signer::generate_pkcs8().unwrap();
        let old = Signer::from_pkcs8("key_old".into(), &pkcs8).unwrap();
        let mut write = db.write().await.unwrap();
        let stored = serde_json::json!({ "kid": "key_old", "pkcs8": STANDARD.encode(&pkcs8) }).to_string();
        db::set_meta(&mut write, "signing_key", &stored).await.unwrap();
        write.commit().await.unwrap();
        let signing = Signing::open(db).await.unwrap();
        assert_eq!(signing.believed(), [("key_old".to_owned(), old.public_base64url().to_owned())]);
        assert_eq!(db::meta(db, "signing_key").await.unwrap(), None);

        let mut write = db.write().await.unwrap();
        assert!(matches!(withdraw(&mut write, "key_old", None).await, Err(KeyError::Signs)));
        assert!(matches!(withdraw(&mut write, "key_none", None).await, Err(KeyError::Absent(_))));
        let next = make(&mut write, Some("somebody")).await.unwrap();
        assert_eq!(next.state, "next");
        assert!(matches!(make(&mut write, None).await, Err(KeyError::Pending { .. })));
        assert!(matches!(withdraw(&mut write, "key_old", None).await, Err(KeyError::Signs)), "it still does");
        // Its time has come.
        let now_ms = wayfare_bus::now_ms();
        let early = "UPDATE signing_key SET signs_from_ms = $2 WHERE id = $1";
        for (id, signs_from_ms) in [("key_old", 0), (&*next.id, now_ms - 1)] {
            sqlx::query(early).bind(id).bind(signs_from_ms).execute(&mut *write).await.unwrap();
        }
        forget_private(&mut write, now_ms).await.unwrap();
        let rows = Row::all(&mut write).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.pkcs8.is_some()).collect::<Vec<_>>(), [false, true]);
        write.commit().await.unwrap();
        signing.reload(db).await.unwrap();
        assert_eq!(signing.believed().len(), 2);

        let mut write = db.write().await.unwrap();
        for _ in 0..2 {
            withdraw(&mut write, "key_old", None).await.unwrap();
        }
        assert!(matches!(withdraw(&mut write, &next.id, None).await, Err(KeyError::Signs)));
        write.commit().await.unwrap();
        signing.reload(db).await.unwrap();
        assert_eq!(signing.believed().iter().map(|(id, _)| id).collect::<Vec<_>>(), [&next.id]);
        let states: Vec<&str> = list(db).await.unwrap().iter().map(|key| key.state).collect();
        assert_eq!(states, ["current", "withdrawn"]);
        let notes: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM outbox").fetch_one(db.read()).await.unwrap();
        assert_eq!(notes, 2, "one for the new key, one for the withdrawn one");
        // Not even in a part of the file that is not used any more.
        db.close().await;
        let Some(file) = file else { return };
        let file = std::fs::read(file).unwrap();
        let secret = STANDARD.encode(&pkcs8);
        assert!(!file.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}
