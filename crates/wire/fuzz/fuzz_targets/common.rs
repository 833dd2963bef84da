//! What holds of whatever an app sends.
#![allow(dead_code)]

use wayfare_wire::dialects::{ITEMS_MAX, Request, read};

/// As JSON by POST.
pub fn post(body: &str) {
    check(&Request { method: "POST", content_type: "application/json", body: body.as_bytes(), ..Request::default() });
}

/// Reads it, and asks whether every value is one that the units allow.
pub fn check(request: &Request<'_>) {
    let reading = read(request);
    assert!(reading.items.len() <= ITEMS_MAX + 1);
    assert!(reading.outages.len() <= reading.items.len());
    for fix in reading.fixes() {
        let numbers = fix.fix;
        assert!(numbers.lat.is_finite() && numbers.lon.is_finite());
        assert!(numbers.accuracy_m.is_none_or(|accuracy| accuracy > 0.0));
        assert!(numbers.speed_mps.is_none_or(|speed| speed >= 0.0));
        assert!(numbers.heading_deg.is_none_or(|heading| heading >= 0.0));
    }
    assert!(reading.phone.battery.is_none_or(|battery| (0.0..=1.0).contains(&battery)));
    for item in &reading.items {
        // An item's bytes are a part of what was sent.
        let inside = |whole: &[u8]| whole.as_ptr_range().contains(&item.raw.as_ptr());
        assert!(item.raw.is_empty() || inside(request.body) || inside(request.query.as_bytes()));
    }
}
