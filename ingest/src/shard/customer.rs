//! The customer's view of a trip: what the rules let them see of it, and nothing that would tell more.

use std::rc::Rc;

use wayfare_bus::Fields;
use wayfare_engine::{Marker, Sees, Shown, StopKind, Tracker, TripView, Visibility, is_exact};
use wayfare_wire::state::{field, write_eta, write_position, write_route, write_shown, write_u64};

use super::drivers::Views;
use super::view::{View, Way};

/// What of the courier a customer is shown.
pub enum Shows {
    /// Where it is.
    Exactly(Marker),
    /// In which square.
    Square(Shown),
    /// Nothing.
    Nothing,
}

/// What a customer is shown of a trip now.
pub struct Customer {
    pub shows: Shows,
    pub sees: Sees,
    /// What came into view just now.
    new: Sees,
}

impl Customer {
    /// Asks the rules; what was seen once stays seen.
    pub fn of(rules: &Visibility, tracker: &Tracker, trip: &TripView<'_>, views: &mut Views) -> Self {
        let marker = tracker.marker();
        let (before, sees) = (views.sees, rules.sees(views.sees, trip, marker.as_ref()));
        views.sees = sees;
        let shows = match marker {
            Some(marker) if sees.position && is_exact(trip.phase) => Shows::Exactly(marker),
            Some(marker) if sees.position => rules.coarse(trip.phase, &marker).map_or(Shows::Nothing, Shows::Square),
            _ => Shows::Nothing,
        };
        let new = Sees {
            position: sees.position && !before.position,
            route: sees.route && !before.route,
            eta: sees.eta && !before.eta,
            stops_left: sees.stops_left && !before.stops_left,
        };
        Self { shows, sees, new }
    }

    /// Whether everything there is to see is seen, as by an operator, and was before: then the same bytes tell both.
    pub fn is_like_operator(&self) -> bool {
        self.sees == Sees::ALL && self.new == Sees::default() && matches!(self.shows, Shows::Exactly(_))
    }

    /// Whether the position is told exactly.
    pub fn is_exact(&self) -> bool {
        matches!(self.shows, Shows::Exactly(_))
    }

    /// Adds what came into view besides the position and the way.
    pub fn reveal(&self, fields: &mut Fields, trip: &TripView<'_>, is_eta_told: bool, is_phase_told: bool) {
        if self.new.eta
            && !is_eta_told
            && let Some(eta) = trip.eta
        {
            fields.set(field::ETA, |out| write_eta(out, eta));
        }
        if self.new.stops_left && !is_phase_told {
            fields.set(field::STOPS_LEFT, |out| write_u64(out, u64::from(trip.stops_left)));
        }
    }

    /// Adds the position if it must be told: `due` if it moved, or whenever it was not shown like this before.
    pub fn position(&self, fields: &mut Fields, view: &View, due: bool) -> Told {
        match &self.shows {
            Shows::Exactly(marker) if due || !view.is_exact() => {
                fields.set(field::POSITION, |out| write_position(out, marker));
                Told::Exactly(*marker)
            }
            Shows::Square(shown) if view.is_other_square(shown) => {
                fields.set(field::POSITION, |out| write_shown(out, shown));
                Told::Square(*shown)
            }
            Shows::Nothing if view.is_shown() => {
                fields.set_null(field::POSITION);
                Told::Gone
            }
            _ => Told::Nothing,
        }
    }

    /// The way to be shown, where operators see this one. Whoever may not see the courier may not see where it is going, and nobody but the shop which
    /// way it takes to the kitchen.
    pub fn way(&self, operators: Option<&Rc<Way>>) -> Option<Rc<Way>> {
        let shown = self.is_exact() && self.sees.route;
        operators.filter(|way| shown && way.drawn.kind == StopKind::Dropoff).map(Rc::clone)
    }
}

/// What was told of the position.
pub enum Told {
    Exactly(Marker),
    Square(Shown),
    Gone,
    Nothing,
}

impl Told {
    /// It reached the topic.
    pub fn note(&self, view: &mut View) {
        match self {
            Self::Exactly(marker) => view.tell(Some(marker)),
            Self::Square(shown) => view.tell_square(shown),
            Self::Gone => view.tell(None),
            Self::Nothing => {}
        }
    }
}

/// Tells the way if it is another than was told, or takes it back; false if it is the same.
pub fn tell_way(fields: &mut Fields, way: Option<Rc<Way>>, view: &mut View) -> bool {
    if !view.has_other_way(way.as_ref()) {
        return false;
    }
    match &way {
        Some(way) => drop(fields.set(field::ROUTE, |out| write_route(out, &way.drawn))),
        None => drop(fields.set_null(field::ROUTE)),
    }
    view.route(way);
    true
}
