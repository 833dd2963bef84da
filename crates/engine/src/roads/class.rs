//! Road classes, from OpenStreetMap's `highway` tag.

/// The importance of a road in the network, by which unknown speeds, junction priority and learned factors go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RoadClass {
    /// `motorway`.
    Motorway = 0,
    /// `trunk`.
    Trunk = 1,
    /// `primary`.
    Primary = 2,
    /// `secondary`.
    Secondary = 3,
    /// `tertiary`.
    Tertiary = 4,
    /// `unclassified`, `road`, `busway` where allowed.
    Unclassified = 5,
    /// `residential`.
    Residential = 6,
    /// `living_street`, and streets for walkers where a vehicle may be.
    LivingStreet = 7,
    /// `service`: drives, alleys, car parks.
    Service = 8,
    /// `track`.
    Track = 9,
    /// `cycleway`, `footway`, `path`, `steps`, `pedestrian`.
    Path = 10,
    /// `route=ferry`.
    Ferry = 11,
}

impl RoadClass {
    /// Every class, in the order of their numbers: the most important first.
    pub const ALL: [Self; 12] = [
        Self::Motorway,
        Self::Trunk,
        Self::Primary,
        Self::Secondary,
        Self::Tertiary,
        Self::Unclassified,
        Self::Residential,
        Self::LivingStreet,
        Self::Service,
        Self::Track,
        Self::Path,
        Self::Ferry,
    ];

    /// The class of a `highway` value and whether it is a ramp (`…_link`). `None`: not a road anyone travels (`construction`, `proposed`, …).
    #[must_use]
    pub fn of_highway(highway: &str) -> Option<(Self, bool)> {
        let (base, link) = highway.strip_suffix("_link").map_or((highway, false), |base| (base, true));
        let class = match base {
            "motorway" => Self::Motorway,
            "trunk" => Self::Trunk,
            "primary" => Self::Primary,
            "secondary" => Self::Secondary,
            "tertiary" => Self::Tertiary,
            "unclassified" | "road" | "busway" => Self::Unclassified,
            "residential" => Self::Residential,
            "living_street" => Self::LivingStreet,
            "service" => Self::Service,
            "track" => Self::Track,
            "cycleway" | "footway" | "path" | "steps" | "pedestrian" | "bridleway" | "corridor" => Self::Path,
            _ => return None,
        };
        Some((class, link))
    }

    /// The word for it, as in OpenStreetMap; `path` stands for all ways without motor traffic.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Motorway => "motorway",
            Self::Trunk => "trunk",
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Tertiary => "tertiary",
            Self::Unclassified => "unclassified",
            Self::Residential => "residential",
            Self::LivingStreet => "living_street",
            Self::Service => "service",
            Self::Track => "track",
            Self::Path => "path",
            Self::Ferry => "ferry",
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_ramps_are_read_and_numbered() {
        assert_eq!(RoadClass::of_highway("primary_link"), Some((RoadClass::Primary, true)));
        assert_eq!(RoadClass::of_highway("steps"), Some((RoadClass::Path, false)));
        assert_eq!(RoadClass::of_highway("construction"), None);
        for (number, class) in RoadClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
            assert_eq!(RoadClass::from_number(number as u8), Some(class));
        }
        assert_eq!(RoadClass::from_number(12), None);
    }
}
