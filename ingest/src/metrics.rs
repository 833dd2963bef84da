//! What ingest counts: fixes received = accepted + late + rejected, by reason.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use wayfare_engine::{FenceKind, Forecast, Millis, Verdict};
use wayfare_wire::CloseCode;
use wayfare_wire::dialects::Dialect;

/// Codes of verdicts in the order of their counters.
const CODES: [&str; 11] = [
    "accepted",
    "late",
    "invalid",
    "duplicate",
    "future",
    "stale",
    "off_shift",
    "outside_area",
    "inaccurate",
    "implausible_speed",
    "mock",
];

/// Counters of one shard, added up locally and handed to the recorder once a second: nothing per fix.
#[derive(Debug, Default)]
pub struct Counters {
    /// By the order of [`CODES`].
    verdicts: [u64; CODES.len()],
    /// Messages of fixes, resent ones included.
    pub messages: u64,
    /// Of those, recognised as resent.
    pub resent: u64,
    /// Publishes to state topics.
    pub published: u64,
    /// Positions of trips that were not told because watchers foresee them.
    pub foreseen: u64,
    /// Publishes that a fence or a tombstone refused.
    pub refused: u64,
    /// Events of the operator's fences, in the order of [`FenceKind::ALL`].
    fences: [u64; FenceKind::ALL.len()],
}

impl Counters {
    /// Notes a verdict.
    pub fn judged(&mut self, verdict: &Verdict) {
        let code = verdict.code();
        if let Some(place) = CODES.iter().position(|known| *known == code) {
            self.verdicts[place] += 1;
        }
    }

    /// Notes how good the arrivals foreseen on a trip were: at most eight, once per trip.
    pub fn outcome(&self, arrived: Millis, forecasts: &[Forecast]) {
        for one in forecasts {
            let basis = one.basis.code();
            let (real_s, foreseen_s) = (arrived.since_s(one.made), one.at.since_s(one.made));
            let inside = if (one.low..=one.high).contains(&arrived) { "inside" } else { "outside" };
            counter!("wayfare_forecasts_total", "basis" => basis, "interval" => inside).increment(1);
            histogram!("wayfare_forecast_error_seconds", "basis" => basis).record((foreseen_s - real_s).abs());
            gauge!("wayfare_forecast_seconds_sum", "basis" => basis, "of" => "foreseen").increment(foreseen_s);
            gauge!("wayfare_forecast_seconds_sum", "basis" => basis, "of" => "real").increment(real_s);
        }
    }

    /// Notes an event of an operator's fence.
    pub fn fence(&mut self, kind: FenceKind) {
        self.fences[kind as usize] += 1;
    }

    /// Hands the sums over and starts anew.
    pub fn publish(&mut self) {
        for (place, count) in self.verdicts.iter().enumerate() {
            if *count > 0 {
                counter!("wayfare_fixes_total", "verdict" => CODES[place]).increment(*count);
            }
        }
        for (kind, count) in FenceKind::ALL.iter().zip(self.fences) {
            if count > 0 {
                counter!("wayfare_fence_events_total", "kind" => kind.code()).increment(count);
            }
        }
        counter!("wayfare_fix_messages_total").increment(self.messages);
        counter!("wayfare_fix_messages_resent_total").increment(self.resent);
        counter!("wayfare_published_total").increment(self.published);
        counter!("wayfare_positions_foreseen_total").increment(self.foreseen);
        counter!("wayfare_publishes_refused_total").increment(self.refused);
        *self = Self::default();
    }
}

