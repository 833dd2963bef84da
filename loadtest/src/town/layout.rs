//! How a town is laid out: an uneven grid, cut by a river that only two roads cross.

use super::{Area, AreaKind, Flat, Place, Spot, Street, StreetKind, names};

/// Junctions along each side of the grid.
const SIDE: usize = 13;
/// Rows and columns that are main roads; the columns cross the river.
const MAIN: [usize; 2] = [3, 9];
/// The river flows between this row and the next.
const RIVER_ROW: usize = 5;
/// Room for the river between its two rows, metres.
const RIVER_GAP_M: f64 = 230.0;
/// Half the river's width, metres.
const RIVER_HALF_M: f64 = 30.0;
/// How far it winds to either side, metres.
const RIVER_BEND_M: f64 = 20.0;
/// The park takes these blocks: rows and columns of their south-western corners.
const PARK_ROWS: [usize; 2] = [9, 10];
const PARK_COLUMNS: [usize; 2] = [5, 6];
/// Share of the pieces of side street that are left out.
const GAPS: f64 = 0.12;
/// Homes per town.
const HOMES: usize = 120;
/// Distance between the middle of a street and the houses, metres.
const SETBACK_M: f64 = 9.0;

pub(super) struct Layout {
    pub(super) name: String,
    pub(super) junctions: Vec<Flat>,
    pub(super) streets: Vec<Street>,
    pub(super) stores: Vec<Place>,
    pub(super) homes: Vec<Place>,
    pub(super) areas: Vec<Area>,
}

pub(super) fn lay_out(seed: u64) -> Layout {
    let mut random = fastrand::Rng::with_seed(seed);
    let name = names::TOWNS[random.usize(..names::TOWNS.len())].to_owned();
    let (columns, rows) = (lines(&mut random, None), lines(&mut random, Some(RIVER_ROW)));
    let junctions = junctions(&mut random, &columns, &rows);
    let mut streets = grid(&mut random);
    leave_gaps(&mut random, &mut streets, junctions.len());
    let river_north_m = f64::midpoint(rows[RIVER_ROW], rows[RIVER_ROW + 1]);
    let mut areas = vec![river(river_north_m, &columns)];
    areas.extend(blocks(&junctions));
    let stores = stores(&mut random, &streets);
    let homes = homes(&mut random, &streets);
    Layout { name, junctions, streets, stores, homes, areas }
}

/// For each junction: neighbours, and the piece of street that leads there.
pub(super) fn ways(junctions: usize, streets: &[Street]) -> Vec<Vec<(usize, usize)>> {
    let mut ways = vec![Vec::new(); junctions];
    for (index, street) in streets.iter().enumerate() {
        ways[street.from].push((street.to, index));
        ways[street.to].push((street.from, index));
    }
    ways
}

/// Places of the rows (or columns) of the grid, in metres from the middle.
fn lines(random: &mut fastrand::Rng, river_after: Option<usize>) -> Vec<f64> {
    let (mut lines, mut at) = (Vec::with_capacity(SIDE), 0.0);
    for line in 0..SIDE {
        lines.push(at);
        at += if river_after == Some(line) { RIVER_GAP_M } else { 130.0 + 60.0 * random.f64() };
    }
    let middle = lines[SIDE - 1] / 2.0;
    lines.iter().map(|line| line - middle).collect()
}

fn junctions(random: &mut fastrand::Rng, columns: &[f64], rows: &[f64]) -> Vec<Flat> {
    let mut junctions = Vec::with_capacity(SIDE * SIDE);
    for (row, north_m) in rows.iter().enumerate() {
        for (column, east_m) in columns.iter().enumerate() {
            // Main roads are nearly straight, side streets are not.
            let sway_m = |main: bool| if main { 4.0 } else { 18.0 };
            let (sway_e, sway_n) = (sway_m(MAIN.contains(&column)), sway_m(MAIN.contains(&row)));
            junctions.push(Flat {
                east_m: east_m + sway_e * (2.0 * random.f64() - 1.0),
                north_m: north_m + sway_n * (2.0 * random.f64() - 1.0),
            });
        }
    }
    junctions
}

fn grid(random: &mut fastrand::Rng) -> Vec<Street> {
    let mut words = names::STREETS;
    random.shuffle(&mut words);
    let name = |line: usize, is_row: bool| {
        let word = words[line + if is_row { 0 } else { SIDE }];
        let suffix =
            if MAIN.contains(&line) { names::MAIN_SUFFIX } else { names::SUFFIXES[line % names::SUFFIXES.len()] };
        format!("{word} {suffix}")
    };
    let kind = |line: usize| match MAIN.contains(&line) {
        true => StreetKind::Main,
        false => StreetKind::Street,
    };
    let mut streets = Vec::new();
    for line in 0..SIDE {
        for step in 0..SIDE - 1 {
            let along_row = (line * SIDE + step, line * SIDE + step + 1);
            let along_column = (step * SIDE + line, (step + 1) * SIDE + line);
            if !in_park(along_row.0, along_row.1) {
                streets.push(Street { from: along_row.0, to: along_row.1, kind: kind(line), name: name(line, true) });
            }
            if in_park(along_column.0, along_column.1) {
                continue;
            }
            let (from, to) = along_column;
            match MAIN.iter().position(|main| *main == line) {
                Some(bridge) if step == RIVER_ROW => {
                    streets.push(Street { from, to, kind: StreetKind::Bridge, name: names::BRIDGES[bridge].to_owned() })
                }
                None if step == RIVER_ROW => {}
                _ => streets.push(Street { from, to, kind: kind(line), name: name(line, false) }),
            }
        }
    }
    streets
}

