//! Tags of OpenStreetMap, and the one value among them that has a grammar of its own: a speed.

/// Tags of one element, as they stand in the extract. Small lists: looked through from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tags<'a>(pub(crate) &'a [(&'a str, &'a str)]);

impl<'a> Tags<'a> {
    pub(crate) fn get(self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| *found == key).map(|(_, value)| *value)
    }

    pub(crate) fn is(self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value)
    }

    /// Whether any key ends in `suffix`.
    pub(crate) fn any_ending(self, suffix: &str) -> bool {
        self.0.iter().any(|(key, _)| key.ends_with(suffix))
    }
}

/// km/h per mile per hour, and per knot.
const KMH_PER_MPH: f32 = 1.609_344;
const KMH_PER_KNOT: f32 = 1.852;
/// Where there is no limit people drive about this fast; `none` occurs on German motorways.
const NO_LIMIT_KMH: f32 = 130.0;
/// `walk`: a brisk walker.
const WALK_KMH: f32 = 7.0;

/// A speed in km/h from a `maxspeed` value, in all its usual spellings: `50`, `50 km/h`, `30 mph`, `10 knots`, `none`, `walk`,
/// `PT:urban`, `DE:zone30`, `zone:30`, and lists of them (`50;30`: the lowest). `None` for what has no fixed number
/// (`signals`, `variable`) or makes no sense (0, 900, words).
pub(crate) fn speed_kmh(value: &str) -> Option<f32> {
    let lowest = |a: f32, b: f32| a.min(b);
    value.split([';', '|']).filter_map(|part| one_speed_kmh(part.trim())).reduce(lowest)
}

fn one_speed_kmh(value: &str) -> Option<f32> {
    match value {
        "none" => return Some(NO_LIMIT_KMH),
        "walk" => return Some(WALK_KMH),
        _ => {}
    }
    if let Some((country, zone)) = value.split_once(':') {
        return zone_kmh(country, zone);
    }
    let digits = value.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let number: f32 = value[..digits].parse().ok()?;
    let factor = match value[digits..].trim() {
        "" | "km/h" | "kmh" | "kph" => 1.0,
        "mph" => KMH_PER_MPH,
        "knots" => KMH_PER_KNOT,
        _ => return None,
    };
    Some(number * factor).filter(|kmh| (3.0..=200.0).contains(kmh))
}

/// Implicit limits by zone: the values of most of Europe, and of those countries that differ (OpenStreetMap wiki, "Default speed limits").
fn zone_kmh(country: &str, zone: &str) -> Option<f32> {
    let digits = zone.trim_start_matches("zone").trim_start_matches(':');
    if let Ok(number) = digits.parse::<f32>() {
        let factor = if matches!(country, "GB" | "UK" | "US") { KMH_PER_MPH } else { 1.0 };
        return Some(number * factor).filter(|kmh| (3.0..=200.0).contains(kmh));
    }
    let kmh = match (zone, country) {
        ("urban", "GB" | "UK") => 30.0 * KMH_PER_MPH,
        ("urban", "RU" | "UA" | "BY") => 60.0,
        ("urban", _) => 50.0,
        ("nsl_single", _) => 60.0 * KMH_PER_MPH,
        ("nsl_dual" | "motorway", "GB" | "UK") => 70.0 * KMH_PER_MPH,
        ("rural", "DE" | "AT") => 100.0,
        ("rural", "FR" | "DK" | "CH" | "NL" | "FI" | "NO") => 80.0,
        ("rural", "BE") => 70.0,
        ("rural", _) => 90.0,
        ("trunk", _) => 100.0,
        ("motorway", "DE") => NO_LIMIT_KMH,
        ("motorway", "PT" | "ES" | "BE" | "CH" | "FI") => 120.0,
        ("motorway", "NL") => 100.0,
        ("motorway", _) => 130.0,
        ("living_street", "DE" | "AT") => WALK_KMH,
        ("living_street", _) => 20.0,
        ("walk", _) => WALK_KMH,
        ("bicycle_road", _) => 30.0,
        _ => return None,
    };
    Some(kmh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: &str, kmh: Option<f32>) {
        assert_eq!(speed_kmh(value).map(f32::round), kmh, "{value}");
    }

    #[test]
    fn limits_are_read_in_all_their_spellings() {
        check("50", Some(50.0));
        check("50 km/h", Some(50.0));
        check("7.5", Some(8.0));
        check("30 mph", Some(48.0));
        check("30mph", Some(48.0));
        check("5 knots", Some(9.0));
        check("none", Some(130.0));
        check("walk", Some(7.0));
        check("PT:urban", Some(50.0));
        check("DE:rural", Some(100.0));
        check("DE:zone30", Some(30.0));
        check("DE:zone:30", Some(30.0));
        check("zone:20", Some(20.0));
        check("GB:20", Some(32.0));
        check("50;30", Some(30.0));
        check("signals", None);
        check("variable", None);
        check("0", None);
        check("900", None);
        check("fast", None);
        check("", None);
        check("50 furlongs", None);
        check("PT:", None);
    }

    proptest! {
        #[test]
        fn no_value_panics_or_leaves_the_range(value in ".{0,12}") {
            if let Some(kmh) = speed_kmh(&value) {
                prop_assert!((3.0..=200.0).contains(&kmh));
            }
        }
    }
}
