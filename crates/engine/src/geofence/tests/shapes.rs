//! What is a fence, what is not, and where it is.

use super::*;

#[track_caller]
fn check_refused(shape: &[Vec<Vec<Position>>], sentence: &str) {
    assert_eq!(polygons(1, shape).unwrap_err().to_string(), sentence);
}

#[test]
fn what_is_no_fence_is_refused_in_a_sentence() {
    let square = ring(&[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]);
    check_refused(&[], "the fence has no ring of corners");
    check_refused(&[vec![]], "the fence has no ring of corners");
    check_refused(&[vec![vec![]]], "the fence has no ring of corners");
    check_refused(&[vec![square.clone(), vec![]]], "polygon 1, ring 2 has 0 different corners, at least 3 are needed");
    check_refused(
        &[vec![square[..4].to_vec()]],
        "polygon 1, ring 1 is not closed: its last position must repeat its first",
    );
    let two = ring(&[(0.0, 0.0), (0.0, 1.0), (0.0, 1.0)]);
    check_refused(&[vec![two]], "polygon 1, ring 1 has 2 different corners, at least 3 are needed");
    let flat = ring(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]);
    check_refused(
        &[vec![square.clone()], vec![flat]],
        "polygon 2, ring 1 encloses nothing: its corners lie on one line",
    );
    let bow = ring(&[(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)]);
    check_refused(
        &[vec![bow]],
        "polygon 1 crosses itself: the edge from corner 1 of ring 1 and the edge from corner 3 of ring 1",
    );
    let hole = ring(&[(0.5, 0.5), (0.5, 1.5), (0.7, 1.5)]);
    check_refused(
        &[vec![square.clone(), hole]],
        "polygon 1 crosses itself: the edge from corner 2 of ring 1 and the edge from corner 1 of ring 2",
    );
    let outside = ring(&[(2.5, 2.5), (2.5, 2.6), (2.7, 2.5)]);
    check_refused(&[vec![square, outside]], "polygon 1, ring 2 is a hole outside of its border");
    let polar = ring(&[(80.0, 0.0), (80.0, 90.0), (80.0, 180.0), (80.0, -90.0)]);
    check_refused(
        &[vec![polar]],
        "polygon 1, ring 1 goes around a pole (its longitudes turn by 360 degrees): draw a circle around the pole",
    );
    let tip = ring(&[(80.0, 0.0), (80.0, 10.0), (90.0, 5.0)]);
    check_refused(
        &[vec![tip]],
        "polygon 1, ring 1 has a corner at latitude 90, polygons may reach to 89 degrees: draw a circle around the pole",
    );
    let wide = ring(&[(0.0, -100.0), (0.0, 0.0), (0.0, 100.0), (1.0, 100.0), (1.0, 0.0), (1.0, -100.0)]);
    check_refused(&[vec![wide]], "the fence is 200 degrees of longitude wide, the limit is 180: make several of it");
    check_refused(
        &[vec![star(at(41.0, -8.0), &[1_000.0; 10_000])]],
        "the fence has 10000 corners, the limit is 2000: simplify it",
    );
    let radius = |radius_m| Geofence::circle(GeofenceId(1), Millis(1), rules(None), at(1.0, 1.0), radius_m);
    assert_eq!(radius(4.9).unwrap_err().to_string(), "radius_m is 4.9, it must be 5 to 100000");
    assert!(radius(f64::NAN).is_err() && radius(100_001.0).is_err() && radius(5.0).is_ok());
    let short = Geofence::circle(GeofenceId(1), Millis(1), rules(Some(999)), at(1.0, 1.0), 50.0);
    assert_eq!(short.unwrap_err().to_string(), "dwell_ms is 999, it must be 1000 to 604800000");
}

/// Which of these places (latitude, longitude) are inside.
#[track_caller]
fn check(fence: &Geofence, inside: &[(f64, f64)], outside: &[(f64, f64)]) {
    for (places, expected) in [(inside, true), (outside, false)] {
        for (lat, lon) in places {
            assert_eq!(fence.contains(at(*lat, *lon)), expected, "({lat}, {lon})");
            let found = index([fence.clone()]).containing(at(*lat, *lon)).len();
            assert_eq!(found == 1, expected, "({lat}, {lon}) by the index");
        }
    }
}

