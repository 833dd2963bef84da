//! One topic as this node hears it: a copy of its state, and who listens here.
//!
//! Subscribe first, then read, then drop what is older: no number is missed. Whatever does not fit (a gap, a lower number, a queue that ran
//! over, a connection that was cut) ends in reading again, and listeners hear a snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::message::{At, Kept, Message, News};
use crate::fields::Members;
use crate::queue::Queue;
use crate::topics::{Event, EventKind, Snapshot};

/// Words that may wait while a topic is read.
const WAITING_MAX: usize = 256;

/// What was seen, is gone, and is not told again within this, has been erased.
const GONE_AFTER: Duration = Duration::from_secs(30);

pub struct Listener<T> {
    pub queue: Arc<Queue<T>>,
    pub tag: u64,
    /// Deltas were skipped: say nothing until the subscriber has fetched a snapshot.
    pub behind: bool,
}

/// Whether a topic's words reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hearing {
    /// Nobody here listens.
    #[default]
    No,
    /// Subscribed, or about to be; the state is not read yet.
    Reading,
    /// Every word is applied.
    Yes,
}

/// Work on the subscription of a topic is done by one task at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attention {
    #[default]
    None,
    Queued,
    Now,
    /// Now, and once more.
    Again,
}

/// What to do after reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    /// Read again.
    Read,
    /// The topic has a lower number than was seen: its epoch must be raised, then it is read again.
    Raise,
    /// The topic is gone, and its owners should tell it again.
    Lost,
}

pub struct Mirror<T> {
    pub hearing: Hearing,
    pub attention: Attention,
    /// The newest number seen; (0, 0) if there was none.
    pub at: At,
    members: Members,
    /// Read at least once since somebody listens.
    is_known: bool,
    pub is_stale: bool,
    missing_since: Option<Instant>,
    waiting: Vec<Message>,
    overflown: bool,
    pub listeners: SmallVec<[Listener<T>; 2]>,
}

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        Self {
            hearing: Hearing::No,
            attention: Attention::None,
            at: (0, 0),
            members: Members::default(),
            is_known: false,
            is_stale: false,
            missing_since: None,
            waiting: Vec::new(),
            overflown: false,
            listeners: SmallVec::new(),
        }
    }
}

impl<T> Mirror<T> {
    fn snapshot(&self, ended: bool) -> Snapshot {
        Snapshot { epoch: self.at.0, seq: self.at.1, members: self.members.clone(), ended }
    }

    /// What a listener hears when deltas were not, or not yet, told; `None` while nothing is known.
    pub fn whole(&self) -> Option<EventKind> {
        match (self.is_stale, self.is_known, self.at.1) {
            (true, ..) => Some(EventKind::Stale),
            (false, false, _) => None,
            (false, true, 0) => Some(EventKind::Absent),
            (false, true, _) => Some(EventKind::Snapshot(self.snapshot(false))),
        }
    }

    /// Somebody listens from now on. True if the topic must be heard first.
    pub fn join(&mut self, queue: &Arc<Queue<T>>, tag: u64, topic: &Arc<T>) -> bool {
        let kind = if self.hearing == Hearing::No { None } else { self.whole() };
        let behind = kind.is_some_and(|kind| !queue.push(Event { tag, kind }, topic));
        self.listeners.push(Listener { queue: Arc::clone(queue), tag, behind });
        self.hearing == Hearing::No
    }

    fn tell(&mut self, kind: &EventKind, topic: &Arc<T>) {
        for listener in self.listeners.iter_mut().filter(|listener| !listener.behind) {
            let event = Event { tag: listener.tag, kind: kind.clone() };
            listener.behind = !listener.queue.push(event, topic);
        }
    }

    fn finish(&mut self, at: At, members: Members) {
        (self.at, self.members) = (at, members);
        let last = self.snapshot(true);
        for listener in self.listeners.drain(..) {
            // An end may exceed the capacity by one event per subscription: it must not wait for a slow reader.
            listener.queue.push_end(Event { tag: listener.tag, kind: EventKind::End(last.clone()) });
        }
        self.rest();
    }

