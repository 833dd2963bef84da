//! On which street a driver is: an online hidden Markov model with a fixed lag.
//!
//! Every fix makes a layer of hypotheses: streets nearby, weighed by distance, heading and the way from the hypotheses before (Newson and
//! Krumm, Hidden Markov Map Matching Through Noise and Sparseness, 2009). The best of the newest layer moves the map; two fixes later
//! the way that leads to the best hypothesis says where the driver was for certain, and that teaches the speeds.

use smallvec::SmallVec;

use super::geometry::angle_deg;
use super::network::Network;
use super::segments::SHAPES_MOST;
use super::wave::{Entry, Reach, Wave};
use super::{Candidate, StreetId};
use crate::bytes::{Reader, Writer};
use crate::{Millis, Position, RestoreError};

/// Layers kept: the newest, and those it takes to look two back and one before.
const LAYERS: usize = 4;
/// Hypotheses kept per layer.
const BEAM: usize = 8;
/// A hypothesis this much less likely than the best (in nats) is dropped.
const BEAM_COST: f32 = 12.0;

/// Standard deviation in metres of a fix across the road when the phone does not say; Newson and Krumm found 4.07 m, phones in cities are worse.
const SIGMA_M: f32 = 7.0;
const SIGMA_LEAST_M: f32 = 4.0;
const SIGMA_MOST_M: f32 = 30.0;
/// Beyond so many sigmas the cost grows linearly: real errors have a heavy tail.
const TAIL_SIGMAS: f32 = 3.0;
/// Streets are looked for within this distance in metres, and within more when the fix is vague.
const RADIUS_M: f64 = 50.0;
const RADIUS_MOST_M: f64 = 150.0;
/// A way longer by so many metres is e times less likely.
const DETOUR_M: f32 = 20.0;
/// Cost of every junction, in nats.
const JUNCTION: f32 = 0.02;
/// Within so many metres of a street's beginning a fix is at the junction before it,
const AT_JUNCTION_M: f32 = 0.3;
/// which costs so much, in nats.
const BEFORE: f32 = 1.0;
/// Cost of turning back on a street, in nats.
const TURN_BACK: f32 = 3.5;
/// Going back along a street by less than this is noise, metres.
const BACK_M: f32 = 20.0;
/// Cost of travelling against a measured heading, in nats.
const HEADING: f32 = 6.0;
/// Fixes closer than this to the one before their predecessor replace it: they say little that is new, in metres.
const STEP_M: f64 = 12.0;
/// Longest pause that is bridged, in ms, and longest way, in metres; beyond it matching starts afresh.
const PAUSE_MS: i64 = 180_000;
const JUMP_M: f64 = 4_000.0;

/// A fix, as far as matching is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Where, as measured.
    pub place: Position,
    /// 68 % radius in metres; `None` when unknown.
    pub accuracy_m: Option<f32>,
    /// Measured course in degrees, when moving.
    pub heading_deg: Option<f32>,
    /// When.
    pub taken: Millis,
}

/// Where a driver is on the road, by the newest fix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matched {
    /// The street.
    pub street: StreetId,
    /// Metres from its beginning.
    pub offset_m: f32,
    /// The place there.
    pub place: Position,
    /// Direction of travel there, degrees.
    pub bearing_deg: f32,
    /// Metres between it and the fix.
    pub distance_m: f32,
    /// Probability that it is this street in this direction, 0..=1, as far as the model knows.
    pub confidence: f32,
}

/// Where a driver was for certain, told two layers later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confirmed {
    /// The street.
    pub street: StreetId,
    /// Metres from its beginning.
    pub offset_m: f32,
    /// When the fix was taken.
    pub taken: Millis,
    /// The way driven since the one before; `None` at the beginning and after a break.
    pub since: Option<Driven>,
}

/// A piece of way that was driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Driven {
    /// Since when.
    pub from: Millis,
    /// Metres along the roads.
    pub way_m: f32,
    /// Time it takes on a free road, ms.
    pub free_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Hypothesis {
    street: u32,
    offset_m: f32,
    /// Negative logarithm of its likelihood, the best of the layer being 0.
    cost: f32,
    way_m: f32,
    free_ms: u32,
    /// Its predecessor in the layer before; [`ALONE`] if there is none.
    back: u8,
}

const ALONE: u8 = u8::MAX;

/// Streets near a fix: see [`Network::near`].
const CANDIDATES: usize = 2 * SHAPES_MOST;
/// More than sums of costs are rounded by, in nats.
const ROUNDING: f32 = 0.01;

