//! The core as its caller sees it, with a clock that the test turns and a server that the test plays.

use super::*;
use proptest::prelude::*;

mod laws;

const WALL_MS: i64 = 1_800_000_000_000;

fn fix(number: u32) -> Fix {
    Fix { lat: f64::from(number), lon: 1.0, t_ms: Some(i64::from(number)), ..Fix::default() }
}

/// A core and its clock.
struct Phone {
    core: Core,
    now: Instant,
}

impl Phone {
    fn new(queue_max: usize) -> Self {
        let now = Instant::now();
        let random = fastrand::Rng::with_seed(7);
        Self { core: Core::new(0x9f3a, queue_max, random, now), now }
    }

    /// Connected and welcomed, with these limits.
    fn up(max_fixes: u32, max_unacked: u32) -> Self {
        let mut phone = Self::new(1_000);
        phone.connect(max_fixes, max_unacked);
        phone
    }

    fn connect(&mut self, max_fixes: u32, max_unacked: u32) {
        self.core.on_open(Way::WebSocket, self.now);
        self.hear(&format!(
            r#"{{"type":"welcome","version":1,"driver":"drv_1","interval_ms":3000,"max_fixes":{max_fixes},
            "max_unacked":{max_unacked},"heartbeat_ms":20000,"expires_at_ms":{}}}"#,
            WALL_MS + 600_000
        ));
    }

    fn hear(&mut self, text: &str) {
        self.core.on_message(serde_json::from_str(text).unwrap(), self.now, WALL_MS);
    }

    fn push(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.core.push(fix(number)).unwrap();
        }
    }

    /// (seq, numbers of the fixes) of everything the core wants to write now.
    fn written(&mut self) -> Vec<(u64, Vec<i64>)> {
        let mut messages = Vec::new();
        while let Some(Outgoing { seq, count, message }) = self.core.poll_message(self.now, WALL_MS) {
            let FromDriver::Fixes(message) = message else { panic!("{message:?}") };
            assert_eq!((message.seq, message.fixes.len(), message.sent_ms), (seq, count, Some(WALL_MS)));
            let times = message.fixes.iter().filter_map(|fix| fix.t_ms).collect();
            messages.push((message.seq, times));
        }
        messages
    }

    fn ack(&mut self, seq: u64) {
        self.hear(&format!(r#"{{"type":"ack","seq":{seq},"verdicts":["accepted"]}}"#));
    }

    fn acked(&mut self) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(event) = self.core.poll_event() {
            if let Event::Acked(acked) = event {
                seqs.push(acked.seq);
            }
        }
        seqs
    }

    fn end(&mut self, code: Option<u16>) -> Next {
        let ended = Ended { code, ..Ended::default() };
        self.core.on_end(ended, true)
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }
}