#[test]
fn holes_islands_and_several_parts() {
    let square = |from: f64, to: f64| ring(&[(from, from), (from, to), (to, to), (to, from)]);
    let reversed = square(0.2, 0.8).into_iter().rev().collect();
    let fence = polygons(1, &[vec![square(0.0, 1.0), reversed], vec![square(0.4, 0.6)], vec![square(2.0, 3.0)]]);
    let outside = [(0.3, 0.3), (0.7, 0.5), (1.5, 1.5), (-0.1, 0.5)];
    check(&fence.unwrap(), &[(0.1, 0.1), (0.9, 0.5), (0.5, 0.5), (2.5, 2.5)], &outside);
}

#[test]
fn either_way_of_writing_the_antimeridian_works() {
    let (inside, outside) =
        ([(-17.0, 179.99), (-17.0, -179.99), (-17.0, 180.0), (-17.0, -180.0)], [(-17.0, 0.0), (-17.0, 177.0)]);
    let through =
        polygons(1, &[vec![ring(&[(-18.0, 179.0), (-18.0, -179.0), (-16.0, -179.0), (-16.0, 179.0)])]]).unwrap();
    check(&through, &inside, &outside);
    let west = ring(&[(-18.0, 179.0), (-18.0, 180.0), (-16.0, 180.0), (-16.0, 179.0)]);
    let east = ring(&[(-18.0, -180.0), (-18.0, -179.0), (-16.0, -179.0), (-16.0, -180.0)]);
    for parts in [[vec![west.clone()], vec![east.clone()]], [vec![east], vec![west.clone()]]] {
        let cut = polygons(1, &parts).unwrap();
        check(&cut, &inside, &outside);
        // The cut is no border: in its middle one is deep inside.
        let depth_m = -cut.signed_distance_m(at(-17.0, 179.9999));
        assert!((depth_m - -through.signed_distance_m(at(-17.0, 179.9999))).abs() < 1.0, "{depth_m}");
    }
    let alone = polygons(1, &[vec![west]]).unwrap();
    assert!(alone.signed_distance_m(at(-17.0, 179.9999)).abs() < 20.0, "without the other half it is one");
    let around = circle(1, at(0.0, 179.999), 1_000.0);
    check(&around, &[(0.0, -179.999), (0.0, 179.991)], &[(0.0, 179.98), (0.0, -179.98)]);
}

#[test]
fn circles_hold_the_poles() {
    let fence = circle(1, at(89.9999, 20.0), 5_000.0);
    check(&fence, &[(90.0, 0.0), (89.99, -160.0), (89.99, 110.0)], &[(89.9, 20.0), (89.9, -160.0), (-89.9999, 20.0)]);
    let beside = circle(1, at(-89.9, 0.0), 5_000.0);
    check(&beside, &[(-89.9, 1.0)], &[(-90.0, 0.0), (-89.9, 180.0)]);
}

/// Any place where there is something to get wrong, towns first.
fn anywhere() -> impl Strategy<Value = Position> {
    let lat = prop_oneof![41.0..41.3, -60.0..70.0, Just(0.0), 88.0..88.9];
    let lon = prop_oneof![-8.8..-8.4, -180.0..180.0, 179.99..180.0, -180.0..-179.99];
    (lat, lon).prop_map(|(lat, lon)| at(lat, lon))
}

