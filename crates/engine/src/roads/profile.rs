//! Who may travel where, and how fast: three profiles, each in one table.
//!
//! |                  | car (motorbike, van)                    | bicycle                                  | foot                    |
//! |------------------|-----------------------------------------|------------------------------------------|-------------------------|
//! | access keys, the last that is set decides | `access vehicle motor_vehicle motorcar` | `access vehicle bicycle` | `access foot` |
//! | shut values      | `no private permit residents agricultural forestry military emergency psv bus taxi use_sidepath` | the same; `dismount` is pushed | the same |
//! | open by default  | motorway to living street, service      | all but motorways, `motorroad` and `steps`; pushed on `footway`, `pedestrian` | all but motorways, `motorroad`, trunks without `sidewalk` |
//! | opened by a tag of its own | tracks, pedestrian streets    | –                                        | trunks                  |
//! | one-way          | `oneway=yes 1 true`, `-1`; implied on motorways and their ramps, `junction=roundabout circular`; `reversible` is shut | the same, but `oneway:bicycle=no`, `cycleway*=opposite*`, `cycleway:*:oneway=no -1` open the other way | only `oneway:foot` |
//! | speed            | `maxspeed[:forward\|:backward]`, else zone (`maxspeed:type`, `source:maxspeed`, `zone:maxspeed`), else class, town or country | 17 km/h, 12 on paths, 4.5 on foot; never above the limit | 5 km/h; steps 2.5 |
//! | share of the limit driven | see `LIMIT_DRIVEN`             | –                                        | –                       |
//! | surface          | at most 40 km/h on cobbles and gravel, 25 on earth and grass, 15 on mud and sand | at most 12, 10, 8 | –              |
//! | ferries          | `route=ferry` with `motor_vehicle`, `motorcar` or untagged: `duration`, else 15 km/h | unless `bicycle=no` | unless `foot=no` |
//! | conditional tags | ignored, and counted                    | the same                                 | the same                |
//! | turn restrictions| yes; except those of `except=motorcar`  | no: who pushes may                       | no                      |
//!
//! The penalties of junctions stand in `junction.rs`.

use super::RoadClass;
use super::tags::{Tags, speed_kmh};
use crate::Vehicle;

/// Whose roads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Profile {
    /// Cars, vans and motorbikes.
    Car = 0,
    /// Bicycles.
    Bicycle = 1,
    /// Walkers.
    Foot = 2,
}

/// How a profile may travel a way. A speed of 0 shuts that direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Passage {
    pub(crate) forward: Pace,
    pub(crate) backward: Pace,
}

/// Speeds of one direction in km/h, before it is known whether the street lies in a town.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    pub(crate) country_kmh: f32,
    pub(crate) town_kmh: f32,
    /// From a tag, not from the class.
    pub(crate) tagged: bool,
}

impl Pace {
    const SHUT: Self = Self { country_kmh: 0.0, town_kmh: 0.0, tagged: false };

    fn flat(kmh: f32) -> Self {
        Self { country_kmh: kmh, town_kmh: kmh, tagged: false }
    }

    fn at_most(self, kmh: f32) -> Self {
        Self { country_kmh: self.country_kmh.min(kmh), town_kmh: self.town_kmh.min(kmh), ..self }
    }

    pub(crate) fn is_open(self) -> bool {
        self.country_kmh > 0.0
    }
}

/// A way, judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) class: RoadClass,
    pub(crate) link: bool,
    pub(crate) roundabout: bool,
    /// What a ferry takes, in minutes, when it is tagged.
    pub(crate) crossing_min: Option<f32>,
    pub(crate) passages: [Option<Passage>; 3],
}

/// Speed of cars in km/h by class where no limit is tagged: in the country, in town. Fitted once, to two cities together.
const CAR_KMH: [(f32, f32); 12] = [
    (105.0, 92.0), // motorway
    (90.0, 75.0),  // trunk
    (80.0, 64.0),  // primary
    (65.0, 54.0),  // secondary
    (55.0, 46.0),  // tertiary
    (42.0, 38.0),  // unclassified
    (42.0, 36.0),  // residential
    (25.0, 18.0),  // living street
    (20.0, 18.0),  // service
    (15.0, 12.0),  // track
    (8.0, 8.0),    // path
    (15.0, 15.0),  // ferry
];
/// Ramps are bent: this share of their class's speed.
const CAR_LINK: f32 = 0.75;
/// Share of a tagged limit that is driven on a free road, by class: people drive a motorway at its limit, a lane less.
const LIMIT_DRIVEN: [f32; 12] = [0.95, 0.95, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.7, 0.7, 1.0];
/// Where service roads say what they are, km/h.
const CAR_SERVICE_KMH: [(&str, f32); 3] = [("parking_aisle", 12.0), ("driveway", 12.0), ("drive-through", 8.0)];