/// A street near a fix, while its best predecessor is looked for.
struct Wanted {
    street: u32,
    emission: f32,
    /// The wave has been there.
    entered: bool,
    /// The best way to it without a junction.
    stayed: Option<Hypothesis>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Layer {
    taken: Millis,
    place: Option<Position>,
    /// Likeliest first.
    hypotheses: SmallVec<[Hypothesis; BEAM]>,
}

/// A driver's hypotheses: about 1 KiB, whatever happens on the road; nothing before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matcher {
    /// Content hash of the network the numbers belong to.
    network: u64,
    /// Oldest first.
    layers: Vec<Layer>,
}

/// Room for matching, used again and again by one thread.
#[derive(Debug, Default)]
pub struct MatchRoom {
    wave: Wave,
    found: Vec<Candidate>,
}

impl Matcher {
    /// Takes in a fix, not older than the last. Gives where the driver is now, and where it was two layers ago.
    ///
    /// A few microseconds at a fix every second, some ten at one every 15 s.
    pub fn step(
        &mut self,
        network: &Network,
        sight: &Sight,
        room: &mut MatchRoom,
    ) -> (Option<Matched>, Option<Confirmed>) {
        if self.network != network.content_hash() {
            *self = Self { network: network.content_hash(), ..Self::default() };
        }
        self.drop_crowded();
        self.break_if_far(sight);
        network.near(sight.place, radius_m(sight), &mut room.found);
        if room.found.is_empty() {
            self.layers.clear();
            return (None, None);
        }
        let layer = self.next_layer(network, sight, room);
        if layer.hypotheses.iter().all(|hypothesis| hypothesis.back == ALONE) {
            self.layers.clear();
        }
        if self.layers.len() == LAYERS {
            self.layers.remove(0);
        }
        // Once: a driver who never sees a road needs no room for it.
        self.layers.reserve_exact(LAYERS - self.layers.len());
        self.layers.push(layer);
        (self.matched(network, room), self.confirmed())
    }

    /// Forgets the way so far: the driver is believed to be elsewhere.
    pub fn forget(&mut self) {
        self.layers.clear();
    }

    /// What is best believed of a layer `lag` layers back: 0 is the newest.
    #[must_use]
    pub fn belief(&self, lag: usize) -> Option<(StreetId, f32, Millis)> {
        let (layer, hypothesis) = self.trace(lag)?;
        Some((StreetId(hypothesis.street), hypothesis.offset_m, layer.taken))
    }

    /// A driver who hardly moves must not push the way out of the memory.
    fn drop_crowded(&mut self) {
        if let [.., before, last] = &self.layers[..]
            && let (Some(a), Some(b)) = (before.place, last.place)
            && a.unit().chord_m(b.unit()) < STEP_M
        {
            self.layers.pop();
        }
    }

    fn break_if_far(&mut self, sight: &Sight) {
        let far = self.layers.last().is_some_and(|last| {
            sight.taken.since_ms(last.taken) > PAUSE_MS
                || last.place.is_some_and(|place| place.unit().chord_m(sight.place.unit()) > JUMP_M)
        });
        if far {
            self.layers.clear();
        }
    }