/// Help texts.
pub fn describe() {
    describe_counter!("wayfare_fixes_total", "Fixes judged, by verdict; their sum is what was received");
    describe_counter!(
        "wayfare_positions_foreseen_total",
        "Positions of a trip that were not told because its watchers foresee them"
    );
    describe_counter!("wayfare_fix_messages_total", "Messages of fixes, resent ones included");
    describe_counter!("wayfare_fix_messages_resent_total", "Messages of fixes recognised as resent");
    describe_counter!("wayfare_published_total", "Changes told on state topics");
    describe_counter!("wayfare_publishes_refused_total", "Changes refused by a fence or a tombstone");
    describe_counter!("wayfare_drive_closed_total", "Drivers' connections closed by the server, by reason");
    describe_counter!("wayfare_flushes_total", "Records appended to the fix log");
    describe_counter!("wayfare_flush_failures_total", "Appends to the fix log that failed; they are tried again");
    describe_histogram!("wayfare_flush_seconds", "Time until an append to the fix log was durable");
    describe_counter!(
        "wayfare_forecasts_total",
        "Arrivals foreseen, judged when the trip arrived: inside the 80 % interval or outside"
    );
    describe_histogram!("wayfare_forecast_error_seconds", "Error of arrivals foreseen, without sign");
    describe_gauge!(
        "wayfare_forecast_seconds_sum",
        "Sums of what was foreseen to be left and what was: their ratio is the bias"
    );
    describe_counter!(
        "wayfare_quic_arrivals_total",
        "First packets of drivers on QUIC, by answer: accepted, unfinished (no complete handshake), retry, refused"
    );
    describe_counter!("wayfare_quic_moves_total", "Times that a driver on QUIC went on from another address");
    describe_counter!(
        "wayfare_quic_packets_dropped_total",
        "Packets of drivers on QUIC that a busy shard had no room for; they are sent again"
    );
    describe_gauge!("wayfare_drivers_connected", "Drivers' open connections, by shard");
    describe_counter!(
        "wayfare_fence_events_total",
        "Drivers who entered, left, stayed or were found in an operator's fence, by kind"
    );
    describe_gauge!("wayfare_fences", "Operator's fences that fixes are judged by");
    describe_counter!(
        "wayfare_app_requests_total",
        "Requests of existing phone apps that were answered well, by dialect"
    );
    describe_counter!(
        "wayfare_app_refusals_total",
        "Requests to /in that were not: wrong keys, and those to come again later"
    );
    describe_counter!("wayfare_quarantine_dropped_total", "Rejected fixes that were not set aside: too many at once");
    describe_gauge!("wayfare_trackers", "Trackers in memory, by shard");
}

/// One connection was closed from here.
pub fn closed(code: CloseCode) {
    if matches!(code, CloseCode::Unauthorized | CloseCode::Revoked) {
        wayfare_net::audit::refused("unknown".into(), "connection of a driver", code.word());
    }
    counter!("wayfare_drive_closed_total", "reason" => code.word()).increment(1);
}

/// A request of a phone app was answered well.
pub fn app_answered(dialect: Dialect) {
    counter!("wayfare_app_requests_total", "dialect" => dialect.code()).increment(1);
}

/// A request of a phone app was refused.
pub fn app_refused(why: &'static str) {
    counter!("wayfare_app_refusals_total", "why" => why).increment(1);
}

/// A rejected fix was not set aside.
pub fn quarantine_dropped() {
    counter!("wayfare_quarantine_dropped_total").increment(1);
}

/// A connection on QUIC goes on from another address.
pub fn quic_moved() {
    counter!("wayfare_quic_moves_total").increment(1);
}

/// A packet on QUIC found its shard's queue full.
pub fn quic_packet_dropped() {
    counter!("wayfare_quic_packets_dropped_total").increment(1);
}

/// What became of a first packet on QUIC.
pub fn arrival(answer: &'static str) {
    counter!("wayfare_quic_arrivals_total", "answer" => answer).increment(1);
}

/// How many fences are in the index.
pub fn fences(count: usize) {
    gauge!("wayfare_fences").set(count as f64);
}

/// Sizes of a shard's tables.
pub fn sizes(shard: usize, connections: usize, trackers: usize) {
    let shard = shard.to_string();
    gauge!("wayfare_drivers_connected", "shard" => shard.clone()).set(connections as f64);
    gauge!("wayfare_trackers", "shard" => shard).set(trackers as f64);
}
