//! What the driver writes.

use serde::Serialize;
use wayfare_wire::messages::drive::{Fix, FromDriver, Phone};

/// [`FromDriver::Fixes`] without owning the fixes. The tag comes first, which the server reads fastest.
#[derive(Serialize)]
struct Fixes<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: u64,
    sent_ms: i64,
    fixes: &'a [Fix],
}

pub(super) fn hello(session: u64, token: Option<&str>) -> String {
    text(&FromDriver::Hello { token: token.map(str::to_owned), session: format!("{session:x}") })
}

pub(super) fn auth(token: String) -> String {
    text(&FromDriver::Auth { token })
}

pub(super) fn phone(phone: Phone) -> String {
    text(&FromDriver::Phone(phone))
}

/// What an app says about a trip.
pub(super) fn word(word: &FromDriver) -> String {
    text(word)
}

pub(super) fn fixes(seq: u64, sent_ms: i64, fixes: &[Fix]) -> String {
    text(&Fixes { kind: "fixes", seq, sent_ms, fixes })
}

fn text(message: &impl Serialize) -> String {
    // String keys and numbers only; a number that is not finite becomes null.
    serde_json::to_string(message).expect("our own messages serialise")
}