const BICYCLE_KMH: f32 = 17.0;
const BICYCLE_PATH_KMH: f32 = 12.0;
/// Pushed.
const BICYCLE_FOOT_KMH: f32 = 4.5;
const FOOT_KMH: f32 = 5.0;
const STEPS_KMH: f32 = 2.5;
/// Ferries whose crossing time is not tagged.
const FERRY_KMH: f32 = 15.0;

impl Profile {
    /// Every profile, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Car, Self::Bicycle, Self::Foot];

    /// The word for it: `car`, `bicycle`, `foot`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Car => "car",
            Self::Bicycle => "bicycle",
            Self::Foot => "foot",
        }
    }

    /// The profile a word means.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.code() == code)
    }

    /// The profile whose roads a vehicle uses.
    #[must_use]
    pub const fn of(vehicle: Vehicle) -> Self {
        match vehicle {
            Vehicle::Car | Vehicle::Van | Vehicle::Motorbike => Self::Car,
            Vehicle::Bicycle => Self::Bicycle,
            Vehicle::Foot => Self::Foot,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Access keys from the most general to the most particular.
    const fn access_keys(self) -> &'static [&'static str] {
        match self {
            Self::Car => &["access", "vehicle", "motor_vehicle", "motorcar"],
            Self::Bicycle => &["access", "vehicle", "bicycle"],
            Self::Foot => &["access", "foot"],
        }
    }

    /// What the tags say of access: open, shut, or nothing.
    fn access(self, tags: Tags<'_>) -> Option<bool> {
        let said = self.access_keys().iter().rev().find_map(|key| tags.get(key))?;
        Some(!is_shut(said))
    }

    /// Whether a node stops this profile.
    pub(crate) fn is_barred(self, tags: Tags<'_>) -> bool {
        let Some(barrier) = tags.get("barrier") else { return false };
        if let Some(open) = self.access(tags) {
            return !open;
        }
        match self {
            Self::Car => matches!(
                barrier,
                "bollard"
                    | "block"
                    | "cycle_barrier"
                    | "kissing_gate"
                    | "stile"
                    | "turnstile"
                    | "chain"
                    | "jersey_barrier"
                    | "log"
                    | "debris"
                    | "full-height_turnstile"
                    | "motorcycle_barrier"
                    | "planter"
                    | "bus_trap"
                    | "sump_buster"
                    | "wall"
                    | "fence"
            ),
            Self::Bicycle => {
                matches!(barrier, "stile" | "turnstile" | "full-height_turnstile" | "debris" | "wall" | "fence")
            }
            Self::Foot => matches!(barrier, "wall" | "fence"),
        }
    }
}

fn is_shut(access: &str) -> bool {
    matches!(
        access,
        "no" | "private"
            | "agricultural"
            | "forestry"
            | "military"
            | "emergency"
            | "psv"
            | "bus"
            | "taxi"
            | "permit"
            | "residents"
            | "use_sidepath"
    )
}

/// What all profiles make of a way. `None`: no way that anyone travels.
pub(crate) fn judge(tags: Tags<'_>) -> Option<Judged> {
    if tags.is("route", "ferry") && tags.get("highway").is_none() {
        return Some(ferry(tags));
    }
    let highway = tags.get("highway")?;
    let (class, link) = RoadClass::of_highway(highway)?;
    // A square drawn as an area is walked across, not driven around.
    if tags.is("area", "yes") && class != RoadClass::Path {
        return None;
    }
    let roundabout = matches!(tags.get("junction"), Some("roundabout" | "circular"));
    let way = Facts { tags, highway, class, link, roundabout };
    Some(Judged { class, link, roundabout, crossing_min: None, passages: [way.car(), way.bicycle(), way.foot()] })
}

struct Facts<'a> {
    tags: Tags<'a>,
    highway: &'a str,
    class: RoadClass,
    link: bool,
    roundabout: bool,
}

