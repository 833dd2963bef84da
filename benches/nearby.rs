//! The nearest of 100,000 drivers, and one move of a driver.
//!
//! The drivers are spread as in a big city: two thirds around sixty centres of very different size, the others over 50 km.
//! Searches start where drivers are, as orders do; moves are of 20 m in any direction.

use std::hint::black_box;
use std::num::NonZeroU16;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use wayfare_engine::{Availability, DriverId, DriverIndex, Filter, Found, Millis, Position, Presence, Vehicle, Way};

const DRIVERS: usize = 100_000;
const MOVE_M: f64 = 20.0;

/// Numbers that are the same on every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normally distributed, by twelve throws.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

fn city() -> Vec<(DriverId, Presence)> {
    let (middle, mut dice) = (Position::new(41.15, -8.61).expect("a place"), Dice(0x5eed));
    let centres: Vec<(f64, f64, f64)> = (0..60)
        .map(|_| (dice.normal() * 9_000.0, dice.normal() * 9_000.0, 400.0 + 2_500.0 * dice.share() * dice.share()))
        .collect();
    let driver = |number: usize| {
        let (east_m, north_m) = if number.is_multiple_of(3) {
            (50_000.0 * (dice.share() - 0.5), 50_000.0 * (dice.share() - 0.5))
        } else {
            let (east_m, north_m, spread_m) = centres[dice.next() as usize % centres.len()];
            (east_m + spread_m * dice.normal(), north_m + spread_m * dice.normal())
        };
        let presence = Presence {
            position: middle.offset(east_m, north_m),
            taken: Millis(dice.next() as i64 % 60_000),
            vehicle: Vehicle::ALL[dice.next() as usize % 5],
            capacity: NonZeroU16::new(dice.next() as u16 % 8),
            availability: Availability::ALL[dice.next() as usize % 2],
        };
        (DriverId(u128::from(dice.next()) << 64 | u128::from(dice.next())), presence)
    };
    (0..DRIVERS).map(driver).collect()
}

fn nearest(criterion: &mut Criterion) {
    let drivers = city();
    let index = full(&drivers);
    let mut dice = Dice(0xd1ce);
    let from: Vec<Position> = (0..4096)
        .map(|_| {
            let (_, near) = drivers[dice.next() as usize % DRIVERS];
            near.position.offset(100.0 * dice.normal(), 100.0 * dice.normal())
        })
        .collect();
    let free_bikes = Filter::default()
        .vehicles([Vehicle::Bicycle, Vehicle::Motorbike])
        .availabilities([Availability::Available])
        .taken_from(Millis(0));
    let mut group = criterion.benchmark_group("nearby");
    for (name, most, filter) in [
        ("10 nearest of 100,000", 10, Filter::default()),
        ("10 nearest free ones on two wheels", 10, free_bikes),
        ("300 nearest, to be ranked by road", 300, Filter::default()),
    ] {
        let mut found = Found::default();
        let (mut rings, mut swept) = (0, 0);
        for from in &from {
            match index.nearest(*from, most, &filter, &mut found) {
                Way::Rings(count) => rings += count,
                Way::Swept => swept += 1,
            }
        }
        eprintln!("{name}: {:.1} rings, {swept} of {} swept", f64::from(rings) / from.len() as f64, from.len());
        let mut turn = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % from.len();
                index.nearest(black_box(from[turn]), most, &filter, &mut found);
                black_box(&found);
            });
        });
    }
    group.finish();
}

fn moves(criterion: &mut Criterion) {
    let mut drivers = city();
    let mut index = full(&drivers);
    let (mut dice, mut turn) = (Dice(0x30e), 0);
    let mut group = criterion.benchmark_group("nearby");
    group.bench_function("one move of 20 m", |bencher| {
        bencher.iter_batched(
            || {
                // Fixes of many drivers come mixed: hardly ever is the driver's memory still near the processor.
                turn = (turn + 7_919) % DRIVERS;
                let (sin, cos) = (dice.share() * std::f64::consts::TAU).sin_cos();
                let (driver, presence) = &mut drivers[turn];
                presence.position = presence.position.offset(MOVE_M * sin, MOVE_M * cos);
                (*driver, *presence)
            },
            |(driver, presence)| index.put(driver, &presence),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn full(drivers: &[(DriverId, Presence)]) -> DriverIndex {
    let mut index = DriverIndex::new(DRIVERS);
    for (driver, presence) in drivers {
        index.put(*driver, presence).expect("there is room");
    }
    index
}

criterion_group!(nearby, nearest, moves);
criterion_main!(nearby);
