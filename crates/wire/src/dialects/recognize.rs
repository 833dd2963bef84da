//! Which dialect a request is in, by what it holds: its root, its first item, the names of its parameters.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::query::Parameters;
use super::values::Object;
use super::{Dialect, Reading, Request, Rule, overland, owntracks, query, traccar_json, transistorsoft};

/// Members of an object, unread: what is in them is read item by item, so that one bad number spoils one item.
type Members<'a> = HashMap<String, &'a RawValue>;

/// Reads a request. Never fails: what cannot be read is a fault among the items.
pub fn read<'a>(request: &Request<'a>) -> Reading<'a> {
    let body = request.body.trim_ascii();
    match body.first() {
        Some(b'{') => object(body, request),
        Some(b'[') => array(body),
        first => parameters(request, first.is_none()),
    }
}

/// A query, or a form where there is none.
fn parameters<'a>(request: &Request<'a>, without_body: bool) -> Reading<'a> {
    let form = std::str::from_utf8(request.body).unwrap_or_default();
    let in_query = Parameters::parse(request.query);
    let (raw, parameters) = if is_position(&in_query) || without_body {
        (request.query.as_bytes(), in_query)
    } else {
        (request.body, Parameters::parse(form))
    };
    if is_position(&parameters) {
        let mut reading = Reading::new(sender(&parameters, request));
        query::read(raw, &parameters, &mut reading);
        return reading;
    }
    // An app may send nothing at all: OwnTracks does when a friend is deleted, and people open the address to look at it.
    let mut reading = Reading::new(if request.is_owntracks { Dialect::OwnTracks } else { Dialect::Unknown });
    if !without_body {
        reading.fault(request.body, Rule::Shape, format!("{:.60}", String::from_utf8_lossy(request.body)));
    }
    reading
}

/// Whether these are the parameters of a position or of a heartbeat.
fn is_position(parameters: &Parameters<'_>) -> bool {
    let names = ["lat", "lon", "location", "timestamp", "batt", "id", "deviceid"];
    !parameters.is_empty() && names.iter().any(|name| parameters.has(name))
}

/// Traccar Client, or the OsmAnd app with another unit of speed. The address may say it (`app=osmand`), or the operator; else the
/// fields tell: only OsmAnd's template has the accuracy in `hdop`, only Traccar Client tells accuracy and battery by their names.
fn sender(parameters: &Parameters<'_>, request: &Request<'_>) -> Dialect {
    let told = parameters.get("app").and_then(Dialect::from_code).or(request.told);
    if let Some(told @ (Dialect::Osmand | Dialect::TraccarClient)) = told {
        return told;
    }
    let has = |name: &str| parameters.has(name);
    let milliseconds = parameters.get("timestamp").is_some_and(|text| text.len() >= 12 && !text.contains('T'));
    let is_osmand = request.method == "GET" && has("hdop") && milliseconds && !has("accuracy") && !has("batt");
    if is_osmand { Dialect::Osmand } else { Dialect::TraccarClient }
}

/// One object: whose, its members tell.
fn object<'a>(body: &'a [u8], request: &Request<'a>) -> Reading<'a> {
    let members = match serde_json::from_slice::<Members<'a>>(body) {
        Ok(members) => members,
        Err(error) => return unreadable(body, &error.to_string()),
    };
    let has = |name: &str| members.contains_key(name);
    let starts = |name: &str, with: char| members.get(name).is_some_and(|value| value.get().starts_with(with));
    if has("_type") {
        return whole(body, Dialect::OwnTracks, owntracks::read);
    }
    if starts("locations", '[') && !is_record(first_of(members.get("locations"))) {
        return features(&members, request);
    }
    if has("device_id") && starts("location", '{') && !has_uuid(members.get("location")) {
        return whole(body, Dialect::TraccarJson, traccar_json::read);
    }
    if has("coords") || (has("latitude") && has("longitude")) {
        return whole(body, Dialect::Transistorsoft, transistorsoft::record);
    }
    if has("lat") || has("lon") || (has("id") && (has("timestamp") || has("batt"))) {
        return whole(body, Dialect::TraccarClient, traccar_json::read_flat);
    }
    records(body, &members)
}

