//! What a worker and its child say to each other: a head in JSON, and bytes behind it. Both lengths stand first, 32 bits each, little end first.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::encode::VariantFormat;
use crate::limits::Limits;
use crate::pipeline::{Recipe, Step};
use crate::refusal::Refusal;

/// No head is longer; who says so has lost the thread.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// No body is longer: a picture as uploaded, or a variant.
const BODY_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// A picture to be made; its bytes are the body.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub recipe: Recipe,
    pub limits: Limits,
    /// Processor time that it may take, seconds.
    pub cpu_s: u64,
}

/// What a child says of an order. The last three end it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// How far it is.
    Step(Step),
    /// A variant; its file is the body.
    Variant { format: VariantFormat, width: u32, height: u32 },
    /// All variants are told.
    Done { thumb_hash: Vec<u8>, colour: [u8; 3], source_width: u32, source_height: u32 },
    /// The picture's fault.
    Refused(Refusal),
    /// Ours.
    Fault(String),
}

fn lengths(head: &[u8], body: &[u8]) -> io::Result<[u8; 8]> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long");
    let (head, body) = (u32::try_from(head.len()).map_err(too_long)?, u32::try_from(body.len()).map_err(too_long)?);
    let mut lengths = [0; 8];
    lengths[..4].copy_from_slice(&head.to_le_bytes());
    lengths[4..].copy_from_slice(&body.to_le_bytes());
    Ok(lengths)
}

fn split(lengths: [u8; 8]) -> io::Result<(usize, usize)> {
    let [h0, h1, h2, h3, b0, b1, b2, b3] = lengths;
    let (head, body) = (u32::from_le_bytes([h0, h1, h2, h3]), u32::from_le_bytes([b0, b1, b2, b3]));
    if head > HEAD_BYTES_MAX || body > BODY_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame claims to be too long"));
    }
    Ok((head as usize, body as usize))
}

/// Writes a frame, and waits until it is on its way.
pub fn write(out: &mut impl Write, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    out.write_all(&lengths(&head, body)?)?;
    out.write_all(&head)?;
    out.write_all(body)?;
    out.flush()
}

/// Reads a frame; nothing at the end.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut first = [0; 8];
    match from.read_exact(&mut first) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (head, body) = split(first)?;
    let (mut head, mut body) = (vec![0; head], vec![0; body]);
    from.read_exact(&mut head)?;
    from.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&head)?, body)))
}

/// As [`write`], for the worker.
pub async fn send(out: &mut (impl AsyncWrite + Unpin), head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    out.write_all(&lengths(&head, body)?).await?;
    out.write_all(&head).await?;
    out.write_all(body).await?;
    out.flush().await
}

/// As [`read`], for the worker; the end is an error here.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(T, Vec<u8>)> {
    let mut first = [0; 8];
    from.read_exact(&mut first).await?;
    let (head, body) = split(first)?;
    let (mut head, mut body) = (vec![0; head], vec![0; body]);
    from.read_exact(&mut head).await?;
    from.read_exact(&mut body).await?;
    Ok((serde_json::from_slice(&head)?, body))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nonsense_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Word::Fault("no".into()), b"body").unwrap();
        let (word, body) = read::<Word>(&mut &bytes[..]).unwrap().unwrap();
        assert!(matches!(word, Word::Fault(text) if text == "no"));
        assert_eq!(body, b"body");
        assert!(read::<Word>(&mut &[][..]).unwrap().is_none());
        assert!(read::<Word>(&mut &bytes[..20]).is_err());
        assert!(read::<Word>(&mut &[0xff; 64][..]).is_err());
    }
}
