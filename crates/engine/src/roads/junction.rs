//! What junctions cost: the time that lights, yielding and turning take on average, charged to the street that leads there.
//!
//! | car, seconds | |
//! |---|---|
//! | traffic lights at the junction or on the street | `SIGNALS_S` |
//! | stop sign, give-way sign | `STOP_S`, `GIVE_WAY_S` |
//! | three or more arms: on the most important road | `PASS_S` |
//! | … among equals | `EQUAL_S` |
//! | … yielding to a more important road | `YIELD_S` |
//! | no way straight on: a turn is forced | `TURN_S` |
//! | zebra, toll booth | `CROSSING_S`, `TOLL_S` |
//! | streets whose speed comes from a tag | the share `TAGGED` of passing and yielding |
//!
//! Bicycles and walkers wait at lights only. A forbidden turn is no question of cost: see `restrictions.rs`.

use super::osm::NodeMarks;
use super::{Profile, RoadClass};

const SIGNALS_S: f32 = 5.0;
const STOP_S: f32 = 4.0;
const GIVE_WAY_S: f32 = 2.0;
const PASS_S: f32 = 1.3;
const EQUAL_S: f32 = 2.2;
const YIELD_S: f32 = 3.0;
const TURN_S: f32 = 2.0;
const CROSSING_S: f32 = 0.4;
const TOLL_S: f32 = 10.0;
/// A tagged limit is driven in part only (`LIMIT_DRIVEN`), which holds some of the junctions already.
const TAGGED: f32 = 0.9;
const WAIT_S: f32 = 6.0;

/// Beyond this change of direction a driver turns.
const STRAIGHT_DEG: f32 = 40.0;

/// A street as it arrives at a junction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) class: RoadClass,
    pub(crate) link: bool,
    pub(crate) roundabout: bool,
    pub(crate) tagged: bool,
    /// Direction of travel at the junction, degrees.
    pub(crate) bearing_deg: f32,
}

/// A street as it leaves a junction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    pub(crate) class: RoadClass,
    pub(crate) link: bool,
    pub(crate) roundabout: bool,
    pub(crate) bearing_deg: f32,
}

/// Marks between the ends of a street, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OnTheWay {
    pub(crate) signals: u16,
    pub(crate) signs: u16,
    pub(crate) crossings: u16,
    pub(crate) tolls: u16,
}

/// Cost in seconds of arriving at a junction of `arms` arms from which `departures` lead on (the way back left out).
pub(crate) fn penalty_s(
    profile: Profile,
    arrival: Arrival,
    arms: usize,
    strongest: RoadClass,
    departures: &[Departure],
    marks: NodeMarks,
    way: OnTheWay,
) -> f32 {
    if profile != Profile::Car {
        return WAIT_S * (f32::from(way.signals) + f32::from(u8::from(marks.signals)));
    }
    let on_the_way = SIGNALS_S * f32::from(way.signals)
        + GIVE_WAY_S * f32::from(way.signs)
        + CROSSING_S * f32::from(way.crossings)
        + TOLL_S * f32::from(way.tolls);
    let toll = if marks.toll { TOLL_S } else { 0.0 };
    on_the_way + toll + at_junction_s(arrival, arms, strongest, departures, marks)
}

fn at_junction_s(
    arrival: Arrival,
    arms: usize,
    strongest: RoadClass,
    departures: &[Departure],
    marks: NodeMarks,
) -> f32 {
    if marks.signals {
        return SIGNALS_S;
    }
    if marks.stop {
        return STOP_S;
    }
    if marks.give_way {
        return GIVE_WAY_S;
    }
    let crossing = if marks.crossing { CROSSING_S } else { 0.0 };
    // On motorways and ramps nobody stops; in a roundabout one has the right of way.
    let free_flow = arrival.class <= RoadClass::Trunk && !departures.iter().any(|on| on.class > RoadClass::Trunk);
    if arms < 3 || arrival.roundabout || free_flow {
        return crossing;
    }
    let into_roundabout = departures.iter().any(|on| on.roundabout);
    let rank = |class: RoadClass, link: bool| 2 * class as u8 + u8::from(link);
    let own = rank(arrival.class, arrival.link);
    let base = if into_roundabout || own > 2 * strongest as u8 + 1 {
        YIELD_S
    } else if own > 2 * strongest as u8 || departures.iter().filter(|on| rank(on.class, on.link) == own).count() > 1 {
        EQUAL_S
    } else {
        PASS_S
    };
    let straight =
        departures.iter().any(|on| super::geometry::angle_deg(on.bearing_deg, arrival.bearing_deg) <= STRAIGHT_DEG);
    let turn = if straight || into_roundabout { 0.0 } else { TURN_S };
    crossing + (base + turn) * if arrival.tagged { TAGGED } else { 1.0 }
}