/// A bare array: of flat objects (Traccar Client 10), of records, or of OwnTracks messages.
fn array(body: &[u8]) -> Reading<'_> {
    let items = match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(items) => items,
        Err(error) => return unreadable(body, &error.to_string()),
    };
    let shape = |item: &&RawValue| {
        let members = serde_json::from_str::<Members<'_>>(item.get()).ok()?;
        let has = |name: &str| members.contains_key(name);
        if has("coords") || has("latitude") {
            Some(Dialect::Transistorsoft)
        } else if has("_type") {
            Some(Dialect::OwnTracks)
        } else if has("geometry") {
            Some(Dialect::Overland)
        } else if has("lat") || has("lon") || has("timestamp") || has("batt") {
            Some(Dialect::TraccarClient)
        } else {
            None
        }
    };
    // One bad record at the head must not make strangers of those behind it.
    let dialect = items.iter().take(32).find_map(shape).unwrap_or(Dialect::Unknown);
    let mut reading = Reading::new(dialect);
    for item in items {
        let raw = item.get().as_bytes();
        match dialect {
            Dialect::Transistorsoft => transistorsoft::read(raw, &mut reading),
            Dialect::Overland => overland::read(raw, false, &mut reading),
            Dialect::OwnTracks => each(raw, &mut reading, owntracks::read),
            Dialect::TraccarClient => each(raw, &mut reading, traccar_json::read_flat),
            _ => reading.fault(raw, Rule::Shape, item.get()),
        }
    }
    reading
}

/// Overland's features, then the position that was sent ahead of them.
fn features<'a>(members: &Members<'a>, request: &Request<'a>) -> Reading<'a> {
    let mut reading = Reading::new(Dialect::Overland);
    let Some(list) = members.get("locations") else { return reading };
    match serde_json::from_str::<Vec<&RawValue>>(list.get()) {
        Ok(items) => {
            for item in items {
                overland::read(item.get().as_bytes(), false, &mut reading);
            }
        }
        Err(error) => reading.fault(request.body, Rule::Shape, error.to_string()),
    }
    if let Some(current) = members.get("current").filter(|current| current.get().starts_with('{')) {
        overland::read(current.get().as_bytes(), true, &mut reading);
    }
    reading
}

/// Records of background-geolocation under a root of any name: an object, or an array of them.
fn records<'a>(body: &'a [u8], members: &Members<'a>) -> Reading<'a> {
    let holds = |value: &&&'a RawValue| is_record(Some(**value)) || is_record(first_of(Some(*value)));
    let root = members.get("location").or_else(|| members.values().find(holds));
    let Some(root) = root else { return unreadable(body, "an object without a position") };
    let mut reading = Reading::new(Dialect::Transistorsoft);
    match serde_json::from_str::<Vec<&RawValue>>(root.get()) {
        Ok(items) => items.iter().for_each(|item| transistorsoft::read(item.get().as_bytes(), &mut reading)),
        Err(_) => transistorsoft::read(root.get().as_bytes(), &mut reading),
    }
    reading
}

/// The first item of an array.
fn first_of<'a>(list: Option<&&'a RawValue>) -> Option<&'a RawValue> {
    serde_json::from_str::<Vec<&'a RawValue>>(list?.get()).ok()?.first().copied()
}

/// Whether it is an object with coordinates of its own.
fn is_record(value: Option<&RawValue>) -> bool {
    let members = value.and_then(|value| serde_json::from_str::<Members<'_>>(value.get()).ok());
    members.is_some_and(|members| members.contains_key("coords") || members.contains_key("latitude"))
}

fn has_uuid(value: Option<&&RawValue>) -> bool {
    let members = value.and_then(|value| serde_json::from_str::<Members<'_>>(value.get()).ok());
    members.is_some_and(|members| members.contains_key("uuid"))
}

/// The whole body is one item.
fn whole<'a>(body: &'a [u8], dialect: Dialect, read: impl FnOnce(&'a [u8], &Object, &mut Reading<'a>)) -> Reading<'a> {
    let mut reading = Reading::new(dialect);
    each(body, &mut reading, read);
    reading
}

fn each<'a>(raw: &'a [u8], reading: &mut Reading<'a>, read: impl FnOnce(&'a [u8], &Object, &mut Reading<'a>)) {
    match serde_json::from_slice::<Value>(raw) {
        Ok(Value::Object(object)) => read(raw, &object, reading),
        Ok(other) => reading.fault(raw, Rule::Shape, format!("an item is {other:.60}")),
        Err(error) => reading.fault(raw, Rule::Shape, error.to_string()),
    }
}

fn unreadable<'a>(body: &'a [u8], why: &str) -> Reading<'a> {
    let mut reading = Reading::new(Dialect::Unknown);
    reading.fault(body, Rule::Shape, why);
    reading
}
