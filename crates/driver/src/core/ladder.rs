//! Which way to the server to try: the best first, the next when it leads nowhere, and the one that worked again.

use std::time::{Duration, Instant};

use super::Ended;

/// A transport, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// One UDP connection that survives a change of network.
    Quic,
    /// One TCP connection.
    WebSocket,
    /// A request per message, for networks that let nothing else through.
    Http,
}

impl Way {
    /// The name by which a user chooses it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebSocket => "ws",
            Self::Http => "http",
        }
    }
}

/// A better way is tried again after this long: networks change.
const TRY_BETTER_AFTER: Duration = Duration::from_secs(300);

/// Before the next way is tried, at most this long.
const STEP_MOST: Duration = Duration::from_millis(500);

/// The ways that are open to this driver, and where it stands.
#[derive(Debug)]
pub struct Ladder {
    ways: Vec<Way>,
    place: usize,
    /// Ways tried in vain since one last worked.
    vain: usize,
    /// When a way better than the present one was last found to lead nowhere.
    gave_up: Option<Instant>,
}

impl Ladder {
    /// These ways, best first. At least one.
    #[must_use]
    pub fn new(ways: Vec<Way>) -> Self {
        debug_assert!(!ways.is_empty(), "there is always a way");
        Self { ways, place: 0, vain: 0, gave_up: None }
    }

    /// The way to try now.
    pub fn way(&mut self, now: Instant) -> Way {
        if self.should_climb(now) {
            (self.place, self.gave_up) = (0, None);
        }
        self.ways[self.place]
    }

    /// The server has welcomed us: this way leads somewhere.
    pub fn worked(&mut self) {
        self.vain = 0;
    }

    /// Whether it is time to look for a better way. Connections are not given up for it; requests are, as they cost none.
    #[must_use]
    pub fn should_climb(&self, now: Instant) -> bool {
        self.place > 0 && self.gave_up.is_none_or(|at| now >= at + TRY_BETTER_AFTER)
    }

    /// Looks at how a connection ended. If the way itself is at fault and there is another, that one is next, after a moment: the refusal
    /// of a way is not one of the server's. Once round without luck, the wait is as long as after any failure.
    #[must_use]
    pub fn judge(&mut self, ended: Ended, welcomed: bool, now: Instant, random: f64) -> Ended {
        if welcomed || self.ways.len() == 1 || is_the_servers_word(&ended) {
            return ended;
        }
        self.vain += 1;
        let round = self.vain.is_multiple_of(self.ways.len());
        self.place = (self.place + 1) % self.ways.len();
        self.gave_up = (self.place > 0).then_some(now);
        // What a proxy answers says nothing about coming back another way.
        Ended { status: None, retry_after: (!round).then(|| STEP_MOST.mul_f64(random)), ..ended }
    }
}

/// A close code, or an answer that only the server gives: another way would give the same.
fn is_the_servers_word(ended: &Ended) -> bool {
    ended.code.is_some() || matches!(ended.status, Some(401 | 429 | 503))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Ended {
        Ended { reason: "nothing".into(), ..Ended::default() }
    }

    fn ladder() -> (Ladder, Instant) {
        (Ladder::new(vec![Way::Quic, Way::WebSocket, Way::Http]), Instant::now())
    }

    #[test]
    fn each_way_is_tried_at_once_and_then_there_is_a_pause() {
        let (mut ladder, now) = ladder();
        for (way, pause) in [(Way::Quic, true), (Way::WebSocket, true), (Way::Http, false), (Way::Quic, true)] {
            assert_eq!(ladder.way(now), way);
            let judged = ladder.judge(nothing(), false, now, 0.5);
            assert_eq!(judged.retry_after.is_some(), pause, "{way:?}");
        }
    }

    #[test]
    fn what_worked_is_kept_and_a_better_way_is_tried_later() {
        let (mut ladder, now) = ladder();
        let _ = ladder.judge(nothing(), false, now, 0.0);
        ladder.worked();
        let _ = ladder.judge(nothing(), true, now, 0.0);
        assert_eq!(ladder.way(now), Way::WebSocket);
        assert!(!ladder.should_climb(now));
        let later = now + TRY_BETTER_AFTER;
        assert!(ladder.should_climb(later));
        assert_eq!(ladder.way(later), Way::Quic);
    }

    #[test]
    fn the_servers_word_holds_on_every_way() {
        let (mut ladder, now) = ladder();
        for (code, status) in [(Some(4101), None), (Some(4003), None), (None, Some(401)), (None, Some(503))] {
            let judged = ladder.judge(Ended { code, status, ..nothing() }, false, now, 0.0);
            assert_eq!((judged.code, judged.status), (code, status));
            assert_eq!(ladder.way(now), Way::Quic);
        }
        // A proxy that knows no such thing is no server of ours.
        let judged = ladder.judge(Ended { status: Some(400), ..nothing() }, false, now, 0.0);
        assert_eq!((judged.status, ladder.way(now)), (None, Way::WebSocket));
    }

    #[test]
    fn with_one_way_only_nothing_is_changed() {
        let mut ladder = Ladder::new(vec![Way::WebSocket]);
        let judged = ladder.judge(Ended { status: Some(403), ..nothing() }, false, Instant::now(), 0.0);
        assert_eq!((judged.status, judged.retry_after), (Some(403), None));
    }
}
