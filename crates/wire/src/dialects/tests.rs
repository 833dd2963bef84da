//! Each app's documented payloads, and the traps between them.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use proptest::prelude::*;

use super::*;

/// 2015-10-01T15:00:00Z.
const T_MS: i64 = 1_443_711_600_000;

fn post(body: &str) -> Reading<'_> {
    read(&Request { method: "POST", content_type: "application/json", body: body.as_bytes(), ..Request::default() })
}

fn get(query: &str) -> Reading<'_> {
    read(&Request { method: "GET", query, ..Request::default() })
}

/// The one position of a reading in this dialect.
#[track_caller]
fn one(reading: Reading<'_>, dialect: Dialect) -> AppFix {
    assert_eq!(reading.dialect, dialect);
    assert_eq!(reading.items.len(), 1, "{reading:?}");
    match &reading.items[0].what {
        What::Fix(fix) => fix.clone(),
        other => panic!("{other:?}"),
    }
}

/// The one item of a reading that is no position.
#[track_caller]
fn other(reading: Reading<'_>, dialect: Dialect) -> What {
    assert_eq!(reading.dialect, dialect);
    assert_eq!(reading.items.len(), 1, "{reading:?}");
    reading.items[0].what.clone()
}

#[track_caller]
fn check(fix: &AppFix, place: (f64, f64), t_ms: Option<i64>, accuracy_m: Option<f32>, speed_mps: Option<f32>) {
    let fix = fix.fix;
    assert_eq!((fix.lat, fix.lon, fix.t_ms, fix.accuracy_m), (place.0, place.1, t_ms, accuracy_m));
    let near = match (fix.speed_mps, speed_mps) {
        (Some(is), Some(wanted)) => (is - wanted).abs() < 0.01,
        (is, wanted) => is == wanted,
    };
    assert!(near, "speed is {:?}, not {speed_mps:?}", fix.speed_mps);
}

#[test]
fn traccar_client_speaks_in_knots_and_knows_no_accuracy_of_gps() {
    // As Traccar Client for Android sends it: a POST without a body.
    let query = "id=123456&timestamp=1443711600&lat=49.60688&lon=6.15788&speed=19.43844&bearing=93.0&altitude=377.0\
                 &accuracy=0.0&batt=87.0&charge=true&mock=true";
    let reading = read(&Request { method: "POST", query, ..Request::default() });
    assert_eq!((reading.phone.battery, reading.phone.charging), (Some(0.87), Some(true)));
    let fix = one(reading, Dialect::TraccarClient);
    check(&fix, (49.60688, 6.15788), Some(T_MS), None, Some(10.0));
    assert_eq!((fix.fix.heading_deg, fix.fix.altitude_m, fix.fix.mock), (Some(93.0), Some(377.0), true));
}

#[test]
fn a_form_is_taken_where_the_address_has_no_parameters() {
    let body = "id=1&lat=49.6&lon=6.1&timestamp=1443711600&accuracy=12.5&altitude=0&speed=9.72&bearing=0&batt=54";
    let content_type = "application/x-www-form-urlencoded";
    let request = Request { method: "POST", content_type, body: body.as_bytes(), ..Request::default() };
    check(&one(read(&request), Dialect::TraccarClient), (49.6, 6.1), Some(T_MS), Some(12.5), Some(5.0));
    let request = Request { query: "app=traccar_client", ..request };
    check(&one(read(&request), Dialect::TraccarClient), (49.6, 6.1), Some(T_MS), Some(12.5), Some(5.0));
}