impl Facts<'_> {
    fn car(&self) -> Option<Passage> {
        let by_default = self.class <= RoadClass::Service && self.highway != "busway";
        if !Profile::Car.access(self.tags).unwrap_or(by_default) || self.highway == "steps" {
            return None;
        }
        // What is open to cars only because `access` is: footways through a park with `access=yes` are not.
        let named = ["motor_vehicle", "motorcar", "vehicle"].iter().any(|key| self.tags.get(key).is_some());
        if !by_default && !named {
            return None;
        }
        let (forward, backward) = self.directions(&["oneway:motorcar", "oneway:motor_vehicle"])?;
        let pace = |limit_key: &str| {
            let (country_kmh, town_kmh) = CAR_KMH[self.class as usize];
            let share = if self.link { CAR_LINK } else { 1.0 };
            let untagged = Pace { country_kmh: country_kmh * share, town_kmh: town_kmh * share, tagged: false };
            let limit = self.tags.get(limit_key).or_else(|| self.tags.get("maxspeed")).and_then(speed_kmh);
            let zone = || {
                ["maxspeed:type", "source:maxspeed", "zone:maxspeed"]
                    .iter()
                    .find_map(|key| speed_kmh(self.tags.get(key)?))
            };
            let driven = LIMIT_DRIVEN[self.class as usize];
            let pace = match limit.or_else(zone) {
                Some(kmh) if !self.link => Pace { tagged: true, ..Pace::flat(kmh * driven) },
                // A ramp's limit is seldom reached.
                Some(kmh) => Pace { tagged: true, ..untagged }.at_most(kmh * driven),
                None => untagged,
            };
            let service = CAR_SERVICE_KMH.iter().find(|(service, _)| self.tags.is("service", service));
            pace.at_most(service.filter(|_| self.class == RoadClass::Service).map_or(f32::INFINITY, |(_, kmh)| *kmh))
                .at_most(self.surface_kmh([40.0, 25.0, 15.0]))
        };
        Some(Passage {
            forward: if forward { pace("maxspeed:forward") } else { Pace::SHUT },
            backward: if backward { pace("maxspeed:backward") } else { Pace::SHUT },
        })
    }

    fn bicycle(&self) -> Option<Passage> {
        let dismount = self.tags.is("bicycle", "dismount");
        let pushed = dismount
            || matches!(self.highway, "footway" | "pedestrian" | "corridor") && self.tags.get("bicycle").is_none();
        let by_default =
            self.class != RoadClass::Motorway && self.highway != "steps" && !self.tags.is("motorroad", "yes");
        if self.class == RoadClass::Motorway || !Profile::Bicycle.access(self.tags).unwrap_or(by_default) {
            return None;
        }
        if pushed && Profile::Foot.access(self.tags) == Some(false) {
            return None;
        }
        let (mut forward, mut backward) = self.directions(&["oneway:bicycle"]).unwrap_or((true, true));
        let contraflow = self.tags.0.iter().any(|(key, value)| {
            key.starts_with("cycleway")
                && (value.starts_with("opposite") || key.ends_with(":oneway") && matches!(*value, "no" | "-1"))
        });
        if contraflow || pushed && !self.roundabout {
            (forward, backward) = (true, true);
        }
        let kmh = match self.class {
            _ if pushed => BICYCLE_FOOT_KMH,
            RoadClass::Path if self.highway != "cycleway" => BICYCLE_PATH_KMH,
            RoadClass::Track => BICYCLE_PATH_KMH,
            _ => BICYCLE_KMH,
        };
        let limit = self.tags.get("maxspeed").and_then(speed_kmh).unwrap_or(f32::INFINITY);
        let pace = Pace::flat(kmh).at_most(limit).at_most(self.surface_kmh([12.0, 10.0, 8.0]));
        Some(Passage {
            forward: if forward { pace } else { Pace::SHUT },
            backward: if backward { pace } else { Pace::SHUT },
        })
    }

    fn foot(&self) -> Option<Passage> {
        let by_default = self.class > RoadClass::Trunk && !self.tags.is("motorroad", "yes")
            || self.class == RoadClass::Trunk && self.tags.get("sidewalk").is_some_and(|side| side != "no");
        if self.class == RoadClass::Motorway || !Profile::Foot.access(self.tags).unwrap_or(by_default) {
            return None;
        }
        let pace = Pace::flat(if self.highway == "steps" { STEPS_KMH } else { FOOT_KMH });
        let (forward, backward) = match self.tags.get("oneway:foot") {
            Some("yes" | "1" | "true") => (true, false),
            Some("-1") => (false, true),
            _ => (true, true),
        };
        Some(Passage {
            forward: if forward { pace } else { Pace::SHUT },
            backward: if backward { pace } else { Pace::SHUT },
        })
    }

    /// Whether the way may be travelled forwards and backwards; `own` are one-way keys that override the general one.
    /// `None`: it changes with the hour.
    fn directions(&self, own: &[&str]) -> Option<(bool, bool)> {
        let implied = self.roundabout || self.class == RoadClass::Motorway;
        let said = own.iter().find_map(|key| self.tags.get(key)).or_else(|| self.tags.get("oneway"));
        match said {
            Some("yes" | "1" | "true") => Some((true, false)),
            Some("-1" | "reverse") => Some((false, true)),
            Some("reversible") => None,
            Some("no" | "0" | "false" | "alternating") => Some((true, true)),
            _ => Some((true, !implied)),
        }
    }

    /// Highest comfortable speed by surface: rough stones or gravel, earth or grass, mud or sand.
    fn surface_kmh(&self, [rough, soft, loose]: [f32; 3]) -> f32 {
        let grade = match self.tags.get("tracktype") {
            Some("grade3") => soft,
            Some("grade4" | "grade5") => loose,
            _ => f32::INFINITY,
        };
        let surface = match self.tags.get("surface") {
            Some(
                "cobblestone" | "unhewn_cobblestone" | "gravel" | "fine_gravel" | "pebblestone" | "unpaved" | "wood"
                | "metal",
            ) => rough,
            Some("ground" | "dirt" | "earth" | "grass" | "grass_paver" | "rock" | "Dirt") => soft,
            Some("mud" | "sand" | "snow" | "ice") => loose,
            _ => f32::INFINITY,
        };
        grade.min(surface)
    }
}

