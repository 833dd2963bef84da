//! From accepted fixes to the live marker: filter, stand-still, cell.

use crate::bytes::{Reader, Writer};
use crate::cell::CellMemo;
use crate::geo::Unit;
use crate::kalman::{Kalman, Velocity};
use crate::standing::{Stance, Standing};
use crate::{Fix, Limits, Marker, Millis, Position, RestoreError};

/// Below this filtered speed the direction is noise and the last one is kept.
const HEADING_LEAST_MPS: f64 = 1.0;

/// How a driver moves. Empty until the first accepted fix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Motion {
    now: Option<Moving>,
    cells: CellMemo,
}

#[derive(Clone, Debug)]
struct Moving {
    filter: Kalman,
    standing: Standing,
    marker: Marker,
    unit: Unit,
}

impl Motion {
    pub(crate) fn marker(&self) -> Option<Marker> {
        self.now.as_ref().map(|moving| moving.marker)
    }

    pub(crate) fn unit(&self) -> Option<Unit> {
        self.now.as_ref().map(|moving| moving.unit)
    }

    /// Takes in an accepted fix, no older than the last. `afresh`: the driver was believed to be elsewhere.
    pub(crate) fn accept(&mut self, fix: &Fix, unit: Unit, afresh: bool, limits: &Limits) {
        let accuracy_m = f64::from(fix.accuracy_m().unwrap_or(limits.unknown_accuracy_m));
        let velocity = Velocity::measured(fix.speed_mps(), fix.heading_deg());
        let start = || Kalman::start(fix.position(), fix.taken(), accuracy_m, velocity);
        let Some(moving) = self.now.as_mut().filter(|_| !afresh) else {
            let (filter, standing) = (start(), Standing::start(fix.position(), fix.taken()));
            self.show(fix.taken(), filter, standing);
            return;
        };
        let (filter, standing) = (&mut moving.filter, &mut moving.standing);
        if standing.is_standing() {
            if standing.watch(fix, moving.marker.position, limits) == Stance::Standing {
                moving.marker.taken = fix.taken();
                return;
            }
            // The frozen filter knows nothing of this departure.
            *filter = start();
        } else if fix.taken().since_ms(filter.at()) > limits.filter_gap_ms {
            *filter = start();
            standing.watch(fix, fix.position(), limits);
        } else {
            let density = f64::from(limits.accel_density);
            filter.step((fix.position(), unit), fix.taken(), accuracy_m, velocity, density);
            standing.watch(fix, filter.unit().position(), limits);
        }
        let (filter, standing) = (filter.clone(), standing.clone());
        self.show(fix.taken(), filter, standing);
    }

    fn show(&mut self, taken: Millis, filter: Kalman, standing: Standing) {
        let unit = filter.unit();
        let (position, speed_mps) = (unit.position(), filter.speed_mps());
        let still = standing.is_standing();
        let last_heading = self.now.as_ref().and_then(|moving| moving.marker.heading_deg);
        let has_heading = !still && speed_mps >= HEADING_LEAST_MPS;
        // f32 rounds the last hair below 360 up to it.
        let heading_deg = Some(filter.heading_deg() as f32).filter(|deg| *deg < 360.0).or(Some(0.0));
        let marker = Marker {
            position,
            speed_mps: if still { 0.0 } else { speed_mps as f32 },
            heading_deg: if has_heading { heading_deg } else { last_heading },
            accuracy_m: filter.accuracy_m() as f32,
            taken,
            standing: still,
            cell: self.cells.cell(position, unit),
            road: None,
        };
        self.now = Some(Moving { filter, standing, marker, unit });
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.now.as_ref(), |w, moving| {
            moving.filter.save(w);
            moving.standing.save(w);
            save_marker(&moving.marker, w);
        });
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let now = r.option("motion", |r| {
            let filter = Kalman::load(r)?;
            let (standing, marker, unit) = (Standing::load(r)?, load_marker(r)?, filter.unit());
            Ok(Moving { filter, standing, marker, unit })
        })?;
        Ok(Self { now, cells: CellMemo::default() })
    }
}

pub(crate) fn save_marker(marker: &Marker, w: &mut Writer<'_>) {
    w.position(marker.position);
    w.f32(marker.speed_mps);
    w.option(marker.heading_deg, Writer::f32);
    w.f32(marker.accuracy_m);
    w.time(marker.taken);
    w.bool(marker.standing);
}

pub(crate) fn load_marker(r: &mut Reader<'_>) -> Result<Marker, RestoreError> {
    let position: Position = r.position("marker")?;
    Ok(Marker {
        position,
        speed_mps: r.f32("marker")?,
        heading_deg: r.option("marker", |r| r.f32("marker"))?,
        accuracy_m: r.f32("marker")?,
        taken: r.time("marker")?,
        standing: r.bool("marker")?,
        cell: crate::cell::cell_of(position),
        road: None,
    })
}