#[test]
fn the_osmand_app_speaks_in_metres_per_second_and_calls_its_accuracy_hdop() {
    // Its default template, filled; positions are 32-bit floats.
    let query = "id=1&lat=41.149601&lon=-8.611&timestamp=1443711600250&hdop=4.5&altitude=100.0&speed=8.3&bearing=93.0";
    check(&one(get(query), Dialect::Osmand), (41.149601, -8.611), Some(T_MS + 250), Some(4.5), Some(8.3));
    // Said by the address, by the operator, or not at all.
    let bare = "lat=1.5&lon=2.5&speed=10";
    assert_eq!(one(get(bare), Dialect::TraccarClient).fix.speed_mps.unwrap().round(), 5.0);
    assert_eq!(one(get(&format!("{bare}&app=osmand")), Dialect::Osmand).fix.speed_mps, Some(10.0));
    let told = Request { method: "GET", query: bare, told: Some(Dialect::Osmand), ..Request::default() };
    assert_eq!(one(read(&told), Dialect::Osmand).fix.speed_mps, Some(10.0));
    // The same parameter of Traccar has no unit.
    assert_eq!(one(get("lat=1.5&lon=2.5&hdop=4.5&batt=3"), Dialect::TraccarClient).fix.accuracy_m, None);
}

#[test]
fn osmand_tells_when_its_own_navigation_arrives() {
    let eta =
        |eta: &str| get(&format!("app=osmand&lat=1.5&lon=2.5&timestamp=1443711600250&eta={eta}")).phone.arrives_ms;
    assert_eq!(eta("1443712200000"), Some(1_443_712_200_000));
    assert_eq!(eta("0"), None, "no route");
}

#[test]
fn queries_in_their_variants() {
    let place = |query: &str| one(get(query), Dialect::TraccarClient).fix;
    assert_eq!(place("deviceid=1&location=41.5%2C-8.5").lon, -8.5);
    assert_eq!(place("id=1&lat=41.5&lon=-8.5&heading=10").heading_deg, Some(10.0));
    assert_eq!(place("lat=41.5&lon=-8.5").t_ms, None, "without a time it is the time of receipt");
    assert_eq!(place("lat=41.5&lon=-8.5&timestamp=2015-10-01T15:00:00Z").t_ms, Some(T_MS));
    assert_eq!(place("lat=41.5&lon=-8.5&timestamp=2015-10-01%2015:00:00").t_ms, Some(T_MS));
    assert_eq!(place("lat=41.5&lon=-8.5&speed=-1&bearing=-1&accuracy=-1&valid=1").speed_mps, None);
    assert_eq!(other(get("id=1&timestamp=1443711600&batt=5"), Dialect::TraccarClient), What::Alive);
    assert!(
        matches!(other(get("lat=x&lon=2"), Dialect::TraccarClient), What::Fault(fault) if fault.rule == Rule::Position)
    );
    assert!(
        matches!(other(get("lat=NaN&lon=2"), Dialect::TraccarClient), What::Fault(fault) if fault.rule == Rule::Position)
    );
    assert!(
        matches!(other(get("lat=1&lon=2&valid=false"), Dialect::TraccarClient), What::Fault(fault) if fault.rule == Rule::Valid)
    );
    assert!(
        matches!(other(get("lat=1&lon=2&timestamp=soon"), Dialect::TraccarClient), What::Fault(fault) if fault.rule == Rule::Time)
    );
}

