//! What a replay showed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use wayfare_driver::Acked;

/// Faults told in full.
const FAULTS_TOLD: usize = 20;

/// Something that happened during a replay.
#[derive(Debug)]
pub(super) enum Note {
    /// A fix was given to the driver library.
    Sent,
    /// A message was acked.
    Acked(Acked),
    /// A connection was made again.
    Reconnected,
    /// A watcher was told that a trip just created is not known.
    Unknown,
    /// A watcher applied a frame that moved the position.
    Position,
    /// A watcher was told an arrival time.
    Eta,
    /// A trip was seen from its beginning to its end.
    Watched,
    /// A promise was broken.
    Fault(String),
}

/// What a replay showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReplayReport {
    /// Traces played.
    pub traces: usize,
    /// Trips that a watcher saw from the beginning to the end.
    pub trips_watched: u64,
    /// Fixes given to the driver library.
    pub sent: u64,
    /// Fixes acked, whatever their verdict.
    pub acked: u64,
    /// Fixes that moved the tracker.
    pub accepted: u64,
    /// Fixes kept in the track only.
    pub late: u64,
    /// Fixes rejected.
    pub rejected: u64,
    /// How many fixes got which verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Frames that moved a position.
    pub positions: u64,
    /// Arrival times told.
    pub eta_messages: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// Times that a watcher had to ask again for a trip that was just created.
    pub asked_again: u64,
    /// How long it took, seconds.
    pub duration_s: f64,
    /// Broken promises.
    pub faults: u64,
    /// The first of them, in words.
    pub fault_examples: Vec<String>,
}

impl ReplayReport {
    /// Every fix was acked and no promise broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults == 0 && self.acked == self.sent
    }
}

/// Notes, added up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    report: ReplayReport,
}

impl Tally {
    pub(super) fn take(&mut self, note: Note) {
        let report = &mut self.report;
        match note {
            Note::Sent => report.sent += 1,
            Note::Reconnected => report.reconnects += 1,
            Note::Unknown => report.asked_again += 1,
            Note::Position => report.positions += 1,
            Note::Eta => report.eta_messages += 1,
            Note::Watched => report.trips_watched += 1,
            Note::Acked(acked) => {
                report.acked += acked.fixes.len() as u64;
                if acked.verdicts.len() != acked.fixes.len() {
                    let (got, want) = (acked.verdicts.len(), acked.fixes.len());
                    self.fault(format!("{got} verdicts on {want} fixes"));
                }
                acked.verdicts.into_iter().for_each(|word| self.verdict(word));
            }
            Note::Fault(fault) => self.fault(fault),
        }
    }

    pub(super) fn report(mut self, traces: usize, duration: Duration) -> ReplayReport {
        self.report.traces = traces;
        self.report.duration_s = duration.as_secs_f64();
        self.report
    }

    fn verdict(&mut self, word: String) {
        match word.as_str() {
            "accepted" => self.report.accepted += 1,
            "late" => self.report.late += 1,
            _ => self.report.rejected += 1,
        }
        *self.report.verdicts.entry(word).or_default() += 1;
    }

    fn fault(&mut self, fault: String) {
        self.report.faults += 1;
        if self.report.fault_examples.len() < FAULTS_TOLD {
            self.report.fault_examples.push(fault);
        }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |count: u64| 100.0 * count as f64 / self.acked.max(1) as f64;
        writeln!(out, "traces         {:>10}   in {:.1} s", self.traces, self.duration_s)?;
        writeln!(out, "fixes sent     {:>10}", self.sent)?;
        writeln!(out, "      acked    {:>10}", self.acked)?;
        for (word, count) in &self.verdicts {
            writeln!(out, "  {word:<20}{count:>5}   {:>5.1} %", share(*count))?;
        }
        writeln!(out, "trips watched  {:>10}", self.trips_watched)?;
        writeln!(out, "positions      {:>10}", self.positions)?;
        writeln!(out, "arrival times  {:>10}", self.eta_messages)?;
        writeln!(out, "reconnects     {:>10}", self.reconnects)?;
        writeln!(out, "asked again    {:>10}   for a trip just created", self.asked_again)?;
        writeln!(out, "faults         {:>10}", self.faults)?;
        for fault in &self.fault_examples {
            writeln!(out, "  {fault}")?;
        }
        let words = if self.is_clean() {
            "every fix was acked, and every watcher saw time and numbers only grow"
        } else {
            "NOT CLEAN: a fix was not acked, or a promise was broken"
        };
        write!(out, "{words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wayfare_driver::Fix;

    fn acked(verdicts: &[&str], fixes: usize) -> Note {
        Note::Acked(Acked {
            seq: 1,
            fixes: vec![Fix::default(); fixes],
            verdicts: verdicts.iter().map(|word| (*word).to_owned()).collect(),
            details: Vec::new(),
        })
    }

    #[test]
    fn verdicts_are_counted_by_their_word() {
        let mut tally = Tally::default();
        (0..4).for_each(|_| tally.take(Note::Sent));
        tally.take(acked(&["accepted", "late", "off_shift"], 3));
        let report = tally.report(1, Duration::from_secs(2));
        assert_eq!((report.accepted, report.late, report.rejected), (1, 1, 1));
        assert_eq!(report.verdicts["off_shift"], 1);
        assert!(!report.is_clean(), "a fix was not acked");
    }

    #[test]
    fn a_broken_promise_is_told() {
        let mut tally = Tally::default();
        tally.take(acked(&["accepted"], 2));
        let report = tally.report(1, Duration::ZERO);
        assert_eq!(report.fault_examples, ["1 verdicts on 2 fixes"]);
        assert!(report.to_string().contains("NOT CLEAN"));
    }
}
