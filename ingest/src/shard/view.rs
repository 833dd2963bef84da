//! What the watchers of one topic hold of a courier: enough to know what they see without being told.

use std::rc::Rc;

use wayfare_bus::Publisher;
use wayfare_engine::{Line, Marker, Pace, Shown, Told, is_unforeseen};

/// A topic in which a courier's position is told.
pub struct View {
    pub publisher: Publisher,
    /// The position told last, unless it was taken back.
    told: Option<Told>,
    /// The way to the next stop, as told last.
    line: Option<Rc<Line>>,
}

impl View {
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher, told: None, line: None }
    }

    /// Whether anyone watches.
    pub fn interest(&self) -> bool {
        self.publisher.interest()
    }

    /// Whether a position is shown.
    pub fn is_shown(&self) -> bool {
        self.told.is_some()
    }

    /// Whether a way is shown.
    pub fn is_routed(&self) -> bool {
        self.line.is_some()
    }

    /// Whether watchers must be told of this marker: they would see it elsewhere.
    pub fn is_due(&self, marker: &Marker, shown: &Shown, pace: &Pace) -> bool {
        is_unforeseen(self.told.as_ref(), self.line.as_deref(), marker, shown, pace)
    }

    /// The position was told, or taken back.
    pub fn tell(&mut self, marker: Option<&Marker>) {
        self.told = marker.map(|marker| Told::new(marker, self.line.as_deref()));
    }

    /// The way was told, or taken back.
    pub fn route(&mut self, line: Option<Rc<Line>>) {
        self.line = line;
        if let Some(told) = &mut self.told {
            told.place_on(self.line.as_deref());
        }
    }
}
