//! What the app says about trips: sent until it is noted, on whichever connection.

use wayfare_wire::messages::drive::FromDriver;

/// Most words that wait: a courier with that many has more trips than any plan holds.
const WORDS_MAX: usize = 128;

/// Words in the order said.
#[derive(Debug, Default)]
pub(super) struct Words {
    waiting: Vec<Word>,
}

#[derive(Debug)]
struct Word {
    message: FromDriver,
    sent: bool,
}

impl Words {
    /// Takes a word; one that waits already is not taken twice. False: too many wait.
    pub(super) fn push(&mut self, message: FromDriver) -> bool {
        if self.waiting.iter().any(|word| word.message == message) {
            return true;
        }
        let has_room = self.waiting.len() < WORDS_MAX;
        if has_room {
            self.waiting.push(Word { message, sent: false });
        }
        has_room
    }

    /// The next to be sent.
    pub(super) fn next(&mut self) -> Option<&FromDriver> {
        let word = self.waiting.iter_mut().find(|word| !word.sent)?;
        word.sent = true;
        Some(&word.message)
    }

    /// Nothing counts as sent any more.
    pub(super) fn send_again(&mut self) {
        self.waiting.iter_mut().for_each(|word| word.sent = false);
    }

    /// The server keeps what was said of this trip.
    pub(super) fn noted(&mut self, trip: &str, said: &str) {
        self.waiting.retain(|word| subject(&word.message) != Some((trip, said)));
    }

    /// The server knows nothing of what was said. It does not name it: the oldest on the way goes. If it was another one, this one is
    /// refused again on the next connection.
    pub(super) fn refused(&mut self) {
        if let Some(place) = self.waiting.iter().position(|word| word.sent) {
            self.waiting.remove(place);
        }
    }
}

/// The trip, and the word by which it is noted.
fn subject(message: &FromDriver) -> Option<(&str, &str)> {
    match message {
        FromDriver::Accept { trip, .. } => Some((trip, "accept")),
        FromDriver::Decline { trip, .. } => Some((trip, "decline")),
        FromDriver::Status { trip, phase, .. } => Some((trip, phase)),
        _ => None,
    }
}