/// Even-odd over all corners, in `f64` and without any box; and the nearest of points set closely along the border.
fn slowly(shape: &[Vec<Position>], place: Position) -> (bool, f64) {
    let flat = |corner: Position| (turn_deg(corner.lon_deg() - place.lon_deg()), corner.lat_deg() - place.lat_deg());
    let (mut inside, mut nearest_m) = (false, f64::INFINITY);
    for edge in shape.iter().flat_map(|ring| ring.windows(2)) {
        let ((ax, ay), (bx, by)) = (flat(edge[0]), flat(edge[1]));
        inside ^= (ay > 0.0) != (by > 0.0) && 0.0 < (bx - ax) * (0.0 - ay) / (by - ay) + ax;
        for step in 0..=200 {
            let share = f64::from(step) / 200.0;
            let (lat, lon) =
                (place.lat_deg() + ay + share * (by - ay), turn_deg(place.lon_deg() + ax + share * (bx - ax)));
            nearest_m = nearest_m.min(at(lat.clamp(-90.0, 90.0), lon).distance_m(place));
        }
    }
    (inside, nearest_m)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_polygon_equals_a_slow_look_at_its_corners(
        centre in anywhere(),
        radii in prop::collection::vec(100.0..600.0_f64, 3..60),
        hole in prop::option::of(prop::collection::vec(10.0..30.0_f64, 3..9)),
        places in prop::collection::vec((-900.0..900.0_f64, -900.0..900.0_f64), 20),
    ) {
        let mut shape = vec![star(centre, &radii)];
        shape.extend(hole.map(|radii| star(centre, &radii)));
        // With three or four corners far apart the centre may lie outside, and then so does the hole.
        let Ok(fence) = polygons(1, &[shape.clone()]) else { return Ok(()) };
        let index = index([fence.clone()]);
        for (east_m, north_m) in places {
            let place = centre.offset(east_m, north_m);
            let (inside, distance_m) = slowly(&shape, place);
            let signed_m = fence.signed_distance_m(place);
            let tolerance_m = 0.05 * distance_m + 3.0;
            prop_assert!((signed_m.abs() - distance_m).abs() < tolerance_m, "{signed_m} against {distance_m} of {inside}");
            if distance_m > 0.1 {
                prop_assert_eq!(signed_m < 0.0, inside, "{} m", signed_m);
                prop_assert_eq!(index.containing(place).len() == 1, inside);
            }
        }
    }

    #[test]
    fn the_index_finds_what_a_scan_finds(
        centre in anywhere(),
        circles in prop::collection::vec((-3e3..3e3_f64, -3e3..3e3_f64, 5.0..1_500.0_f64), 0..40),
        stars in prop::collection::vec((-3e3..3e3_f64, -3e3..3e3_f64, prop::collection::vec(50.0..800.0_f64, 5..20)), 0..40),
        places in prop::collection::vec((-4e3..4e3_f64, -4e3..4e3_f64), 20),
    ) {
        let circles = circles.iter().map(|(east_m, north_m, radius_m)| {
            Geofence::circle(GeofenceId(0), Millis(1), rules(None), centre.offset(*east_m, *north_m), *radius_m)
        });
        let stars = stars.iter().map(|(east_m, north_m, radii)| polygons(0, &[vec![star(centre.offset(*east_m, *north_m), radii)]]));
        let fences: Vec<Geofence> = circles.chain(stars).flatten().enumerate().map(|(id, fence)| Geofence { id: GeofenceId(id as u128), ..fence }).collect();
        let index = index(fences.clone());
        for (east_m, north_m) in places {
            let place = centre.offset(east_m, north_m);
            let found: Vec<_> = index.containing(place).iter().map(|fence| fence.id()).collect();
            let scanned: Vec<_> = fences.iter().filter(|fence| fence.contains(place)).map(Geofence::id).collect();
            prop_assert_eq!(found, scanned);
        }
    }

    #[test]
    fn any_corners_are_answered(
        rings in prop::collection::vec(prop::collection::vec((-90.0..=90.0_f64, -180.0..=180.0_f64), 0..8), 0..4),
        close in any::<bool>(),
        places in prop::collection::vec((-90.0..=90.0_f64, -180.0..=180.0_f64), 8),
    ) {
        let corners = |places: &Vec<(f64, f64)>| if close { ring(places) } else { places.iter().map(|(lat, lon)| at(*lat, *lon)).collect() };
        let shape: Vec<Vec<Position>> = rings.iter().map(corners).collect();
        let Ok(fence) = polygons(1, &[shape]) else { return Ok(()) };
        for (lat, lon) in places {
            prop_assert!(fence.signed_distance_m(at(lat, lon)).is_finite());
        }
    }
}

#[test]
fn two_thousand_corners_are_welcome() {
    let fence = polygons(1, &[vec![star(at(41.15, -8.61), &[1_000.0; 2_000])]]).unwrap();
    assert!((fence.signed_distance_m(at(41.15, -8.61)) + 1_000.0).abs() < 1.0);
}
