//! Acks on their way: written when the fixes are judged, sent when they are durable.

use std::io::Write as _;

use bytes::Bytes;
use tokio::sync::oneshot;
use wayfare_engine::Verdict;
use wayfare_wire::messages::drive::ToDriver;
use wayfare_wire::state::{write_string, write_u64};
use wayfare_wire::{ErrorBody, ErrorCode};

use super::state::{Conn, ConnId, State};

/// When to send again what could not be kept.
const NOT_DURABLE_MS: u32 = 1000;

/// Who gets an ack.
pub enum AckTo {
    /// A connection, if it is still the same.
    Conn(ConnId),
    /// A waiting POST.
    Post(oneshot::Sender<Result<Bytes, ErrorBody>>),
}

struct Item {
    driver: u128,
    to: AckTo,
    end: usize,
}

/// Acks of one shard in one flush: their bodies in one buffer.
#[derive(Default)]
pub struct Acks {
    bodies: Vec<u8>,
    items: Vec<Item>,
}

impl Acks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds one. `body` appends the message.
    pub fn add(&mut self, driver: u128, to: AckTo, body: impl FnOnce(&mut Vec<u8>)) {
        body(&mut self.bodies);
        self.items.push(Item { driver, to, end: self.bodies.len() });
    }

    /// Takes out those of a driver whose entry was refused: it has another owner now, who will ack what it keeps.
    pub fn withhold(&mut self, driver: u128) {
        let (mut kept, mut start) = (Self::default(), 0);
        for item in std::mem::take(&mut self.items) {
            let end = item.end;
            if item.driver != driver {
                kept.add(item.driver, item.to, |out| out.extend_from_slice(&self.bodies[start..end]));
            }
            start = end;
        }
        *self = kept;
    }
}

/// Appends the members that are common to an ack over WebSocket and HTTP: `"seq":…,"verdicts":[…],"details":[…]`.
pub fn write_verdicts(out: &mut Vec<u8>, seq: u64, verdicts: &[Verdict], unreadable: &[(u32, String)]) {
    out.extend_from_slice(b"\"seq\":");
    write_u64(out, seq);
    out.extend_from_slice(b",\"verdicts\":[");
    for (index, verdict) in verdicts.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(verdict.code().as_bytes());
        out.push(b'"');
    }
    out.push(b']');
    let mut first = true;
    for (index, verdict) in verdicts.iter().enumerate() {
        let Verdict::Rejected(reason) = verdict else { continue };
        out.extend_from_slice(if first { b",\"details\":[" } else { b"," });
        first = false;
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{{\"index\":{index},\"message\":");
        match unreadable.iter().find(|(bad, _)| *bad as usize == index) {
            Some((_, why)) => write_string(out, why),
            None => write_string(out, &reason.to_string()),
        }
        out.push(b'}');
    }
    if !first {
        out.push(b']');
    }
}

impl State {
    /// Sends what is durable now; several acks of one connection in one write.
    pub fn send_acks(&mut self, acks: Acks) {
        let now_s = self.now_s();
        let mut start = 0;
        let mut touched = Vec::new();
        for item in acks.items {
            let body = &acks.bodies[start..item.end];
            start = item.end;
            match item.to {
                AckTo::Post(reply) => drop(reply.send(Ok(Bytes::copy_from_slice(body)))),
                AckTo::Conn(id) => {
                    let Some(conn) = self.conn(id) else { continue };
                    if conn.acks.is_empty() {
                        touched.push(id);
                    }
                    let Conn { line, acks, .. } = conn;
                    line.frame(acks, body);
                }
            }
        }
        for id in touched {
            if let Some(conn) = self.conn(id) {
                let frames = std::mem::take(&mut conn.acks);
                conn.line.send(&frames, now_s);
                // An idle connection owns no buffer; the allocator hands the same piece to the next.
            }
        }
    }

    /// Tells those who wait that nothing can be kept just now: they send again, and are recognised.
    pub fn refuse_acks(&mut self, acks: Acks) {
        let error = ErrorBody::new(ErrorCode::NotDurable, "nothing can be kept just now").after_ms(NOT_DURABLE_MS);
        for item in acks.items {
            match item.to {
                AckTo::Post(reply) => drop(reply.send(Err(error.clone()))),
                AckTo::Conn(id) => self.say(id, &ToDriver::Error(error.clone())),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use wayfare_engine::{Invalid, Reason};
    use wayfare_wire::messages::drive::Ack;

    #[test]
    fn hand_written_acks_are_messages_of_the_protocol() {
        let rejected = Verdict::Rejected(Reason::Invalid(Invalid::ZeroIsland));
        let check = |verdicts: &[Verdict], unreadable: &[(u32, String)]| {
            let mut text = b"{".to_vec();
            write_verdicts(&mut text, 7, verdicts, unreadable);
            text.push(b'}');
            serde_json::from_slice::<Ack>(&text).unwrap()
        };
        let ack = check(&[Verdict::Accepted, Verdict::Late], &[]);
        assert_eq!((ack.seq, ack.verdicts.join(","), ack.details.len()), (7, "accepted,late".into(), 0));
        let ack = check(&[rejected, Verdict::Accepted, rejected], &[(2, "a \"quoted\" reason".into())]);
        assert_eq!(ack.verdicts.join(","), "invalid,accepted,invalid");
        assert_eq!(ack.details[1].message, "a \"quoted\" reason");
        assert_eq!(check(&[], &[]).verdicts.len(), 0);
    }

    #[test]
    fn withheld_acks_are_gone_and_the_others_whole() {
        let id = ConnId { place: 0, generation: 0 };
        let mut acks = Acks::default();
        for (driver, body) in [(1, "one"), (2, "two"), (1, "three"), (3, "four")] {
            acks.add(driver, AckTo::Conn(id), |out| out.extend_from_slice(body.as_bytes()));
        }
        acks.withhold(1);
        assert_eq!(acks.bodies, b"twofour");
        assert_eq!(acks.items.iter().map(|item| (item.driver, item.end)).collect::<Vec<_>>(), [(2, 3), (3, 7)]);
    }
}