#[test]
fn what_is_said_about_a_trip_is_said_until_it_is_noted_or_refused() {
    let mut phone = Phone::up(10, 10);
    let accept = |trip: &str| FromDriver::Accept { trip: trip.into(), offer: 1 };
    assert!(phone.core.say(accept("trp_1")) && phone.core.say(accept("trp_2")) && phone.core.say(accept("trp_1")));
    let said = |phone: &mut Phone| -> Vec<String> {
        let mut trips = Vec::new();
        while let Some(message) = phone.core.poll_word(phone.now) {
            let FromDriver::Accept { trip, .. } = message else { panic!("{message:?}") };
            trips.push(trip);
        }
        trips
    };
    assert_eq!(said(&mut phone), ["trp_1", "trp_2"]);
    assert_eq!(said(&mut phone), [""; 0]);
    phone.hear(r#"{"type":"noted","trip":"trp_2","said":"accept"}"#);
    phone.core.on_end(Ended::default(), false);
    phone.connect(10, 10);
    assert_eq!(said(&mut phone), ["trp_1"]);
    phone.hear(r#"{"type":"error","code":"not_found","message":"no","retry":false,"field":"trip"}"#);
    phone.core.on_end(Ended::default(), false);
    phone.connect(10, 10);
    assert_eq!(said(&mut phone), [""; 0]);
    let taken = (0..200).filter(|number| phone.core.say(accept(&number.to_string()))).count();
    assert_eq!(taken, 128);
}

#[test]
fn what_the_phone_says_of_itself_is_said_on_every_connection() {
    let mut phone = Phone::new(10);
    let airplane = wayfare_wire::messages::drive::Phone { outage: Some("airplane".into()), ..Default::default() };
    phone.core.set_phone(airplane.clone());
    assert_eq!(phone.core.poll_phone(), None, "not before the welcome");
    let said = Some(FromDriver::Phone(airplane));
    for _ in 0..2 {
        phone.connect(10, 10);
        assert_eq!(phone.core.poll_phone(), said);
        assert_eq!(phone.core.poll_phone(), None);
        phone.core.on_end(Ended::default(), false);
    }
}

#[test]
fn nothing_is_sent_before_the_welcome() {
    let mut phone = Phone::new(10);
    phone.push(0..2);
    assert_eq!(phone.written(), []);
    phone.core.on_open(Way::WebSocket, phone.now);
    let hello = FromDriver::Hello { token: None, session: "9f3a".into() };
    assert_eq!(phone.core.hello(None), hello, "the token is in the header");
    assert_eq!(phone.written(), []);
}

#[test]
fn fixes_that_gathered_travel_together_within_the_servers_limits() {
    let mut phone = Phone::up(3, 2);
    phone.push(0..8);
    assert_eq!(phone.written(), [(1, vec![0, 1, 2]), (2, vec![3, 4, 5])]);
    phone.ack(2);
    assert_eq!(phone.written(), [(3, vec![6, 7])]);
    assert_eq!(phone.core.held(), 5);
}

#[test]
fn what_was_not_acked_goes_again_first_unchanged_and_in_order() {
    let mut phone = Phone::up(2, 10);
    phone.push(0..6);
    assert_eq!(phone.written().len(), 3);
    phone.ack(2);
    phone.end(None);
    phone.push(6..7);
    phone.connect(2, 10);
    assert_eq!(phone.written(), [(1, vec![0, 1]), (3, vec![4, 5]), (4, vec![6])]);
}

#[test]
fn a_second_ack_is_not_reported() {
    let mut phone = Phone::up(1, 10);
    phone.push(0..2);
    phone.written();
    phone.ack(1);
    phone.ack(1);
    phone.ack(99);
    assert_eq!(phone.acked(), [1]);
    assert_eq!(phone.core.held(), 1);
}

#[test]
fn a_full_queue_gives_the_fix_back() {
    let mut phone = Phone::new(2);
    phone.push(0..2);
    assert_eq!(phone.core.push(fix(9)), Err(fix(9)));
    phone.connect(10, 10);
    phone.written();
    assert!(phone.core.push(fix(9)).is_err(), "sent is not acked");
    phone.ack(1);
    assert!(phone.core.push(fix(9)).is_ok());
}

#[test]
fn a_house_that_cannot_keep_anything_is_given_time() {
    let mut phone = Phone::up(1, 10);
    phone.push(0..2);
    phone.written();
    phone.hear(r#"{"type":"error","code":"not_durable","message":"disk","retry":true,"retry_after_ms":700}"#);
    phone.pass(699);
    assert_eq!(phone.written(), []);
    assert_eq!(phone.core.deadline(), Some(phone.now + Duration::from_millis(1)));
    phone.pass(1);
    assert_eq!(phone.written(), [(1, vec![0]), (2, vec![1])]);
}

#[test]
fn the_close_code_decides_what_is_next() {
    let mut phone = Phone::up(1, 10);
    let Next::Connect { after, new_token } = phone.end(Some(4002)) else { panic!("stopped") };
    assert!(after <= Duration::from_secs(1) && !new_token);
    phone.connect(1, 10);
    let expired = phone.end(Some(4100));
    assert!(matches!(expired, Next::Connect { new_token: true, .. }));
    phone.connect(1, 10);
    assert_eq!(phone.end(Some(4200)), Next::Stop);
    phone.connect(1, 10);
    let ended = Ended { code: Some(4101), ..Ended::default() };
    assert_eq!(phone.core.on_end(ended, false), Next::Stop, "the same token would be refused again");
}

#[test]
fn bye_says_when_to_come_back_even_if_the_line_breaks_after_it() {
    let mut phone = Phone::up(1, 10);
    phone.hear(r#"{"type":"bye","code":4000,"reason":"draining","retry_after_ms":4321}"#);
    assert_eq!(phone.end(None), Next::Connect { after: Duration::from_millis(4321), new_token: false });
}

#[test]
fn silence_is_noticed_and_any_frame_breaks_it() {
    let mut phone = Phone::up(1, 10);
    phone.pass(49_999);
    assert_eq!(phone.core.must_hang_up(phone.now), None);
    phone.core.on_heard(phone.now);
    phone.pass(49_999);
    assert_eq!(phone.core.must_hang_up(phone.now), None);
    phone.pass(1);
    assert!(phone.core.must_hang_up(phone.now).is_some());
}

#[test]
fn another_heartbeat_is_another_silence() {
    let mut phone = Phone::up(1, 10);
    let quiet_for = |phone: &mut Phone, ms: u64| {
        phone.pass(ms - 1);
        assert_eq!(phone.core.must_hang_up(phone.now), None);
        phone.pass(1);
        assert!(phone.core.must_hang_up(phone.now).is_some());
    };
    phone.hear(r#"{"type":"config","interval_ms":1000,"heartbeat_ms":40000}"#);
    quiet_for(&mut phone, 100_000);
    phone.hear(r#"{"type":"config","interval_ms":2000}"#);
    quiet_for(&mut phone, 100_000);
    phone.hear(r#"{"type":"config","interval_ms":2000,"heartbeat_ms":20000}"#);
    quiet_for(&mut phone, 50_000);
}

#[test]
fn a_welcome_that_does_not_come_is_not_awaited_for_ever() {
    let mut phone = Phone::new(1);
    phone.core.on_open(Way::WebSocket, phone.now);
    phone.pass(9_000);
    phone.core.on_heard(phone.now);
    phone.pass(1_000);
    assert!(phone.core.must_hang_up(phone.now).is_some());
}

#[test]
fn a_refused_message_is_found_and_does_not_block_the_others() {
    let mut phone = Phone::up(1, 10);
    phone.push(0..3);
    assert_eq!(phone.written().len(), 3);
    let refusal = r#"{"type":"error","code":"too_large","message":"no","retry":false}"#;
    phone.hear(refusal);
    assert!(phone.core.must_hang_up(phone.now).is_some());
    phone.end(None);
    phone.connect(1, 10);
    assert_eq!(phone.written(), [(1, vec![0])], "one by one");
    phone.ack(1);
    assert_eq!(phone.written(), [(2, vec![1])]);
    phone.hear(refusal);
    assert_eq!(phone.written(), [(3, vec![2])]);
    phone.ack(3);
    assert!(phone.core.is_idle());
    phone.push(3..5);
    assert_eq!(phone.written().len(), 2, "no longer careful");
    let mut refused = Vec::new();
    while let Some(event) = phone.core.poll_event() {
        if let Event::Refused { seq, .. } = event {
            refused.push(seq);
        }
    }
    assert_eq!(refused, [2]);
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let mut phone = Phone::up(1, 10);
    phone.pass(539_999);
    assert!(!phone.core.poll_renewal(phone.now));
    phone.pass(1);
    assert!(phone.core.poll_renewal(phone.now));
    assert!(!phone.core.poll_renewal(phone.now), "once");
}

#[test]
fn what_is_left_comes_back_in_order() {
    let mut phone = Phone::up(2, 1);
    phone.push(0..5);
    phone.written();
    let left = phone.core.take_back();
    assert_eq!(left, (0..5).map(fix).collect::<Vec<_>>());
    assert!(phone.core.is_idle());
}