    /// Nobody listens: only the newest number is remembered.
    pub fn rest(&mut self) {
        *self = Self {
            attention: self.attention,
            at: self.at,
            listeners: std::mem::take(&mut self.listeners),
            ..Self::default()
        };
    }

    /// From now on words wait until the state is read.
    pub fn begin(&mut self) {
        self.hearing = Hearing::Reading;
        self.waiting.clear();
        self.overflown = false;
    }

    /// The topic cannot be heard just now.
    pub fn stale(&mut self, topic: &Arc<T>) {
        if !self.is_stale {
            self.is_stale = true;
            self.tell(&EventKind::Stale, topic);
        }
    }

    /// A word on the channel. True if the topic must be attended to.
    pub fn hear(&mut self, message: Message, topic: &Arc<T>) -> bool {
        match self.hearing {
            Hearing::No => false,
            Hearing::Reading if self.waiting.len() < WAITING_MAX => {
                self.waiting.push(message);
                false
            }
            Hearing::Reading => {
                self.overflown = true;
                false
            }
            Hearing::Yes => self.apply(message, topic),
        }
    }

    fn apply(&mut self, message: Message, topic: &Arc<T>) -> bool {
        let at = message.at;
        if at <= self.at {
            return false;
        }
        match message.news {
            News::Delta(patch) if self.at.1 > 0 && at == (self.at.0, self.at.1 + 1) => {
                self.members.apply(&patch);
                self.at = at;
                let kind = if self.is_stale {
                    EventKind::Snapshot(self.snapshot(false))
                } else {
                    EventKind::Delta { seq: at.1, patch: Arc::new(patch) }
                };
                self.is_stale = false;
                self.tell(&kind, topic);
                false
            }
            News::Created(patch) => {
                self.members = Members::default();
                self.members.apply(&patch);
                (self.at, self.is_known, self.is_stale, self.missing_since) = (at, true, false, None);
                self.tell(&EventKind::Snapshot(self.snapshot(false)), topic);
                false
            }
            News::End(members) => {
                self.finish(at, members);
                true
            }
            News::Delta(_) | News::Raised => true,
        }
    }

