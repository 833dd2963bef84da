//! The handshake, and the first words on the control stream: the codec's name and a `hello` with a token, which tells the driver, which
//! tells the shard.

use quinn::{Connection, VarInt};
use tokio::time::timeout;
use wayfare_engine::DriverId;
use wayfare_wire::codec::from_driver;
use wayfare_wire::frame::Frames;
use wayfare_wire::messages::drive::FromDriver;
use wayfare_wire::{Claims, CloseCode, DRIVE_JSON_V1};

use super::{Arrival, Greeted};
use crate::shard::Command;
use crate::{Ingest, hello, metrics};

/// Most bytes taken from the control stream in one piece.
const PIECE: usize = 16 * 1024;

/// Runs on the core that will own the connection's packets.
pub(crate) async fn greet(arrival: Arrival) {
    let Arrival { incoming, ingest, handshake, timeout: within, permit } = arrival;
    let Ok(connecting) = incoming.accept() else { return failed() };
    let Ok(Ok(connection)) = timeout(within, connecting).await else { return failed() };
    drop(handshake);
    metrics::arrival("accepted");
    let heard = timeout(ingest.house.config.auth_timeout, listen(&ingest, &connection)).await;
    match heard.unwrap_or(Err(CloseCode::Unauthorized)) {
        Ok(First { stream: (send, recv), frames, session, behind, claims, driver }) => {
            let greeted = Greeted { connection: connection.clone(), send, recv, frames, behind, session, permit };
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
    stream: (quinn::SendStream, quinn::RecvStream),
    frames: Frames,
    session: String,
    behind: Vec<Vec<u8>>,
    claims: Claims,
    driver: DriverId,
}

async fn listen(ingest: &Ingest, connection: &Connection) -> Result<First, CloseCode> {
    let (send, mut recv) = connection.accept_bi().await.map_err(|_| CloseCode::Normal)?;
    let (mut frames, mut messages) = (Frames::default(), Vec::new());
    while messages.len() < 2 {
        // An end before the hello is as good as no hello.
        let piece = recv.read_chunk(PIECE, true).await.ok().flatten().ok_or(CloseCode::Protocol)?;
        let fed = frames.feed(&piece.bytes, &mut |message| messages.push(message.to_vec()));
        fed.map_err(|_| CloseCode::TooBig)?;
        if messages.first().is_some_and(|codec| codec != DRIVE_JSON_V1.as_bytes()) {
            return Err(CloseCode::Unsupported);
        }
    }
    let behind = messages.split_off(2);
    let (token, session) = match from_driver(&messages[1]) {
        Ok((FromDriver::Hello { token: Some(token), session }, _)) => (token, session),
        _ => return Err(CloseCode::Unauthorized),
    };
    let (claims, driver) = hello::verify(ingest, &token)?;
    Ok(First { stream: (send, recv), frames, session, behind, claims, driver })
}

fn failed() {
    metrics::arrival("unfinished");
}

/// There is no `bye` here: code and word travel in the closing packet itself.
fn close(connection: &Connection, code: CloseCode) {
    metrics::closed(code);
    connection.close(VarInt::from_u32(code.number().into()), code.word().as_bytes());
}
