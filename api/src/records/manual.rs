//! How far a trip has come, said by hand: where GPS fails, somebody knows.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_engine::Phase;
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use super::trip::Trip;
use crate::input::invalid;

/// Words kept of one trip: each phase once is less.
const WORDS_MAX: usize = 16;

/// What may be said by hand; what follows from standing somewhere, and what is done with the order.
const PHASES: [Phase; 4] = [Phase::AtPickup, Phase::ToDropoff, Phase::Arrived, Phase::Delivered];

/// A phase that somebody said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manual {
    /// The phase.
    pub phase: String,
    /// When it was so, Unix milliseconds.
    pub at_ms: i64,
    /// When it was said, Unix milliseconds.
    pub said_ms: i64,
    /// The role of who said it: `driver`, `store`, `support`, `admin` or `service`.
    pub role: String,
    /// Who said it: the subject of the token.
    pub by: String,
}

/// Who says it.
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// The role.
    pub role: &'a str,
    /// The subject.
    pub by: &'a str,
}

/// The phase of a word that may be said by hand.
pub fn phase_of(word: &str) -> Result<Phase, Refusal> {
    let phase = Phase::from_code(word).filter(|phase| PHASES.contains(phase));
    phase.ok_or_else(|| {
        let known = PHASES.map(Phase::code).join(", ");
        invalid("phase", format!("{word:.40} is none of {known}"))
    })
}

impl Trip {
    /// Takes over a phase that somebody said; `at_ms` is when it was so, if that is known. False: the trip is as far already.
    pub fn say(
        &mut self,
        phase: Phase,
        at_ms: Option<i64>,
        speaker: Speaker<'_>,
        now_ms: i64,
    ) -> Result<bool, Refusal> {
        if phase == Phase::Delivered && self.phase == phase.code() {
            return Ok(false);
        }
        self.check_live()?;
        let Some(known) = self.engine_phase() else {
            return Err(Refusal::new(ErrorCode::Conflict, "the trip has no driver who could have come so far"));
        };
        if phase.rank() <= known.rank() {
            return Ok(false);
        }
        // Neither before what is known, nor in the future.
        let at_ms = at_ms.unwrap_or(now_ms).clamp(self.phase_since_ms.min(now_ms), now_ms);
        if self.manual.len() == WORDS_MAX {
            self.manual.remove(0);
        }
        let (role, by) = (speaker.role.to_owned(), speaker.by.to_owned());
        self.manual.push(Manual { phase: phase.code().to_owned(), at_ms, said_ms: now_ms, role, by });
        if phase == Phase::Delivered {
            self.end(phase, None, at_ms)?;
        } else {
            self.enter(phase.code(), at_ms);
        }
        Ok(true)
    }

    /// Who said the phase that the trip is in, if anybody did.
    pub fn said(&self) -> Option<&Manual> {
        self.manual.last().filter(|manual| manual.phase == self.phase)
    }
}
