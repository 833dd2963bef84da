//! Positions as differences to the position before: most of what watchers are told, in some ten bytes each.

use prost::encoding::encode_varint;
use wayfare_engine::Shown;

use super::pen::{nested, zigzag};
use crate::state::{field, read_shown};

/// Bits of `seq` that travel with a move: enough to see that one is missing.
pub(super) const SEQ_BITS: u64 = 0x1f;
pub(super) const TURNED: u64 = 1;
pub(super) const ACCURACY: u64 = 2;

/// Appends the deltas of one topic as `ToWatcher.moves`, if nothing but the position changes in any of them. `before` is the value of
/// `position` that was held before the first, `deltas` are their numbers and insides. False, and nothing is written, if they must be told as
/// frames. 100 to 150 ns a delta.
pub fn write<'a>(
    out: &mut Vec<u8>,
    alias: u32,
    before: Option<&[u8]>,
    deltas: impl Iterator<Item = (u64, &'a [u8])>,
) -> bool {
    let start = out.len();
    let Some(mut held) = before.and_then(read_shown) else { return false };
    let all = nested(out, 2, |out| {
        for (seq, members) in deltas {
            let Some(next) = only_position(members) else { return false };
            if !write_one(out, alias, seq, &held, &next) {
                return false;
            }
            held = next;
        }
        true
    });
    if !all {
        out.truncate(start);
    }
    all
}

/// The position, if the patch has no other field.
fn only_position(members: &[u8]) -> Option<Shown> {
    let value = members.strip_prefix(b"\"")?.strip_prefix(field::POSITION.as_bytes())?.strip_prefix(b"\":")?;
    read_shown(value)
}

/// False if the step is too large for its numbers, goes back in time, or a heading appears or vanishes.
fn write_one(out: &mut Vec<u8>, alias: u32, seq: u64, held: &Shown, next: &Shown) -> bool {
    let turn = match (held.heading_deg, next.heading_deg) {
        (Some(held), Some(next)) => (i64::from(next) - i64::from(held) + 180).rem_euclid(360) - 180,
        (None, None) => 0,
        _ => return false,
    };
    let faster = i64::from(next.speed_dmps) - i64::from(held.speed_dmps);
    let wider = i64::from(next.accuracy_m) - i64::from(held.accuracy_m);
    let later_ms = next.taken.since_ms(held.taken);
    let Ok(later_ms) = u64::try_from(later_ms) else { return false };
    let later = if later_ms.is_multiple_of(1000) { later_ms / 1000 * 2 } else { later_ms.saturating_mul(2) | 1 };
    let turned = if turn == 0 && faster == 0 { 0 } else { TURNED };
    let accuracy = if wider == 0 { 0 } else { ACCURACY };
    let numbers = [
        alias.into(),
        (seq & SEQ_BITS) << 2 | turned | accuracy,
        later,
        zigzag(i64::from(next.lat_e6) - i64::from(held.lat_e6)),
        zigzag(i64::from(next.lon_e6) - i64::from(held.lon_e6)),
        zigzag(turn),
        zigzag(faster),
        zigzag(wider),
    ];
    if numbers.iter().any(|number| *number > u64::from(u32::MAX)) {
        return false;
    }
    let told = [true, true, true, true, true, turned != 0, turned != 0, accuracy != 0];
    for (number, _) in numbers.iter().zip(told).filter(|(_, told)| *told) {
        encode_varint(*number, out);
    }
    true
}