    fn next_layer(&self, network: &Network, sight: &Sight, room: &mut MatchRoom) -> Layer {
        let MatchRoom { wave, found } = room;
        let nothing = Layer::default();
        let last = self.layers.last().unwrap_or(&nothing);
        let straight_m = last.place.map_or(0.0, |place| place.unit().chord_m(sight.place.unit())) as f32;
        let reach =
            Reach { per_m: 1.0 / DETOUR_M, junction: JUNCTION, turn_back: TURN_BACK, most_m: 2.0 * straight_m + 250.0 };
        wave.begin();
        for (source, hypothesis) in last.hypotheses.iter().enumerate() {
            let street = &network.streets[hypothesis.street as usize];
            let rest_m = street.length_m - hypothesis.offset_m;
            let share = rest_m / street.length_m;
            let end = Entry {
                cost: hypothesis.cost + rest_m * reach.per_m,
                street: hypothesis.street,
                way_m: rest_m,
                free_ms: (street.drive_ms as f32 * share) as u32 + u32::from(street.penalty_ms),
                source: source as u8,
            };
            wave.leave(network, end, reach);
        }
        let mut wanted: SmallVec<[Wanted; CANDIDATES]> = SmallVec::new();
        wanted.extend(found.iter().map(|candidate| Wanted {
            street: candidate.street.0,
            emission: emission(sight, candidate),
            entered: false,
            stayed: None,
        }));
        // The wave charges every metre; a way shorter than the fixes are apart is as unlikely as one that is longer.
        let whole = |one: &Hypothesis, emission: f32| {
            one.cost + (emission + 2.0 * (straight_m - one.way_m).max(0.0) * reach.per_m)
        };
        let mut least = f32::INFINITY;
        for (wanted, candidate) in wanted.iter_mut().zip(found.iter()) {
            for (source, hypothesis) in last.hypotheses.iter().enumerate() {
                let stayed = stay(network, hypothesis, source as u8, candidate, reach);
                if let Some(stayed) = stayed.filter(|one| wanted.stayed.is_none_or(|known| one.cost < known.cost)) {
                    wanted.stayed = Some(stayed);
                }
            }
            least = wanted.stayed.map_or(least, |one| least.min(whole(&one, wanted.emission)));
        }
        if !last.hypotheses.is_empty() {
            // What cannot come within the beam any more need not be found.
            let most = |wanted: &[Wanted], least: f32| {
                let left = wanted.iter().filter(|one| !one.entered).map(|one| one.emission);
                least + BEAM_COST - left.fold(f32::INFINITY, f32::min) + ROUNDING
            };
            let mut allowed = most(&wanted, least);
            wave.spread(network, reach, allowed, |entry| {
                if let Some(at) = wanted.iter().position(|one| one.street == entry.street) {
                    wanted[at].entered = true;
                    let arrived = arrive(network, entry, &found[at], reach);
                    least = least.min(whole(&arrived, wanted[at].emission));
                    allowed = most(&wanted, least);
                }
                allowed
            });
        }
        let mut hypotheses: SmallVec<[Hypothesis; CANDIDATES]> = SmallVec::new();
        for (candidate, wanted) in found.iter().zip(&wanted) {
            let arrived = wave.find(candidate.street.0).map(|entry| arrive(network, entry, candidate, reach));
            let best = match (arrived, wanted.stayed) {
                (Some(arrived), Some(stayed)) => Some(if stayed.cost < arrived.cost { stayed } else { arrived }),
                (arrived, stayed) => arrived.or(stayed),
            };
            hypotheses.extend(best.map(|one| Hypothesis { cost: whole(&one, wanted.emission), ..one }));
        }
        if hypotheses.is_empty() {
            // Nothing leads here: a new beginning.
            hypotheses.extend(found.iter().zip(&wanted).map(|(candidate, wanted)| Hypothesis {
                street: candidate.street.0,
                offset_m: candidate.offset_m,
                cost: wanted.emission,
                way_m: 0.0,
                free_ms: 0,
                back: ALONE,
            }));
        }
        hypotheses.sort_unstable_by(|a, b| a.cost.total_cmp(&b.cost).then(a.street.cmp(&b.street)));
        let least = hypotheses.first().map_or(0.0, |best| best.cost);
        let likely = hypotheses.iter().take(BEAM).take_while(|one| one.cost <= least + BEAM_COST);
        let hypotheses = likely.map(|one| Hypothesis { cost: one.cost - least, ..*one }).collect();
        Layer { taken: sight.taken, place: Some(sight.place), hypotheses }
    }

    fn matched(&self, network: &Network, room: &MatchRoom) -> Option<Matched> {
        let hypotheses = &self.layers.last()?.hypotheses;
        let best = hypotheses.first()?;
        let all: f32 = hypotheses.iter().map(|one| (-one.cost).exp()).sum();
        let (place, bearing_deg) = network.place_on(StreetId(best.street), best.offset_m);
        let distance_m = room.found.iter().find(|candidate| candidate.street.0 == best.street)?.distance_m;
        let confidence = 1.0 / all;
        Some(Matched {
            street: StreetId(best.street),
            offset_m: best.offset_m,
            place,
            bearing_deg,
            distance_m,
            confidence,
        })
    }

    /// The layer two back, once there is one, with the way to it.
    fn confirmed(&self) -> Option<Confirmed> {
        let (layer, hypothesis) = self.trace(2)?;
        let before = (self.layers.len() > 3 && hypothesis.back != ALONE).then(|| &self.layers[self.layers.len() - 4]);
        let since =
            before.map(|before| Driven { from: before.taken, way_m: hypothesis.way_m, free_ms: hypothesis.free_ms });
        Some(Confirmed {
            street: StreetId(hypothesis.street),
            offset_m: hypothesis.offset_m,
            taken: layer.taken,
            since,
        })
    }

