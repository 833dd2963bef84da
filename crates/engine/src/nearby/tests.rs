use super::*;
use h3o::Resolution;
use proptest::prelude::*;

/// Where the pattern of cells or of coordinates has its faults, and an ordinary town.
fn hard_places() -> Vec<Position> {
    let mut places: Vec<Position> =
        [(41.15, -8.61), (90.0, 0.0), (-90.0, 0.0), (0.0, 180.0), (52.0, -179.9999), (0.0, 0.0)]
            .into_iter()
            .map(|(lat, lon)| Position::new(lat, lon).unwrap())
            .collect();
    places.extend(Resolution::Nine.pentagons().map(|cell| {
        let at = LatLng::from(cell);
        Position::new(at.lat(), at.lng()).unwrap()
    }));
    places
}

/// The slow, obvious way.
fn scan(all: &[(DriverId, Presence)], from: Position, most: usize, filter: &Filter) -> Vec<(DriverId, f64)> {
    let fitting = all.iter().filter(|(_, presence)| filter.fits(presence));
    let mut found: Vec<_> = fitting.map(|(driver, presence)| (*driver, from.distance_m(presence.position))).collect();
    found.sort_by(|a, b| a.1.total_cmp(&b.1));
    found.truncate(most);
    found
}

impl DriverIndex {
    /// Asserts what must always hold.
    fn check_itself(&self) {
        let occupied = self.buckets.iter().filter(|bucket| !bucket.entries.is_empty()).count();
        assert_eq!(occupied, self.buckets_of.len());
        assert_eq!(self.buckets.len(), occupied + self.free_buckets.len());
        assert_eq!(self.slots.len(), self.slots_of.len() + self.free_slots.len());
        for (driver, slot) in &self.slots_of {
            let Slot { driver: held, presence, bucket, place } = self.slots[*slot as usize];
            assert_eq!(*driver, held);
            let bucket = &self.buckets[bucket as usize];
            assert_eq!(bucket.cell, cell_of(presence.position), "{presence:?}");
            assert_eq!(bucket.entries[place as usize].slot, *slot);
            assert!(self.buckets_of.contains_key(&bucket.cell));
            if !bucket.around.broken {
                let ring = CellIndex::try_from(bucket.cell).unwrap().grid_ring_fast(1);
                let mut near: Vec<u32> =
                    ring.filter_map(|cell| self.buckets_of.get(&u64::from(cell.unwrap())).copied()).collect();
                let mut around = bucket.around.list().to_vec();
                near.sort_unstable();
                around.sort_unstable();
                assert_eq!(around, near);
            }
        }
    }
}

fn presence(position: Position, number: u32) -> Presence {
    Presence {
        position,
        taken: Millis(i64::from(number % 100) * 1000),
        vehicle: Vehicle::ALL[number as usize % 5],
        capacity: NonZeroU16::new((number % 7) as u16),
        availability: Availability::ALL[number as usize / 5 % 3],
    }
}

fn filters() -> impl Strategy<Value = Filter> {
    let vehicles = prop::collection::vec(0..5_usize, 0..4);
    (vehicles, any::<bool>(), 0..8_u16, 0..120_i64).prop_map(|(vehicles, free, capacity, taken_s)| {
        let mut filter = Filter::default();
        if !vehicles.is_empty() {
            filter = filter.vehicles(vehicles.into_iter().map(|number| Vehicle::ALL[number]));
        }
        if free {
            filter = filter.availabilities([Availability::Available, Availability::Finishing]);
        }
        if let Some(capacity) = NonZeroU16::new(capacity) {
            filter = filter.capacity_least(capacity);
        }
        filter.taken_from(Millis(taken_s * 1000 - 20_000))
    })
}