#[test]
fn traccar_client_nine_sends_one_object() {
    let body = r#"{"device_id":"1","location":{"timestamp":"2015-10-01T15:00:00.250Z","coords":{"latitude":49.6,"longitude":6.1,
        "accuracy":0,"speed":13.9,"heading":-1,"altitude":377},"is_moving":true,"odometer":12.5,"event":"motionchange",
        "battery":{"level":0.87,"is_charging":false},"activity":{"type":"in_vehicle"},"mock":true,"extras":{}}}"#;
    let reading = post(body);
    let phone = &reading.phone;
    assert_eq!((phone.battery, phone.charging, phone.moving), (Some(0.87), Some(false), Some(true)));
    assert_eq!(phone.activity.as_deref(), Some("in_vehicle"));
    let fix = one(reading, Dialect::TraccarJson);
    check(&fix, (49.6, 6.1), Some(T_MS + 250), None, Some(13.9));
    assert_eq!((fix.fix.heading_deg, fix.fix.mock), (None, true));
    // Speed, heading, accuracy and altitude may be missing; without coordinates it is a heartbeat.
    let bare = r#"{"device_id":"1","location":{"timestamp":"2015-10-01T15:00:00Z","coords":{"latitude":49.6,"longitude":6.1}}}"#;
    check(&one(post(bare), Dialect::TraccarJson), (49.6, 6.1), Some(T_MS), None, None);
    let beat = r#"{"device_id":"1","location":{"timestamp":"2015-10-01T15:00:00Z","battery":{"level":-1}}}"#;
    assert_eq!(post(beat).phone.battery, None);
    assert_eq!(other(post(beat), Dialect::TraccarJson), What::Alive);
}

#[test]
fn traccar_client_ten_sends_a_bare_array_of_flat_objects() {
    let body = r#"[{"id":"1","lat":49.6,"lon":6.1,"timestamp":1443711600,"accuracy":5.5,"altitude":300,"speed":19.44,"bearing":90,"batt":54,"charge":true},
        {"id":"1","timestamp":1443711660,"batt":53}, {"id":"1","lat":"far","lon":6.1,"timestamp":1443711660}]"#;
    let reading = post(body);
    assert_eq!((reading.dialect, reading.items.len()), (Dialect::TraccarClient, 3));
    let What::Fix(fix) = &reading.items[0].what else { panic!() };
    check(fix, (49.6, 6.1), Some(T_MS), Some(5.5), Some(10.0));
    assert_eq!(reading.items[1].what, What::Alive);
    assert!(matches!(reading.items[2].what, What::Fault(_)));
    assert_eq!(reading.phone.battery, Some(0.53), "the newest counts");
}

#[test]
fn owntracks_speaks_in_kilometres_an_hour() {
    let body = r#"{"_type":"location","_id":"a1b2c3d4","tid":"nj","lat":49.6,"lon":6.1,"tst":1443711600,"acc":13,"alt":154,"vel":36,
        "cog":270,"batt":55,"bs":2,"t":"u","m":2,"conn":"m","created_at":1443719999,"topic":"owntracks/jane/phone"}"#;
    let reading = post(body);
    assert_eq!((reading.phone.battery, reading.phone.charging), (Some(0.55), Some(true)));
    let fix = one(reading, Dialect::OwnTracks);
    check(&fix, (49.6, 6.1), Some(T_MS), Some(13.0), Some(10.0));
    assert_eq!(
        (fix.id.as_deref(), fix.fix.heading_deg, fix.fix.altitude_m),
        (Some("a1b2c3d4"), Some(270.0), Some(154.0))
    );
    let zeros = r#"{"_type":"location","lat":49.6,"lon":6.1,"tst":1443711600,"acc":0,"alt":0,"vel":0,"bs":0}"#;
    check(&one(post(zeros), Dialect::OwnTracks), (49.6, 6.1), Some(T_MS), None, None);
    let floats = r#"{"_type":"location","lat":49.6,"lon":6.1,"tst":1443711600.0,"acc":13.5,"vel":7.2}"#;
    check(&one(post(floats), Dialect::OwnTracks), (49.6, 6.1), Some(T_MS), Some(13.5), Some(2.0));
}