    fn trace(&self, lag: usize) -> Option<(&Layer, &Hypothesis)> {
        let newest = self.layers.len().checked_sub(1)?;
        let (mut at, mut index) = (newest, 0);
        while at + lag > newest {
            let back = self.layers[at].hypotheses.get(index)?.back;
            at = at.checked_sub(1)?;
            if back == ALONE {
                return None;
            }
            index = usize::from(back);
        }
        Some((&self.layers[at], self.layers[at].hypotheses.get(index)?))
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.raw(self.network.to_le_bytes());
        w.u8(self.layers.len() as u8);
        for layer in &self.layers {
            w.time(layer.taken);
            w.option(layer.place, Writer::position);
            w.u8(layer.hypotheses.len() as u8);
            for one in &layer.hypotheses {
                w.uint(u64::from(one.street));
                [one.offset_m, one.cost, one.way_m].into_iter().for_each(|number| w.f32(number));
                w.uint(u64::from(one.free_ms));
                w.u8(one.back);
            }
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let network = u64::from_le_bytes(r.raw()?);
        let mut layers = Vec::new();
        for _ in 0..r.count("match", LAYERS)? {
            let (taken, place) = (r.time("match")?, r.option("match", |r| r.position("match"))?);
            let mut hypotheses = SmallVec::new();
            for _ in 0..r.count("match", BEAM)? {
                let street = r.count("match", u32::MAX as usize)? as u32;
                let [offset_m, cost, way_m] = [r.f32("match")?, r.f32("match")?, r.f32("match")?];
                // No drive writes others, and sums over them would leave the numbers behind.
                let sane = (0.0..1e7).contains(&offset_m) && (0.0..1e3).contains(&cost) && (0.0..1e7).contains(&way_m);
                if !sane {
                    return Err(RestoreError::Invalid { field: "match" });
                }
                let free_ms = r.count("match", u32::MAX as usize)? as u32;
                hypotheses.push(Hypothesis { street, offset_m, cost, way_m, free_ms, back: r.u8()? });
            }
            layers.push(Layer { taken, place, hypotheses });
        }
        Ok(Self { network, layers })
    }

    /// Whether every place it names exists: a checkpoint may be older than the roads file.
    pub(crate) fn fits(&self, network: &Network) -> bool {
        let exists = |one: &Hypothesis| {
            network.streets.get(one.street as usize).is_some_and(|street| one.offset_m <= street.length_m)
        };
        self.network == network.content_hash() && self.layers.iter().all(|layer| layer.hypotheses.iter().all(exists))
    }
}

fn radius_m(sight: &Sight) -> f64 {
    let vague = 2.0 * f64::from(sight.accuracy_m.unwrap_or(0.0));
    vague.clamp(RADIUS_M, RADIUS_MOST_M)
}

/// How ill a street explains a fix, in nats.
fn emission(sight: &Sight, candidate: &Candidate) -> f32 {
    // A 68 % radius is 1.5 standard deviations of one axis.
    let sigma = sight.accuracy_m.map_or(SIGMA_M, |radius| radius / 1.5).clamp(SIGMA_LEAST_M, SIGMA_MOST_M);
    let off = candidate.distance_m / sigma;
    let apart = if off <= TAIL_SIGMAS { off * off / 2.0 } else { TAIL_SIGMAS * off - TAIL_SIGMAS * TAIL_SIGMAS / 2.0 };
    let against = sight.heading_deg.map_or(0.0, |heading| {
        let angle = angle_deg(heading, candidate.bearing_deg).to_radians();
        HEADING * (1.0 - angle.cos()) / 2.0
    });
    // At a junction a driver still is on the street that led there.
    let before = if candidate.offset_m < AT_JUNCTION_M { BEFORE } else { 0.0 };
    apart + against + before
}

/// The way to a candidate over junctions.
fn arrive(network: &Network, entry: &Entry, candidate: &Candidate, reach: Reach) -> Hypothesis {
    let street = &network.streets[candidate.street.0 as usize];
    let share = candidate.offset_m / street.length_m;
    Hypothesis {
        street: candidate.street.0,
        offset_m: candidate.offset_m,
        cost: entry.cost + candidate.offset_m * reach.per_m,
        way_m: entry.way_m + candidate.offset_m,
        free_ms: entry.free_ms.saturating_add((street.drive_ms as f32 * share) as u32),
        back: entry.source,
    }
}

/// The way to a candidate on the street of a hypothesis, without a junction between: on, or turned around.
fn stay(network: &Network, from: &Hypothesis, source: u8, candidate: &Candidate, reach: Reach) -> Option<Hypothesis> {
    let street = &network.streets[from.street as usize];
    let (on_m, turned) = if candidate.street.0 == from.street {
        (candidate.offset_m - from.offset_m, 0.0)
    } else if candidate.street.0 == street.reverse {
        // Seen from the other direction it is so far back.
        ((street.length_m - candidate.offset_m - from.offset_m).abs(), reach.turn_back)
    } else {
        return None;
    };
    if on_m < -BACK_M {
        return None;
    }
    // Backwards within the noise: the driver stands.
    let offset_m = if turned == 0.0 && on_m < 0.0 { from.offset_m } else { candidate.offset_m };
    let (noise, way_m) = ((-on_m).max(0.0), on_m.max(0.0));
    Some(Hypothesis {
        street: candidate.street.0,
        offset_m,
        cost: from.cost + (way_m + noise) * reach.per_m + turned,
        way_m,
        free_ms: (street.drive_ms as f32 * way_m / street.length_m) as u32,
        back: source,
    })
}