    /// The state was read after the subscription stood.
    pub fn read(&mut self, kept: Option<Kept>, topic: &Arc<T>) -> Next {
        if self.hearing != Hearing::Reading {
            return Next::Done;
        }
        if self.overflown {
            self.begin();
            return Next::Read;
        }
        let mut next = Next::Done;
        match kept {
            Some(kept) if kept.at < self.at => return Next::Raise,
            Some(kept) if kept.ended => {
                self.finish(kept.at, kept.members);
                return Next::Read; // which finds nobody listening and unsubscribes
            }
            Some(kept) => {
                let news = !self.is_known || self.is_stale || kept.at != self.at;
                (self.at, self.members) = (kept.at, kept.members);
                (self.is_known, self.is_stale, self.missing_since) = (true, false, None);
                if news {
                    self.tell(&EventKind::Snapshot(self.snapshot(false)), topic);
                }
            }
            None if self.at.1 == 0 => {
                let news = !self.is_known || self.is_stale;
                (self.is_known, self.is_stale) = (true, false);
                if news {
                    self.tell(&EventKind::Absent, topic);
                }
            }
            None => {
                let since = *self.missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= GONE_AFTER {
                    self.finish((self.at.0, self.at.1 + 1), Members::default());
                    return Next::Read;
                }
                self.stale(topic);
                next = Next::Lost;
            }
        }
        self.hearing = Hearing::Yes;
        for message in std::mem::take(&mut self.waiting) {
            if self.hearing == Hearing::Yes && self.apply(message, topic) {
                next = Next::Read;
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    const E: u64 = 1_700_000_000_000;

    fn patch(value: u64) -> crate::Patch {
        let mut fields = Fields::new();
        fields.set_json("n", &value.to_string());
        fields.patch()
    }

    fn delta(seq: u64) -> Message {
        Message { at: (E, seq), news: News::Delta(patch(seq)) }
    }

    fn kept(epoch: u64, seq: u64) -> Option<Kept> {
        let mut members = Members::default();
        members.apply(&patch(seq));
        Some(Kept { at: (epoch, seq), members, ended: false })
    }

    struct Heard {
        topic: Arc<()>,
        mirror: Mirror<()>,
        queue: Arc<Queue<()>>,
    }

    impl Heard {
        fn new() -> Self {
            let (topic, mut mirror, queue) = (Arc::new(()), Mirror::default(), Arc::new(Queue::new(100)));
            assert!(mirror.join(&queue, 1, &topic));
            mirror.begin();
            Self { topic, mirror, queue }
        }
        fn hear(&mut self, message: Message) -> bool {
            self.mirror.hear(message, &self.topic)
        }
        fn read(&mut self, kept: Option<Kept>) -> Next {
            self.mirror.read(kept, &self.topic)
        }
        /// Seq of each snapshot (positive) and delta (negative); 0 is stale or absent.
        fn events(&self) -> Vec<i64> {
            let mut events = Vec::new();
            self.queue.take(&mut events);
            let place = |event: Event| match event.kind {
                EventKind::Snapshot(snapshot) | EventKind::End(snapshot) => snapshot.seq as i64,
                EventKind::Delta { seq, .. } => -(seq as i64),
                EventKind::Stale | EventKind::Absent => 0,
            };
            events.into_iter().map(place).collect()
        }
    }

    #[test]
    fn what_came_while_reading_is_told_once_and_in_order() {
        let mut heard = Heard::new();
        for seq in 3..=7 {
            assert!(!heard.hear(delta(seq)));
        }
        assert_eq!(heard.read(kept(E, 5)), Next::Done);
        assert!(!heard.hear(delta(7)) && !heard.hear(delta(8)));
        assert_eq!(heard.events(), [5, -6, -7, -8]);
        assert!(heard.hear(delta(10)), "a gap");
        heard.mirror.begin();
        assert_eq!(heard.read(kept(E, 10)), Next::Done);
        assert_eq!(heard.events(), [10]);
    }

    #[test]
    fn too_many_words_while_reading_are_read_again() {
        let mut heard = Heard::new();
        for seq in 1..=1_000 {
            assert!(!heard.hear(delta(seq)));
        }
        assert_eq!(heard.read(kept(E, 1)), Next::Read);
        assert_eq!(heard.read(kept(E, 1_000)), Next::Done);
        assert_eq!(heard.events(), [1_000]);
    }

    #[test]
    fn numbers_never_go_back() {
        let mut heard = Heard::new();
        heard.read(kept(E, 9));
        heard.mirror.begin();
        assert_eq!(heard.read(kept(E, 7)), Next::Raise);
        assert_eq!(heard.read(kept(E + 1, 8)), Next::Done);
        assert!(heard.hear(Message { at: (E + 2, 9), news: News::Raised }));
        assert!(!heard.hear(delta(10)), "of an epoch that is over");
        assert_eq!(heard.events(), [9, 8]);
    }

    #[test]
    fn what_is_lost_is_stale_until_told_again() {
        let mut heard = Heard::new();
        heard.read(kept(E, 9));
        heard.mirror.begin();
        assert_eq!(heard.read(None), Next::Lost);
        assert!(!heard.hear(Message { at: (E + 1, 1), news: News::Created(patch(1)) }));
        assert_eq!(heard.events(), [9, 0, 1]);
        let (topic, mirror) = (Arc::clone(&heard.topic), &mut heard.mirror);
        mirror.stale(&topic);
        mirror.stale(&topic);
        mirror.begin();
        assert_eq!(heard.read(kept(E + 1, 1)), Next::Done);
        assert_eq!(heard.events(), [0, 1], "a snapshot says that it can be heard again");
        heard.mirror.begin();
        assert_eq!(heard.read(kept(E + 1, 1)), Next::Done);
        assert!(heard.events().is_empty(), "who has heard everything hears nothing twice");
    }
}