#[track_caller]
fn check(index: &DriverIndex, all: &[(DriverId, Presence)], from: Position, most: usize, filter: &Filter) -> Way {
    let mut found = Found::default();
    let way = index.nearest(from, most, filter, &mut found);
    let expected = scan(all, from, most, filter);
    assert_eq!(found.drivers.len(), expected.len());
    for (nearest, (driver, distance_m)) in found.drivers.iter().zip(&expected) {
        // Two drivers at one distance may change places.
        assert!((nearest.distance_m - distance_m).abs() < 1e-3, "{nearest:?} instead of {driver:?} at {distance_m} m");
        assert!(filter.fits(&nearest.presence));
        assert_eq!(index.get(nearest.driver), Some(&nearest.presence));
    }
    way
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_nearest_are_those_a_scan_finds(
        place in 0..hard_places().len(),
        // Metres east and north: many drivers close by, or few far apart.
        spread_m in prop_oneof![Just(300.0), Just(3_000.0), Just(60_000.0)],
        at in prop::collection::vec((-1.0..1.0, -1.0..1.0, any::<u32>()), 0..400),
        from in prop::collection::vec((-1.2..1.2, -1.2..1.2), 1..6),
        most in 0..40_usize,
        filter in prop_oneof![Just(Filter::default()), filters()],
    ) {
        let middle = hard_places()[place];
        let mut index = DriverIndex::new(1000);
        let all: Vec<_> = at
            .iter()
            .enumerate()
            .map(|(id, (e, n, number))| (DriverId(id as u128), presence(middle.offset(e * spread_m, n * spread_m), *number)))
            .collect();
        for (driver, presence) in &all {
            index.put(*driver, presence).unwrap();
        }
        index.check_itself();
        for (e, n) in from {
            check(&index, &all, middle.offset(e * spread_m, n * spread_m), most, &filter);
        }
    }

    #[test]
    fn drivers_who_move_and_leave_are_found_where_they_are(
        place in 0..hard_places().len(),
        steps in prop::collection::vec((0..40_u128, -300.0..300.0_f64, -300.0..300.0_f64, any::<u32>(), 0..8_u8), 0..400),
    ) {
        let middle = hard_places()[place];
        let mut index = DriverIndex::new(30);
        let mut all: Vec<(DriverId, Presence)> = Vec::new();
        for (id, e, n, number, turn) in steps {
            let (driver, known) = (DriverId(id), all.iter().position(|(driver, _)| driver.0 == id));
            if turn == 0 {
                assert_eq!(index.remove(driver), known.is_some());
                known.map(|known| all.swap_remove(known));
                continue;
            }
            let from = known.map_or(middle, |known| all[known].1.position);
            let now = presence(from.offset(e, n), number);
            match (index.put(driver, &now), known) {
                (Ok(()), Some(known)) => all[known].1 = now,
                (Ok(()), None) => all.push((driver, now)),
                (Err(IndexFull { limit }), None) => assert_eq!((limit, all.len()), (30, 30)),
                (Err(_), Some(_)) => panic!("a driver who is in may move"),
            }
        }
        index.check_itself();
        check(&index, &all, middle, 12, &Filter::default());
    }
}

/// Drivers on a grid of this width.
fn town(middle: Position, step_m: f64, side: i32) -> (DriverIndex, Vec<(DriverId, Presence)>) {
    let mut index = DriverIndex::new(100_000);
    let mut all = Vec::new();
    for (e, n) in (0..side).flat_map(|e| (0..side).map(move |n| (e, n))) {
        let at = |step: i32| f64::from(step - side / 2) * step_m + 7.0;
        let id = DriverId(all.len() as u128);
        all.push((id, presence(middle.offset(at(e), at(n)), all.len() as u32)));
        index.put(id, &all[all.len() - 1].1).unwrap();
    }
    (index, all)
}

#[test]
fn in_a_town_few_rings_are_enough() {
    let middle = hard_places()[0];
    let (index, all) = town(middle, 100.0, 60);
    let way = check(&index, &all, middle, 10, &Filter::default());
    assert!(matches!(way, Way::Rings(1..=2)), "{way:?}");
}

#[test]
fn where_rings_are_of_no_use_all_occupied_cells_are_looked_at() {
    let (index, all) = town(hard_places()[0], 100.0, 60);
    // From another continent; and when one driver of thousands fits.
    assert_eq!(check(&index, &all, Position::new(-33.9, 18.4).unwrap(), 10, &Filter::default()), Way::Swept);
    let rare = Filter::default().capacity_least(NonZeroU16::new(7).unwrap());
    assert_eq!(check(&index, &all, hard_places()[0], 10, &rare), Way::Swept);
    // Around a pentagon there are no rings, and with few drivers no need for any.
    let (index, all) = town(hard_places()[6], 50.0, 30);
    assert_eq!(check(&index, &all, hard_places()[6], 10, &Filter::default()), Way::Swept);
    let (index, all) = town(hard_places()[0], 5_000.0, 2);
    assert_eq!(check(&index, &all, hard_places()[0], 3, &Filter::default()), Way::Swept);
}

#[test]
fn an_empty_index_and_no_wish_give_nothing() {
    let here = hard_places()[0];
    check(&DriverIndex::new(0), &[], here, 5, &Filter::default());
    let (index, all) = town(here, 10.0, 10);
    check(&index, &all, here, 0, &Filter::default());
    assert_eq!(DriverIndex::new(0).put(DriverId(1), &all[0].1), Err(IndexFull { limit: 0 }));
}

#[test]
fn filters_say_who_fits() {
    let here = presence(hard_places()[0], 0);
    let here = Presence { taken: Millis(50), vehicle: Vehicle::Van, availability: Availability::Busy, ..here };
    let three = NonZeroU16::new(3).unwrap();
    let holds = |filter: Filter, capacity| filter.fits(&Presence { capacity: NonZeroU16::new(capacity), ..here });
    let any = Filter::default();
    assert!(holds(any, 0));
    assert!(holds(any.vehicles([Vehicle::Car, Vehicle::Van]), 0) && !holds(any.vehicles([Vehicle::Car]), 0));
    assert!(holds(any.availabilities([Availability::Busy]), 0));
    assert!(!holds(any.availabilities([Availability::Available, Availability::Finishing]), 0));
    assert!(holds(any.capacity_least(three), 3) && !holds(any.capacity_least(three), 2));
    assert!(!holds(any.capacity_least(three), 0), "an unknown capacity may be too small");
    assert!(holds(any.taken_from(Millis(50)), 0) && !holds(any.taken_from(Millis(51)), 0));
}
