//! The map of all drivers: whoever is on duty has a marker in the `area:` topic of its cell, and coarse cells hold numbers.
//!
//! A field belongs to its driver's lease, so a tracker that was handed on cannot leave a second marker behind or take the new one away. Numbers
//! are told by each shard for itself, once a second; who reads them adds up.

use std::num::NonZeroU16;

use ahash::{AHashMap, AHashSet};
use wayfare_bus::{Fence, Fields, Publisher, StateTopics};
use wayfare_engine::{
    AREA_LEAST_MS, Availability, DriverId, MapCell, Marker, Tracker, Vehicle, area_is_off, area_worth_telling,
};
use wayfare_wire::messages::area::write_area_marker;
use wayfare_wire::state::write_u64;
use wayfare_wire::topic::AREAS_TOPIC;
use wayfare_wire::{Topic, ids};

use super::drivers::Tracked;
use super::state::State;
use super::tell::publish;
use crate::metrics::Counters;

/// Facts of which there is one writer each have no order among them.
const UNORDERED: Fence = Fence::Record { version: 1, assignment: 0 };

/// What the plan says of a driver, apart from trips.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shift {
    pub available: bool,
    pub capacity: Option<NonZeroU16>,
}

/// A driver on the map, as it was told.
pub struct OnMap {
    cell: MapCell,
    area: Publisher,
    marker: Marker,
    label: Label,
    /// Second of the shard in which it was told.
    told_s: u32,
}

/// What is told beside where the driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label {
    vehicle: Vehicle,
    availability: Availability,
    capacity: Option<NonZeroU16>,
}

impl Label {
    fn of(tracker: &Tracker, shift: Shift) -> Self {
        let availability = match (tracker.trips().next(), shift.available) {
            (_, false) => Availability::Finishing,
            (None, true) => Availability::Available,
            (Some(_), true) => Availability::Busy,
        };
        Self { vehicle: tracker.vehicle(), availability, capacity: shift.capacity }
    }
}

impl State {
    /// Tells the map where a driver is, if that is worth telling, or that it is off duty. Most calls end after a comparison; a telling,
    /// once in some seconds, costs a publish and the driver's id as text.
    pub fn show_on_map(&mut self, driver: DriverId) {
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Some(marker) = tracked.tracker.marker() else { return self.leave_map(driver) };
        let label = Label::of(&tracked.tracker, tracked.shift);
        let known = tracked.on_map.as_ref();
        if known.is_none_or(|known| known.label != label || area_worth_telling(&known.marker, &marker)) {
            self.put_on_map(driver, marker, label);
        }
    }

    /// Once a second: where drivers are whose newest fix came too soon after the last telling, and no other since.
    pub fn show_what_was_left(&mut self) {
        let now_s = self.now_s();
        let left = |tracked: &Tracked| {
            let (known, marker) = (tracked.on_map.as_ref()?, tracked.tracker.marker()?);
            let due = i64::from(now_s - known.told_s) * 1000 >= AREA_LEAST_MS;
            let newer = marker.taken > known.marker.taken;
            (due && newer && area_is_off(&known.marker, &marker)).then_some((marker, known.label))
        };
        let left: Vec<(DriverId, Marker, Label)> = self
            .drivers
            .iter()
            .filter_map(|(driver, tracked)| left(tracked).map(|(marker, label)| (*driver, marker, label)))
            .collect();
        for (driver, marker, label) in left {
            self.put_on_map(driver, marker, label);
        }
    }

    /// Shows everybody again, as if for the first time.
    pub fn show_map_anew(&mut self) {
        self.census.forget_told(&self.house.bus.topics, &mut self.fields);
        let shown = |tracked: &Tracked| Some((tracked.tracker.marker()?, tracked.on_map.as_ref()?.label));
        let shown: Vec<(DriverId, Marker, Label)> = self
            .drivers
            .iter()
            .filter_map(|(driver, tracked)| shown(tracked).map(|(marker, label)| (*driver, marker, label)))
            .collect();
        for (driver, marker, label) in shown {
            self.put_on_map(driver, marker, label);
        }
    }