#[test]
fn owntracks_pings_and_other_messages_are_no_positions() {
    let ping = r#"{"_type":"location","lat":49.6,"lon":6.1,"tst":1443711600,"t":"p","batt":1}"#;
    assert_eq!(post(ping).phone.battery, Some(0.01), "one percent, not all of it");
    assert_eq!(other(post(ping), Dialect::OwnTracks), What::Alive);
    for kind in ["waypoint", "waypoints", "status", "steps", "beacon", "card", "cmd", "configuration", "request", "new"]
    {
        let body = format!(r#"{{"_type":"{kind}","lat":1,"lon":2,"tst":3}}"#);
        assert_eq!(other(post(&body), Dialect::OwnTracks), What::Ignored, "{kind}");
    }
    let crossed = r#"{"_type":"transition","event":"enter","wtst":1,"tst":1443711600,"lat":49.6,"lon":6.1,"acc":20,"tid":"nj","desc":"Home","t":"c"}"#;
    check(&one(post(crossed), Dialect::OwnTracks), (49.6, 6.1), Some(T_MS), Some(20.0), None);
    let lwt = post(r#"{"_type":"lwt","tst":1443711600}"#);
    assert_eq!(lwt.outages, [Outage { cause: OutageReason::AppGone, at_ms: Some(T_MS) }]);
    let encrypted = other(post(r#"{"_type":"encrypted","data":"…"}"#), Dialect::OwnTracks);
    assert!(matches!(encrypted, What::Fault(fault) if fault.rule == Rule::Encrypted));
    let untimed = other(post(r#"{"_type":"location","lat":1,"lon":2}"#), Dialect::OwnTracks);
    assert!(matches!(untimed, What::Fault(fault) if fault.rule == Rule::Time));
}

#[test]
fn nothing_at_all_is_nothing_wrong() {
    for request in [
        Request::default(),
        Request { is_owntracks: true, ..Request::default() },
        Request { body: b" \n", ..Request::default() },
    ] {
        assert!(read(&request).items.is_empty());
    }
    assert!(post("[]").items.is_empty());
    assert!(post(r#"{"location":[]}"#).items.is_empty());
    assert!(post(r#"{"locations":[]}"#).items.is_empty());
}

const RECORD: &str = r#"{"coords":{"latitude":49.6,"longitude":6.1,"accuracy":8.5,"speed":10.2,"speed_accuracy":-1,"heading":93.5,
    "heading_accuracy":-1,"altitude":377.2,"ellipsoidal_altitude":377.2,"altitude_accuracy":-1,"floor":1},
    "timestamp":"2015-10-01T15:00:00.250Z","recorded_at":"2015-10-01T16:00:00Z","age":3600,"uuid":"a8a08b9e-0fa5-4c01-9f4c-4c5e5fcbcb4a",
    "is_moving":true,"odometer":120.5,"activity":{"type":"in_vehicle","confidence":90},"battery":{"level":0.87,"is_charging":true},"extras":{}}"#;

#[test]
fn records_come_alone_in_arrays_under_any_root_and_without_one() {
    for body in [
        format!(r#"{{"location":{RECORD},"device_id":"merged by params"}}"#),
        format!(r#"{{"location":[{RECORD}]}}"#),
        format!(r#"{{"user":7,"positions":[{RECORD}]}}"#),
        format!(r#"{{"user":7,"my_root":{RECORD}}}"#),
        format!(r#"{{"locations":[{RECORD}]}}"#),
        format!("[{RECORD}]"),
        RECORD.to_owned(),
    ] {
        let reading = post(&body);
        assert_eq!((reading.phone.battery, reading.phone.charging), (Some(0.87), Some(true)), "{body}");
        let fix = one(reading, Dialect::Transistorsoft);
        check(&fix, (49.6, 6.1), Some(T_MS + 250), Some(8.5), Some(10.2));
        assert_eq!(fix.id.as_deref(), Some("a8a08b9e-0fa5-4c01-9f4c-4c5e5fcbcb4a"));
        assert_eq!((fix.fix.heading_deg, fix.fix.altitude_m), (Some(93.5), Some(377.2)));
    }
}

#[test]
fn minus_one_is_unknown_and_percentages_are_told_from_shares() {
    let body = r#"{"location":{"coords":{"latitude":49.6,"longitude":6.1,"accuracy":-1,"speed":-1,"heading":-1},
        "timestamp":1443711600250,"battery":{"level":-1}}}"#;
    let reading = post(body);
    assert_eq!(reading.phone.battery, None);
    let fix = one(reading, Dialect::Transistorsoft);
    check(&fix, (49.6, 6.1), Some(T_MS + 250), None, None);
    assert_eq!(fix.fix.heading_deg, None);
    assert_eq!(post(&body.replace("\"level\":-1", "\"level\":87")).phone.battery, Some(0.87));
}

#[test]
fn templates_in_the_wild_are_flat() {
    let coopcycle = r#"[{"latitude":49.6,"longitude":6.1,"time":"2015-10-01T15:00:00Z"}]"#;
    check(&one(post(coopcycle), Dialect::Transistorsoft), (49.6, 6.1), Some(T_MS), None, None);
    let mauron = r#"[{"latitude":49.6,"longitude":6.1,"time":1443711600250,"accuracy":20,"speed":5,"bearing":90}]"#;
    let fix = one(post(mauron), Dialect::Transistorsoft);
    check(&fix, (49.6, 6.1), Some(T_MS + 250), Some(20.0), Some(5.0));
    assert_eq!(fix.fix.heading_deg, Some(90.0));
}

#[test]
fn samples_heartbeats_and_events_without_a_place_are_no_positions() {
    let with = |more: &str| format!(r#"{{"location":{}}}"#, RECORD.replacen('{', &format!("{{{more},"), 1));
    assert_eq!(other(post(&with(r#""sample":true"#)), Dialect::Transistorsoft), What::Ignored);
    assert_eq!(other(post(&with(r#""event":"heartbeat""#)), Dialect::Transistorsoft), What::Alive);
    assert_eq!(other(post(&with(r#""is_heartbeat":true"#)), Dialect::Transistorsoft), What::Alive);
    assert!(matches!(other(post(&with(r#""event":"motionchange""#)), Dialect::Transistorsoft), What::Fix(_)));
    let provider = |provider: &str| {
        format!(
            r#"{{"location":{{"event":"providerchange","provider":{provider},"timestamp":"2015-10-01T15:00:00Z",
            "coords":{{"latitude":0,"longitude":0,"accuracy":0}}}}}}"#
        )
    };
    for (told, cause) in [
        (r#"{"enabled":true,"status":2}"#, OutageReason::Permission),
        (r#"{"enabled":false,"status":3}"#, OutageReason::LocationOff),
        (r#"{"enabled":true,"status":3,"airplane":true}"#, OutageReason::Airplane),
    ] {
        let body = provider(told);
        let reading = post(&body);
        assert_eq!(reading.outages, [Outage { cause, at_ms: Some(T_MS) }]);
        assert_eq!(other(reading, Dialect::Transistorsoft), What::Alive, "a dummy place is not a fault of the phone");
    }
    assert!(post(&provider(r#"{"enabled":true,"status":3}"#)).outages.is_empty());
}

#[test]
fn overland_sends_features_longitude_first() {
    let body = r#"{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":[-122.030581,37.331800]},
        "properties":{"timestamp":"2015-10-01T08:00:00-0700","altitude":0,"speed":4,"course":-1,"horizontal_accuracy":30,"vertical_accuracy":-1,
        "motion":["driving","stationary"],"battery_state":"charging","battery_level":0.89,"device_id":"","wifi":""}}]}"#;
    let reading = post(body);
    assert_eq!((reading.phone.battery, reading.phone.charging), (Some(0.89), Some(true)));
    assert_eq!(reading.phone.activity.as_deref(), Some("driving"));
    let fix = one(reading, Dialect::Overland);
    check(&fix, (37.3318, -122.030581), Some(T_MS), Some(30.0), Some(4.0));
    assert_eq!((fix.fix.heading_deg, fix.ahead), (None, false));
    let unknown =
        body.replace("\"speed\":4", "\"speed\":-1").replace("\"horizontal_accuracy\":30", "\"horizontal_accuracy\":-1");
    check(&one(post(&unknown), Dialect::Overland), (37.3318, -122.030581), Some(T_MS), None, None);
}

#[test]
fn overland_sends_the_newest_ahead_of_a_long_queue() {
    let feature = |lon: f64| {
        format!(
            r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[{lon},37.3]}},"properties":{{"timestamp":"2015-10-01T15:00:00Z"}}}}"#
        )
    };
    let visit = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{"action":"visit"}}"#;
    let body =
        format!(r#"{{"locations":[{},{visit},7],"current":{},"trip":{{"mode":"car"}}}}"#, feature(1.0), feature(2.0));
    let reading = post(&body);
    let ahead: Vec<(f64, bool)> = reading.fixes().map(|fix| (fix.fix.lon, fix.ahead)).collect();
    assert_eq!(ahead, [(1.0, false), (2.0, true)]);
    assert_eq!((reading.items.len(), reading.faults().count()), (4, 1));
}

#[test]
fn one_bad_record_takes_nothing_with_it() {
    for bad in [
        r#"{"coords":{"latitude":1e999,"longitude":6.1},"timestamp":"2015-10-01T15:00:00Z"}"#,
        r#"{"coords":{"latitude":"x","longitude":6.1},"timestamp":"2015-10-01T15:00:00Z"}"#,
        r#"{"coords":{"longitude":6.1},"timestamp":"2015-10-01T15:00:00Z"}"#,
        r#"{"coords":{"latitude":49.6,"longitude":6.1},"timestamp":"yesterday"}"#,
        r#"{"coords":{"latitude":49.6,"longitude":6.1}}"#,
        "null",
        "[49.6,6.1]",
    ] {
        let body = format!(r#"{{"location":[{bad},{RECORD}]}}"#);
        let reading = post(&body);
        assert_eq!((reading.dialect, reading.items.len()), (Dialect::Transistorsoft, 2), "{bad}");
        assert_eq!(reading.items[0].raw, bad.as_bytes());
        assert!(matches!(reading.items[0].what, What::Fault(_)), "{bad}");
        assert!(matches!(reading.items[1].what, What::Fix(_)), "{bad}");
    }
}

#[test]
fn what_is_in_no_dialect_is_one_fault() {
    for body in ["{", "[1", "{}", r#"{"hello":"world"}"#, "hello", "\u{0}\u{1}", r#"[{"a":1}]"#, r#"{"location":7}"#] {
        let reading = post(body);
        assert_eq!((reading.items.len(), reading.faults().count()), (1, 1), "{body}");
    }
    let reading = read(&Request { method: "POST", body: &[0xff, 0xfe], ..Request::default() });
    assert_eq!((reading.dialect, reading.faults().count()), (Dialect::Unknown, 1));
}

#[test]
fn too_many_items_are_one_fault_at_the_end() {
    let body = format!("[{}]", vec![r#"{"coords":1}"#; ITEMS_MAX + 5].join(","));
    let reading = post(&body);
    assert_eq!(reading.items.len(), ITEMS_MAX + 1);
    assert_eq!(reading.faults().last().unwrap().rule, Rule::Count);
}

/// What holds of every reading.
fn is_sound(reading: &Reading<'_>) {
    let range = |value: Option<f32>, least: f32| value.is_none_or(|value| value >= least);
    for fix in reading.fixes() {
        let numbers = fix.fix;
        assert!(numbers.lat.is_finite() && numbers.lon.is_finite(), "{fix:?}");
        assert!(numbers.accuracy_m.is_none_or(|accuracy| accuracy > 0.0), "{fix:?}");
        assert!(range(numbers.speed_mps, 0.0) && range(numbers.heading_deg, 0.0), "{fix:?}");
    }
    assert!(reading.phone.battery.is_none_or(|battery| (0.0..=1.0).contains(&battery)));
    assert!(reading.faults().all(|fault| fault.value.chars().count() <= VALUE_CHARS_MAX));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(method in "GET|POST|PUT", query in ".{0,60}", body: Vec<u8>, is_owntracks: bool) {
        is_sound(&read(&Request { method: &method, query: &query, body: &body, is_owntracks, ..Request::default() }));
    }

    #[test]
    fn any_json_is_answered(text in r#"[\[{]("(_type|location|locations|coords|lat|id|timestamp)":)?("[a-z]*"|[0-9.e+-]{1,6}|\[\{\}\]|\{"coords":\{\}\}|null)[,}\]]*"#) {
        is_sound(&post(&text));
    }

    #[test]
    fn every_dialect_reads_what_was_meant(
        lat in -90.0..90.0_f64, lon in -180.0..180.0_f64, t_s in 1_000_000_000..2_000_000_000_i64,
        speed_mps in 0.1..60.0_f64, accuracy in 0.1..500.0_f64,
    ) {
        let iso = {
            let (days, rest) = (t_s.div_euclid(86_400), t_s.rem_euclid(86_400));
            // By search from a known date: slow and obvious.
            let (mut year, mut day) = (1970, days);
            let length = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
            while day >= length(year) { day -= length(year); year += 1; }
            let lengths = [31, length(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let mut month = 0;
            while day >= lengths[month] { day -= lengths[month]; month += 1; }
            format!("{year:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", month + 1, day + 1, rest / 3600, rest / 60 % 60, rest % 60)
        };
        let knots = speed_mps * 3600.0 / 1852.0;
        let kmh = speed_mps * 3.6;
        let coords = format!(r#"{{"latitude":{lat},"longitude":{lon},"accuracy":{accuracy},"speed":{speed_mps}}}"#);
        let queries = [
            (format!("lat={lat}&lon={lon}&timestamp={t_s}&speed={knots}&accuracy={accuracy}"), Dialect::TraccarClient),
            (format!("lat={lat}&lon={lon}&timestamp={t_s}000&speed={speed_mps}&hdop={accuracy}"), Dialect::Osmand),
        ];
        let bodies = [
            (format!(r#"[{{"id":"1","lat":{lat},"lon":{lon},"timestamp":{t_s},"speed":{knots},"accuracy":{accuracy}}}]"#), Dialect::TraccarClient),
            (format!(r#"{{"device_id":"1","location":{{"timestamp":"{iso}","coords":{coords}}}}}"#), Dialect::TraccarJson),
            (format!(r#"{{"_type":"location","lat":{lat},"lon":{lon},"tst":{t_s},"vel":{kmh},"acc":{accuracy}}}"#), Dialect::OwnTracks),
            (format!(r#"{{"location":{{"timestamp":"{iso}","coords":{coords},"uuid":"u"}}}}"#), Dialect::Transistorsoft),
            (format!(r#"{{"locations":[{{"type":"Feature","geometry":{{"type":"Point","coordinates":[{lon},{lat}]}},"properties":
                {{"timestamp":"{iso}","speed":{speed_mps},"horizontal_accuracy":{accuracy}}}}}]}}"#), Dialect::Overland),
        ];
        let readings = queries.iter().map(|(query, dialect)| (get(query), *dialect))
            .chain(bodies.iter().map(|(body, dialect)| (post(body), *dialect)));
        for (reading, dialect) in readings {
            is_sound(&reading);
            let fix = one(reading, dialect).fix;
            prop_assert!((fix.lat - lat).abs() < 1e-12 && (fix.lon - lon).abs() < 1e-12);
            prop_assert_eq!(fix.t_ms, Some(t_s * 1000));
            prop_assert!((f64::from(fix.speed_mps.unwrap()) - speed_mps).abs() < 1e-3);
            prop_assert!((f64::from(fix.accuracy_m.unwrap()) - accuracy).abs() < 1e-3);
        }
    }
}
