//! What the watchers of one topic hold of a courier: enough to know what they see without being told.

use std::rc::Rc;

use wayfare_bus::Publisher;
use wayfare_engine::{Line, Marker, Pace, RouteLine, Shown, Told, is_unforeseen};

/// The way to the next stop, as it was drawn and as watchers compute with it.
pub struct Way {
    pub drawn: RouteLine,
    line: Line,
}

impl Way {
    pub fn new(drawn: RouteLine) -> Rc<Self> {
        let line = Line::of(&drawn.points);
        Rc::new(Self { drawn, line })
    }
}

/// A topic in which a courier's position is told.
pub struct View {
    pub publisher: Publisher,
    /// The position told last, unless it was taken back.
    told: Option<Told>,
    /// In its place: the middle of the square that was told, 10⁻⁶ degrees.
    square: Option<(i32, i32)>,
    /// The way to the next stop, as told last.
    way: Option<Rc<Way>>,
}

impl View {
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher, told: None, square: None, way: None }
    }

    /// Whether anyone watches.
    pub fn interest(&self) -> bool {
        self.publisher.interest()
    }

    /// Whether an exact position is shown.
    pub fn is_exact(&self) -> bool {
        self.told.is_some()
    }

    /// Whether any position is shown.
    pub fn is_shown(&self) -> bool {
        self.told.is_some() || self.square.is_some()
    }

    /// The way that is shown.
    pub fn way(&self) -> Option<&Rc<Way>> {
        self.way.as_ref()
    }

    /// Whether this is another way than is shown.
    pub fn has_other_way(&self, way: Option<&Rc<Way>>) -> bool {
        way.map(Rc::as_ptr) != self.way.as_ref().map(Rc::as_ptr)
    }

    /// Whether watchers must be told of this marker: they would see it elsewhere.
    pub fn is_due(&self, marker: &Marker, shown: &Shown, pace: &Pace) -> bool {
        is_unforeseen(self.told.as_ref(), self.line(), marker, shown, pace)
    }

    /// The position was told, or taken back.
    pub fn tell(&mut self, marker: Option<&Marker>) {
        self.told = marker.map(|marker| Told::new(marker, self.line()));
        self.square = None;
    }

    /// Whether watchers must be told of this square.
    pub fn is_other_square(&self, shown: &Shown) -> bool {
        self.square != Some((shown.lat_e6, shown.lon_e6))
    }

    /// A square was told.
    pub fn tell_square(&mut self, shown: &Shown) {
        (self.told, self.square) = (None, Some((shown.lat_e6, shown.lon_e6)));
    }

    /// The way was told, or taken back.
    pub fn route(&mut self, way: Option<Rc<Way>>) {
        self.way = way;
        let line = self.way.as_ref().map(|way| &way.line);
        if let Some(told) = &mut self.told {
            told.place_on(line);
        }
    }

    fn line(&self) -> Option<&Line> {
        self.way.as_ref().map(|way| &way.line)
    }
}
