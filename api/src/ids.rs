//! New ids: 128 random bits.

use ring::rand::{SecureRandom, SystemRandom};

use crate::db::DatabaseError;

/// Draws 128 bits that nobody can guess.
pub fn random() -> Result<u128, DatabaseError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| DatabaseError::Random)?;
    Ok(u128::from_le_bytes(bytes))
}