fn ferry(tags: Tags<'_>) -> Judged {
    let crossing_min = tags.get("duration").and_then(minutes);
    let pace = Pace { tagged: crossing_min.is_some(), ..Pace::flat(FERRY_KMH) };
    let open = |profile: Profile| profile.access(tags).unwrap_or(true);
    let passage = Passage { forward: pace, backward: if tags.is("oneway", "yes") { Pace::SHUT } else { pace } };
    Judged {
        class: RoadClass::Ferry,
        link: false,
        roundabout: false,
        crossing_min,
        passages: Profile::ALL.map(|profile| open(profile).then_some(passage)),
    }
}

/// `hh:mm`, `hh:mm:ss` or plain minutes.
fn minutes(duration: &str) -> Option<f32> {
    let mut parts = duration.split(':').map(|part| part.trim().parse::<f32>().ok());
    let minutes = match (parts.next()?, parts.next(), parts.next()) {
        (Some(minutes), None, _) => minutes,
        (Some(hours), Some(Some(minutes)), None) => hours * 60.0 + minutes,
        (Some(hours), Some(Some(minutes)), Some(Some(seconds))) => hours * 60.0 + minutes + seconds / 60.0,
        _ => return None,
    };
    Some(minutes).filter(|minutes| (0.5..=3_000.0).contains(minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects (forward, backward) in km/h in town for car, bicycle and foot; 0 is shut.
    #[track_caller]
    fn check(tags: &[(&str, &str)], expect: [(f32, f32); 3]) {
        let judged = judge(Tags(tags));
        let got = Profile::ALL.map(|profile| {
            let passage = judged.and_then(|judged| judged.passages[profile as usize]);
            passage.map_or((0.0, 0.0), |passage| (passage.forward.town_kmh.round(), passage.backward.town_kmh.round()))
        });
        assert_eq!(got, expect, "{tags:?}");
    }

    const SHUT: (f32, f32) = (0.0, 0.0);

    #[test]
    fn classes_open_to_those_who_may_be_there() {
        check(&[("highway", "residential")], [(36.0, 36.0), (17.0, 17.0), (5.0, 5.0)]);
        check(&[("highway", "motorway")], [(92.0, 0.0), SHUT, SHUT]);
        check(&[("highway", "footway")], [SHUT, (5.0, 5.0), (5.0, 5.0)]);
        check(&[("highway", "steps")], [SHUT, SHUT, (3.0, 3.0)]);
        check(&[("highway", "cycleway")], [SHUT, (17.0, 17.0), (5.0, 5.0)]);
        check(&[("highway", "primary"), ("motorroad", "yes")], [(64.0, 64.0), SHUT, SHUT]);
        check(&[("highway", "proposed")], [SHUT; 3]);
        check(&[("highway", "track")], [SHUT, (12.0, 12.0), (5.0, 5.0)]);
        check(
            &[("highway", "track"), ("motor_vehicle", "yes"), ("tracktype", "grade5")],
            [(12.0, 12.0), (8.0, 8.0), (5.0, 5.0)],
        );
    }

    #[test]
    fn the_most_particular_access_decides() {
        check(&[("highway", "service"), ("access", "private")], [SHUT; 3]);
        check(&[("highway", "service"), ("access", "no"), ("motorcar", "yes")], [(18.0, 18.0), SHUT, SHUT]);
        check(&[("highway", "residential"), ("motor_vehicle", "no")], [SHUT, (17.0, 17.0), (5.0, 5.0)]);
        check(
            &[("highway", "residential"), ("motor_vehicle", "destination")],
            [(36.0, 36.0), (17.0, 17.0), (5.0, 5.0)],
        );
        check(&[("highway", "footway"), ("access", "yes")], [SHUT, (5.0, 5.0), (5.0, 5.0)]);
        check(&[("highway", "residential"), ("bicycle", "dismount")], [(36.0, 36.0), (5.0, 5.0), (5.0, 5.0)]);
    }

    #[test]
    fn one_way_streets_have_exceptions() {
        check(&[("highway", "residential"), ("oneway", "yes")], [(36.0, 0.0), (17.0, 0.0), (5.0, 5.0)]);
        check(&[("highway", "residential"), ("oneway", "-1")], [(0.0, 36.0), (0.0, 17.0), (5.0, 5.0)]);
        let contraflow = [("highway", "residential"), ("oneway", "yes"), ("oneway:bicycle", "no")];
        check(&contraflow, [(36.0, 0.0), (17.0, 17.0), (5.0, 5.0)]);
        let opposite = [("highway", "residential"), ("oneway", "yes"), ("cycleway", "opposite_lane")];
        check(&opposite, [(36.0, 0.0), (17.0, 17.0), (5.0, 5.0)]);
        check(&[("highway", "residential"), ("junction", "roundabout")], [(36.0, 0.0), (17.0, 0.0), (5.0, 5.0)]);
        check(&[("highway", "motorway"), ("oneway", "no")], [(92.0, 92.0), SHUT, SHUT]);
        check(&[("highway", "tertiary"), ("oneway", "reversible")], [SHUT, (17.0, 17.0), (5.0, 5.0)]);
    }

    #[test]
    fn limits_are_driven_in_part_and_surfaces_slow() {
        check(&[("highway", "residential"), ("maxspeed", "20")], [(20.0, 20.0), (17.0, 17.0), (5.0, 5.0)]);
        let split = [("highway", "residential"), ("maxspeed", "50"), ("maxspeed:backward", "30")];
        check(&split, [(50.0, 30.0), (17.0, 17.0), (5.0, 5.0)]);
        let zone = [("highway", "residential"), ("source:maxspeed", "DE:zone30")];
        check(&zone, [(30.0, 30.0), (17.0, 17.0), (5.0, 5.0)]);
        check(&[("highway", "secondary"), ("surface", "cobblestone")], [(40.0, 40.0), (12.0, 12.0), (5.0, 5.0)]);
        check(&[("highway", "service"), ("service", "parking_aisle")], [(12.0, 12.0), (17.0, 17.0), (5.0, 5.0)]);
    }

    #[test]
    fn ferries_carry_whom_they_name() {
        let judged = judge(Tags(&[("route", "ferry"), ("motor_vehicle", "no"), ("duration", "00:12")])).unwrap();
        assert!(judged.passages[0].is_none());
        assert!(judged.passages[2].is_some());
        assert_eq!(judged.crossing_min, Some(12.0));
        assert_eq!(minutes("1:30"), Some(90.0));
        assert_eq!(minutes("45"), Some(45.0));
        assert_eq!(minutes("soon"), None);
    }

    #[test]
    fn barriers_stop_those_they_are_for() {
        let barred = |tags: &[(&str, &str)]| Profile::ALL.map(|profile| profile.is_barred(Tags(tags)));
        assert_eq!(barred(&[("barrier", "bollard")]), [true, false, false]);
        assert_eq!(barred(&[("barrier", "bollard"), ("motor_vehicle", "yes")]), [false, false, false]);
        assert_eq!(barred(&[("barrier", "gate")]), [false, false, false]);
        assert_eq!(barred(&[("barrier", "gate"), ("access", "private")]), [true, true, true]);
        assert_eq!(barred(&[("highway", "crossing")]), [false, false, false]);
    }
}