/// Whether a piece of street would lead through the park: one of its ends is the park's inner junction.
fn in_park(from: usize, to: usize) -> bool {
    let inner = PARK_ROWS[1] * SIDE + PARK_COLUMNS[1];
    from == inner || to == inner
}

/// Leaves out some pieces of side street, but none that anybody needs.
fn leave_gaps(random: &mut fastrand::Rng, streets: &mut Vec<Street>, junctions: usize) {
    let whole = reachable(junctions, streets);
    let mut index = 0;
    while index < streets.len() {
        if streets[index].kind != StreetKind::Street || random.f64() >= GAPS {
            index += 1;
            continue;
        }
        let left_out = streets.remove(index);
        if reachable(junctions, streets) < whole {
            streets.insert(index, left_out);
            index += 1;
        }
    }
}

/// Junctions that can be reached from the first.
fn reachable(junctions: usize, streets: &[Street]) -> usize {
    let ways = ways(junctions, streets);
    let (mut seen, mut open) = (vec![false; junctions], vec![0]);
    seen[0] = true;
    let mut count = 0;
    while let Some(here) = open.pop() {
        count += 1;
        for (there, _) in &ways[here] {
            if !std::mem::replace(&mut seen[*there], true) {
                open.push(*there);
            }
        }
    }
    count
}

fn river(north_m: f64, columns: &[f64]) -> Area {
    let (west, east) = (columns[0] - 200.0, columns[SIDE - 1] + 200.0);
    let bend = |east_m: f64| north_m + RIVER_BEND_M * (east_m / 260.0).sin();
    let steps = 40;
    let bank = |side_m: f64, step: usize| {
        let east_m = west + (east - west) * step as f64 / steps as f64;
        Flat { east_m, north_m: bend(east_m) + side_m }
    };
    let south = (0..=steps).map(|step| bank(-RIVER_HALF_M, step));
    let north = (0..=steps).rev().map(|step| bank(RIVER_HALF_M, step));
    Area { kind: AreaKind::Water, ring: south.chain(north).collect() }
}

/// Houses in every block, except by the river; the park's blocks are one meadow.
fn blocks(junctions: &[Flat]) -> Vec<Area> {
    let at = |row: usize, column: usize| junctions[row * SIDE + column];
    let mut areas = Vec::new();
    for row in (0..SIDE - 1).filter(|row| *row != RIVER_ROW) {
        for column in 0..SIDE - 1 {
            if PARK_ROWS.contains(&row) && PARK_COLUMNS.contains(&column) {
                continue;
            }
            let corners = [at(row, column), at(row, column + 1), at(row + 1, column + 1), at(row + 1, column)];
            areas.push(set_back(AreaKind::Block, &corners));
        }
    }
    let ([south, _], [west, _]) = (PARK_ROWS, PARK_COLUMNS);
    let edge = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)];
    let corners = edge.map(|(row, column)| at(south + row, west + column));
    areas.push(set_back(AreaKind::Park, &corners));
    areas
}

/// Draws the corners in, so that the streets between have a width.
fn set_back(kind: AreaKind, corners: &[Flat]) -> Area {
    let count = corners.len() as f64;
    let middle = Flat {
        east_m: corners.iter().map(|corner| corner.east_m).sum::<f64>() / count,
        north_m: corners.iter().map(|corner| corner.north_m).sum::<f64>() / count,
    };
    let inwards = |corner: &Flat| {
        let share = SETBACK_M * std::f64::consts::SQRT_2 / corner.distance_m(middle);
        corner.towards(middle, share)
    };
    Area { kind, ring: corners.iter().map(inwards).collect() }
}

fn stores(random: &mut fastrand::Rng, streets: &[Street]) -> Vec<Place> {
    let mut open: Vec<usize> = (0..streets.len()).filter(|index| streets[*index].kind == StreetKind::Main).collect();
    random.shuffle(&mut open);
    let place = |(name, street): (&&str, usize)| Place {
        name: (*name).to_owned(),
        spot: Spot::OnStreet { street, along: 0.3 + 0.4 * random.f64() },
    };
    names::STORES.iter().zip(open).map(place).collect()
}

fn homes(random: &mut fastrand::Rng, streets: &[Street]) -> Vec<Place> {
    let mut homes = Vec::with_capacity(HOMES);
    while homes.len() < HOMES {
        let street = random.usize(..streets.len());
        if streets[street].kind != StreetKind::Street {
            continue;
        }
        let along = 0.15 + 0.7 * random.f64();
        let number = 1 + random.usize(..12) + 12 * (streets[street].from % SIDE);
        let name = format!("{number} {}", streets[street].name);
        homes.push(Place { name, spot: Spot::OnStreet { street, along } });
    }
    homes
}
