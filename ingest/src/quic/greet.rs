//! The handshake, and the first words on the control stream: the codec's name and a `hello` with a token, which tells the driver, which
//! tells the shard.

use std::time::{Duration, Instant};

use quinn::{Connection, SendStream, VarInt};
use tokio::time::timeout;
use wayfare_engine::DriverId;
use wayfare_net::gate::whole_ms;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::frame::{self, Frames};
use wayfare_wire::messages::Bye;
use wayfare_wire::messages::drive::{FromDriver, ToDriver};
use wayfare_wire::{Claims, CloseCode};

use super::{Arrival, Greeted};
use crate::shard::Command;
use crate::{Ingest, hello, metrics};

/// Most bytes taken from the control stream in one piece.
const PIECE: usize = 16 * 1024;

/// Who is put off has this long to take it.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs on the core that will own the connection's packets.
pub(crate) async fn greet(arrival: Arrival) {
    let Arrival { incoming, ingest, handshake, timeout: within, permit } = arrival;
    let Ok(connecting) = incoming.accept() else { return failed() };
    let Ok(Ok(connection)) = timeout(within, connecting).await else { return failed() };
    drop(handshake);
    metrics::arrival("accepted");
    let heard = timeout(ingest.house.config.auth_timeout, listen(&ingest, &connection)).await;
    match heard.unwrap_or(Err(CloseCode::Unauthorized)) {
        Ok(First { stream: (send, recv), frames, codec, session, behind, claims, driver }) => {
            if let Err(wait) = ingest.house.gate.arrive(&claims, Instant::now()) {
                return put_off(&connection, send, codec, whole_ms(wait)).await;
            }
            let greeted =
                Greeted { connection: connection.clone(), send, recv, frames, codec, behind, session, permit };
            let command = Command::Quic { greeted: Box::new(greeted), claims, driver };
            if ingest.shard(driver).try_send(command).is_err() {
                close(&connection, CloseCode::Overloaded);
            }
        }
        Err(code) => close(&connection, code),
    }
}

/// What the first words say.
struct First {
    stream: (SendStream, quinn::RecvStream),
    frames: Frames,
    codec: DriveCodec,
    session: String,
    behind: Vec<Vec<u8>>,
    claims: Claims,
    driver: DriverId,
}

async fn listen(ingest: &Ingest, connection: &Connection) -> Result<First, CloseCode> {
    let (send, mut recv) = connection.accept_bi().await.map_err(|_| CloseCode::Normal)?;
    let (mut frames, mut messages) = (Frames::default(), Vec::<Vec<u8>>::new());
    let mut codec = DriveCodec::default();
    while messages.len() < 2 {
        // An end before the hello is as good as no hello.
        let piece = recv.read_chunk(PIECE, true).await.ok().flatten().ok_or(CloseCode::Protocol)?;
        let fed = frames.feed(&piece.bytes, &mut |message| messages.push(message.to_vec()));
        fed.map_err(|_| CloseCode::TooBig)?;
        if let Some(name) = messages.first() {
            let known = std::str::from_utf8(name).ok().and_then(DriveCodec::of);
            codec = known.ok_or(CloseCode::Unsupported)?;
        }
    }
    let behind = messages.split_off(2);
    let (token, session) = match codec.read(&messages[1]) {
        Ok((FromDriver::Hello { token: Some(token), session }, _)) => (token, session),
        _ => return Err(CloseCode::Unauthorized),
    };
    let (claims, driver) = hello::verify(ingest, &token)?;
    Ok(First { stream: (send, recv), frames, codec, session, behind, claims, driver })
}

fn failed() {
    metrics::arrival("unfinished");
}

/// Tells when to come again. A closing packet would throw away what is still on its way: the client is given a moment to take it.
async fn put_off(connection: &Connection, mut send: SendStream, codec: DriveCodec, retry_after_ms: u32) {
    let code = CloseCode::Overloaded;
    let bye = Bye { code: code.number(), reason: code.word().into(), retry_after_ms: Some(retry_after_ms) };
    let (mut message, mut framed) = (Vec::new(), Vec::new());
    codec.write(&mut message, &ToDriver::Bye(bye));
    frame::write(&mut framed, &message);
    let saying = async {
        if send.write_all(&framed).await.is_ok() && send.finish().is_ok() {
            let _ = send.stopped().await;
        }
    };
    let _ = timeout(GOODBYE, saying).await;
    close(connection, code);
}

/// To one who is not known there is no `bye`: code and word travel in the closing packet itself.
fn close(connection: &Connection, code: CloseCode) {
    metrics::closed(code);
    connection.close(VarInt::from_u32(code.number().into()), code.word().as_bytes());
}
