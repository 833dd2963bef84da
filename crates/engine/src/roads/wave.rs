//! The ways from where a driver may have been to where it may be now: one wave from all hypotheses at once.
//!
//! A street is reached at the least cost, which is that of the hypothesis it comes from plus the metres since. So one search, not one for
//! every pair, tells for each candidate which hypothesis explains it best.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::network::{NONE, Network};

/// Streets one wave visits at most; a fix every 15 s needs some 50.
const VISITS_MOST: usize = 1_500;
/// Slots of the table of visited streets, a power of two well above [`VISITS_MOST`].
const SLOTS: usize = 4_096;

/// Entry into a street.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Of the hypothesis, plus metres times their price, plus turns back.
    pub(crate) cost: f32,
    pub(crate) street: u32,
    /// Metres from the hypothesis to the beginning of the street, and the free time for them in ms.
    pub(crate) way_m: f32,
    pub(crate) free_ms: u32,
    /// The hypothesis it comes from.
    pub(crate) source: u8,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The cheapest comes out of the heap first; of equals the lower street, so that runs repeat.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl Entry {
    /// Cost, street and source in one number: costs are never below 0, so their bits are in their order.
    #[inline]
    fn key(&self) -> u128 {
        debug_assert!(self.cost >= 0.0);
        u128::from(self.cost.to_bits()) << 40 | u128::from(self.street) << 8 | u128::from(self.source)
    }
}

/// Room for waves, used again and again: some 100 kB per thread.
#[derive(Debug, Default)]
pub struct Wave {
    heap: BinaryHeap<Entry>,
    /// Street and entry by hash; `stamp` tells entries of this wave from older ones.
    slots: Vec<(u32, Entry)>,
    stamp: u32,
    visits: usize,
}

/// What a wave costs and where it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Cost of a metre.
    pub(crate) per_m: f32,
    /// Cost of a junction: a fix at one belongs to the street that led there.
    pub(crate) junction: f32,
    /// Cost of turning back.
    pub(crate) turn_back: f32,
    /// Longest way, metres.
    pub(crate) most_m: f32,
}

impl Wave {
    pub(crate) fn begin(&mut self) {
        if self.slots.is_empty() {
            let nothing = Entry { cost: 0.0, street: NONE, way_m: 0.0, free_ms: 0, source: 0 };
            self.slots = vec![(0, nothing); SLOTS];
        }
        self.heap.clear();
        self.visits = 0;
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.slots.iter_mut().for_each(|slot| slot.0 = 0);
            self.stamp = 1;
        }
    }

    /// Lets the wave go on from a street left at its end. `entry` tells of that end.
    pub(crate) fn leave(&mut self, network: &Network, entry: Entry, reach: Reach) {
        let street = &network.streets[entry.street as usize];
        for next in network.leaving(street.head) {
            let back = if *next == street.reverse { reach.turn_back } else { 0.0 };
            // Whoever entered before did so at less.
            if self.find(*next).is_none() {
                self.heap.push(Entry { street: *next, cost: entry.cost + reach.junction + back, ..entry });
            }
        }
    }

    /// Spreads while an entry that costs more than `entered` allows is not the cheapest, or over everything within reach. `entered` is told of
    /// every entry, cheapest first, and says how much a further one may cost.
    pub(crate) fn spread(
        &mut self,
        network: &Network,
        reach: Reach,
        mut most: f32,
        mut entered: impl FnMut(&Entry) -> f32,
    ) {
        while let Some(entry) = self.heap.pop() {
            if entry.cost > most {
                return;
            }
            if self.find(entry.street).is_some() {
                continue;
            }
            if self.visits == VISITS_MOST {
                return;
            }
            self.insert(entry);
            most = entered(&entry);
            if most < entry.cost {
                return;
            }
            let street = &network.streets[entry.street as usize];
            let way_m = entry.way_m + street.length_m;
            if way_m <= reach.most_m {
                let free_ms = entry.free_ms.saturating_add(street.free_ms());
                let end = Entry { way_m, free_ms, cost: entry.cost + street.length_m * reach.per_m, ..entry };
                self.leave(network, end, reach);
            }
        }
    }

    /// How a street was entered.
    pub(crate) fn find(&self, street: u32) -> Option<&Entry> {
        let mut slot = hash(street);
        loop {
            let (stamp, entry) = &self.slots[slot];
            if *stamp != self.stamp {
                return None;
            }
            if entry.street == street {
                return Some(entry);
            }
            slot = (slot + 1) & (SLOTS - 1);
        }
    }

    fn insert(&mut self, entry: Entry) {
        let mut slot = hash(entry.street);
        while self.slots[slot].0 == self.stamp {
            slot = (slot + 1) & (SLOTS - 1);
        }
        self.slots[slot] = (self.stamp, entry);
        self.visits += 1;
    }
}

/// Fibonacci hashing: neighbours in number are spread over the table.
fn hash(street: u32) -> usize {
    (street.wrapping_mul(0x9e37_79b9) >> (32 - SLOTS.trailing_zeros())) as usize
}