    fn put_on_map(&mut self, driver: DriverId, marker: Marker, label: Label) {
        let told_s = self.now_s();
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Some(cell) = MapCell::of_marker(&marker) else { return };
        let (area, left) = match tracked.on_map.take() {
            Some(known) if known.cell == cell => (known.area, None),
            left => {
                self.census.enter(cell, &self.house.bus.topics, &mut self.fields);
                (self.house.bus.topics.publisher(&Topic::Area(cell).to_string()), left)
            }
        };
        self.fields.clear();
        self.fields.set(ids::Driver::from(driver).to_string(), |out| {
            write_area_marker(out, &marker, label.vehicle, label.availability, label.capacity);
        });
        let fence = Fence::Member { lease: tracked.lease.number };
        publish(&area, &self.fields, fence, &mut self.counters);
        // Here before gone there: nobody is nowhere for a moment.
        if let Some(left) = left {
            self.census.leave(left.cell);
            take_off(driver, &left, fence, &mut self.fields, &mut self.counters);
        }
        tracked.on_map = Some(Box::new(OnMap { cell, area, marker, label, told_s }));
    }

    /// Takes a driver off the map: it is off duty, or not ours any more.
    pub fn leave_map(&mut self, driver: DriverId) {
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Some(left) = tracked.on_map.take() else { return };
        let fence = Fence::Member { lease: tracked.lease.number };
        self.census.leave(left.cell);
        take_off(driver, &left, fence, &mut self.fields, &mut self.counters);
    }
}

fn take_off(driver: DriverId, left: &OnMap, fence: Fence, fields: &mut Fields, counters: &mut Counters) {
    fields.clear();
    fields.set_null(ids::Driver::from(driver).to_string());
    publish(&left.area, fields, fence, counters);
}

/// How many drivers of a shard are in each cell. Told once a second, so that a driver who crosses a border costs nothing at once.
pub struct Census {
    /// Name of this shard among those who count.
    writer: String,
    numbers: AHashMap<MapCell, u32>,
    changed: AHashSet<MapCell>,
    /// Fine cells of which it is known that there may be drivers.
    announced: AHashSet<MapCell>,
}

impl Census {
    pub fn new(writer: String) -> Self {
        Self { writer, numbers: AHashMap::new(), changed: AHashSet::new(), announced: AHashSet::new() }
    }

    fn enter(&mut self, cell: MapCell, topics: &StateTopics, fields: &mut Fields) {
        if self.announced.insert(cell) {
            fields.clear();
            fields.set_json(cell.to_string(), "1");
            tell(topics, AREAS_TOPIC, fields);
        }
        for cell in counted(cell) {
            *self.numbers.entry(cell).or_default() += 1;
            self.changed.insert(cell);
        }
    }

    /// All numbers are told with the next telling, all cells at once.
    fn forget_told(&mut self, topics: &StateTopics, fields: &mut Fields) {
        self.changed.extend(self.numbers.keys().copied());
        for cell in &self.announced {
            fields.clear();
            fields.set_json(cell.to_string(), "1");
            tell(topics, AREAS_TOPIC, fields);
        }
    }

    fn leave(&mut self, cell: MapCell) {
        for cell in counted(cell) {
            if let Some(number) = self.numbers.get_mut(&cell) {
                *number = number.saturating_sub(1);
                self.changed.insert(cell);
            }
        }
    }

    /// Tells what has changed.
    pub fn tell(&mut self, topics: &StateTopics, fields: &mut Fields) {
        for cell in self.changed.drain() {
            let Some(parent) = cell.parent() else { continue };
            let number = self.numbers.get(&cell).copied().unwrap_or(0);
            fields.clear();
            let name = format!("{cell}.{}", self.writer);
            if number == 0 {
                self.numbers.remove(&cell);
                fields.set_null(name);
            } else {
                fields.set(name, |out| write_u64(out, u64::from(number)));
            }
            tell(topics, &Topic::Area(parent).to_string(), fields);
        }
    }
}

/// The cell and those above it that are counted in another.
fn counted(cell: MapCell) -> impl Iterator<Item = MapCell> {
    std::iter::successors(Some(cell), |cell| cell.parent()).filter(|cell| cell.parent().is_some())
}

fn tell(topics: &StateTopics, topic: &str, fields: &Fields) {
    if let Err(error) = topics.publisher(topic).publish_now(fields, UNORDERED) {
        tracing::debug!(%error, topic, "the map was not told");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_at_every_step_and_go_with_the_last() {
        let cell: MapCell = "872830828ffffff".parse().unwrap();
        let steps: Vec<MapCell> = counted(cell).collect();
        assert_eq!(steps.len(), 3, "markers, and two coarser steps that are parts of one coarser still");
        let mut census = Census::new("node-1-0".into());
        for cell in counted(cell) {
            census.numbers.insert(cell, 2);
        }
        census.leave(cell);
        assert!(steps.iter().all(|step| census.numbers[step] == 1 && census.changed.contains(step)));
        census.leave(cell);
        assert!(census.numbers.values().all(|number| *number == 0));
    }
}
