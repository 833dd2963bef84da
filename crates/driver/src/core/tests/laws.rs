//! Whatever the network does: every fix is acked once from the app's view, and the server sees every message, unchanged.

use super::*;
use std::collections::BTreeMap;

/// One thing that may happen.
#[derive(Clone, Debug)]
enum Happening {
    /// The app has fixes.
    Push(u32),
    /// The core writes; what arrives is cut off after so many messages.
    Write { arrive: usize },
    /// The server acks one of those it holds, perhaps one it has acked before.
    Ack(prop::sample::Index),
    /// The server asks for a pause.
    Pause,
    /// The line breaks, and acks that were on the way are lost.
    Break,
    /// Time passes, ms.
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (1..5_u32).prop_map(Happening::Push),
        4 => (0..6_usize).prop_map(|arrive| Happening::Write { arrive }),
        4 => any::<prop::sample::Index>().prop_map(Happening::Ack),
        1 => Just(Happening::Pause),
        1 => Just(Happening::Break),
        1 => (1..3_000_u64).prop_map(Happening::Pass),
    ]
}

/// A phone, a server that remembers what it saw, and the app's account.
struct Scene {
    phone: Phone,
    seen: BTreeMap<u64, Vec<i64>>,
    pushed: u32,
    acked: BTreeMap<u64, Vec<i64>>,
}

impl Scene {
    fn write(&mut self, arrive: usize) {
        let messages = self.phone.written();
        let all_arrived = arrive >= messages.len();
        let mut previous = 0;
        for (seq, fixes) in messages.into_iter().take(arrive) {
            assert!(seq > previous, "in order on one connection");
            previous = seq;
            let known = self.seen.entry(seq).or_insert_with(|| fixes.clone());
            assert_eq!(known, &fixes, "a resend is unchanged");
        }
        if !all_arrived {
            self.reconnect();
        }
    }

    fn reconnect(&mut self) {
        self.phone.end(None);
        self.phone.connect(3, 4);
    }

    fn note_acks(&mut self) {
        while let Some(event) = self.phone.core.poll_event() {
            if let Event::Acked(acked) = event {
                let times = acked.fixes.iter().filter_map(|fix| fix.t_ms).collect();
                let before = self.acked.insert(acked.seq, times);
                assert_eq!(before, None, "acked twice");
            }
        }
    }

    fn step(&mut self, happening: &Happening) {
        match happening {
            Happening::Push(count) => {
                self.phone.push(self.pushed..self.pushed + count);
                self.pushed += count;
            }
            Happening::Write { arrive } => self.write(*arrive),
            Happening::Ack(which) if !self.seen.is_empty() => {
                let place = which.index(self.seen.len());
                let seq = self.seen.keys().nth(place).copied().unwrap_or_default();
                self.phone.ack(seq);
            }
            Happening::Ack(_) => {}
            Happening::Pause => self
                .phone
                .hear(r#"{"type":"error","code":"rate_limited","message":"slow","retry":true,"retry_after_ms":500}"#),
            Happening::Break => self.reconnect(),
            Happening::Pass(ms) => self.phone.pass(*ms),
        }
        self.note_acks();
        let out: usize = self.acked.values().map(Vec::len).sum();
        assert_eq!(self.phone.core.held() + out, self.pushed as usize, "no fix appears or disappears");
    }
}

proptest! {
    #[test]
    fn every_fix_is_acked_once_and_every_message_seen_unchanged(happenings in prop::collection::vec(happening(), 0..120)) {
        let mut phone = Phone::new(10_000);
        phone.connect(3, 4);
        let mut scene = Scene { phone, seen: BTreeMap::new(), pushed: 0, acked: BTreeMap::new() };
        for happening in &happenings {
            scene.step(happening);
        }
        // Then the network is good for a while.
        scene.reconnect();
        for _ in 0..10_000 {
            if scene.phone.core.is_idle() {
                break;
            }
            scene.phone.pass(1_000);
            scene.phone.core.on_heard(scene.phone.now);
            scene.write(usize::MAX);
            for seq in scene.seen.keys().copied().collect::<Vec<_>>() {
                scene.phone.ack(seq);
            }
            scene.note_acks();
        }
        prop_assert!(scene.phone.core.is_idle());
        let all: Vec<i64> = scene.acked.values().flatten().copied().collect();
        prop_assert_eq!(all, (0..i64::from(scene.pushed)).collect::<Vec<_>>());
        prop_assert_eq!(&scene.acked, &scene.seen);
        let numbers: Vec<u64> = scene.seen.keys().copied().collect();
        prop_assert_eq!(&numbers, &(1..=numbers.len() as u64).collect::<Vec<_>>());
    }
}
