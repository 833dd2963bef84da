//! The queue on the disk against a model: whatever happens to the process, what was kept is there, and messages are as they were.

use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn fix(number: u64) -> Fix {
    Fix { lat: number as f64 / 1000.0, lon: -8.5, t_ms: Some(number as i64), accuracy_m: Some(5.0), ..Fix::default() }
}

/// What should be there.
#[derive(Clone, Default)]
struct Model {
    kept: Kept,
    pushed: u64,
}

impl Model {
    fn begin(session: u64) -> Self {
        Self { kept: Kept { session, next_seq: 1, ..Kept::default() }, pushed: 0 }
    }

    fn number(&mut self, count: usize) -> (u64, usize) {
        let count = count.min(self.kept.waiting.len());
        let (seq, fixes) = (self.kept.next_seq, self.kept.waiting.drain(..count).collect());
        self.kept.messages.push((seq, fixes));
        self.kept.next_seq += 1;
        (seq, count)
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Push(u8),
    Number(usize),
    Settle(prop::sample::Index),
    WriteAnew,
    /// The process ends and begins again.
    Restart,
    /// The same, and the last record is cut off here.
    Torn(prop::sample::Index),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1..6_u8).prop_map(Happening::Push),
        3 => (1..8_usize).prop_map(Happening::Number),
        3 => any::<prop::sample::Index>().prop_map(Happening::Settle),
        1 => Just(Happening::WriteAnew),
        1 => Just(Happening::Restart),
        1 => any::<prop::sample::Index>().prop_map(Happening::Torn),
    ]
}

proptest! {
    #[test]
    fn what_was_kept_is_there_after_any_restart(happenings in prop::collection::vec(happening(), 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::begin(7);
        let (mut store, kept) = Store::open(dir.path(), 1 << 20, 7).unwrap();
        prop_assert_eq!(&kept, &model.kept);
        for happening in happenings {
            match happening {
                Happening::Push(count) => for _ in 0..count {
                    store.push(&fix(model.pushed)).unwrap();
                    model.kept.waiting.push(fix(model.pushed));
                    model.pushed += 1;
                },
                Happening::Number(count) if !model.kept.waiting.is_empty() => {
                    let (seq, count) = model.number(count);
                    store.number(seq, count).unwrap();
                    // A resend is no news.
                    store.number(seq, count).unwrap();
                }
                Happening::Settle(which) if !model.kept.messages.is_empty() => {
                    let place = which.index(model.kept.messages.len());
                    store.settle(model.kept.messages.remove(place).0).unwrap();
                }
                Happening::WriteAnew => store.write_anew(&model.kept).unwrap(),
                Happening::Restart => {
                    drop(store);
                    let (opened, kept) = Store::open(dir.path(), 1 << 20, 99).unwrap();
                    prop_assert_eq!(&kept, &model.kept);
                    store = opened;
                }
                Happening::Torn(cut) => {
                    // A record that was being written when the power went.
                    drop(store);
                    let torn = encode(&Record::Fix { number: u64::MAX, fix: fix(1) }).unwrap();
                    let torn = &torn[..cut.index(torn.len())];
                    File::options().append(true).open(dir.path().join(FILE)).unwrap().write_all(torn).unwrap();
                    let (opened, kept) = Store::open(dir.path(), 1 << 20, 99).unwrap();
                    prop_assert_eq!(&kept, &model.kept);
                    store = opened;
                }
                Happening::Number(_) | Happening::Settle(_) => {}
            }
        }
    }

    #[test]
    fn damage_anywhere_costs_one_record_and_the_numbering(place: prop::sample::Index, bit in 0..8_u8) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(dir.path(), 1 << 20, 7).unwrap();
        (0..20).for_each(|number| store.push(&fix(number)).unwrap());
        store.number(1, 5).unwrap();
        store.number(2, 5).unwrap();
        store.settle(1).unwrap();
        drop(store);
        let path = dir.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let (_, kept) = Store::open(dir.path(), 1 << 20, 99).unwrap();
        let times = |fixes: &[Fix]| fixes.iter().filter_map(|fix| fix.t_ms).collect::<Vec<_>>();
        let mut found = kept.messages.iter().flat_map(|(_, fixes)| times(fixes)).collect::<Vec<_>>();
        found.extend(times(&kept.waiting));
        // Nothing unsettled is missing but the damaged record's own fix; nothing stands there twice.
        let missing = (5..20).filter(|time| !found.contains(time)).count();
        prop_assert!(missing <= 1, "{found:?}");
        prop_assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
        // Without doubt about the numbering nothing changes: then it was the last record, and settled messages go again.
        let sure = kept.session == 7;
        prop_assert!(sure == (kept.damaged == 0), "{kept:?}");
        prop_assert!(sure || kept.messages.is_empty());
    }

    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        let kept = read(&bytes, 3);
        prop_assert_eq!((kept.session, kept.messages.len()), (3, 0));
    }
}

#[test]
fn the_file_stays_within_its_bound_and_says_when_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(dir.path(), 100_000, 7).unwrap();
    let mut model = Model::begin(7);
    let size = || fs::metadata(dir.path().join(FILE)).unwrap().len();
    // Thousands pass through.
    for number in 0..5000 {
        if store.is_long() {
            store.write_anew(&model.kept).unwrap();
        }
        store.push(&fix(number)).unwrap();
        model.kept.waiting.push(fix(number));
        if number % 10 == 9 {
            let (seq, count) = model.number(10);
            store.number(seq, count).unwrap();
            model.kept.messages.clear();
            store.settle(seq).unwrap();
        }
        assert!(size() <= 100_000, "{}", size());
    }
    // Nothing is settled any more.
    let full = (0..5000).find_map(|number| store.push(&fix(number)).err()).unwrap();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert!(size() <= 100_000);
}

#[test]
fn a_queue_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path(), 1000, 7).unwrap();
    assert!(Store::open(dir.path(), 1000, 8).is_err());
    drop(first);
    assert!(Store::open(dir.path(), 1000, 8).is_ok());
}

const CHILD: &str = "WAYFARE_TEST_QUEUE_DIR";

/// The process that is killed: pushes, numbers and settles, and says what it has done, line by line.
#[test]
fn child_of_the_next_test() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (mut store, kept) = Store::open(Path::new(&dir), 1 << 20, 7).unwrap();
    let mut model = Model { pushed: next_number(&kept), kept };
    loop {
        if store.is_long() {
            store.write_anew(&model.kept).unwrap();
        }
        for _ in 0..3 {
            store.push(&fix(model.pushed)).unwrap();
            println!("pushed {}", model.pushed);
            model.kept.waiting.push(fix(model.pushed));
            model.pushed += 1;
        }
        let (seq, count) = model.number(3);
        let first = model.kept.messages.last().unwrap().1[0].t_ms.unwrap();
        store.number(seq, count).unwrap();
        store.sync().unwrap();
        println!("numbered {seq} {first} {count}");
        if model.kept.messages.len() > 4 {
            let (seq, _) = model.kept.messages.remove(0);
            println!("settled {seq}");
            store.settle(seq).unwrap();
        }
    }
}

fn next_number(kept: &Kept) -> u64 {
    let all = kept.messages.iter().flat_map(|(_, fixes)| fixes).chain(&kept.waiting);
    all.filter_map(|fix| fix.t_ms).max().map_or(kept.next_seq * 1000, |newest| newest as u64 + 1)
}

#[test]
fn kill_nine_loses_nothing_that_was_pushed_and_changes_no_message() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_of_the_next_test", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + 13 * round));
        child.kill().unwrap();
        let told = child.wait_with_output().unwrap().stdout;
        let told = String::from_utf8_lossy(&told).into_owned();
        // The last line may be cut.
        let whole = told.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let (store, kept) = Store::open(dir.path(), 1 << 20, 99).unwrap();
        assert_eq!((kept.session, kept.damaged), (7, 0));
        let mut settled = Vec::new();
        let (mut messages, mut pushed) = (BTreeMap::new(), Vec::new());
        for line in whole.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |place: usize| words[place].parse::<u64>().unwrap();
            match words[0] {
                "pushed" => pushed.push(number(1) as i64),
                "numbered" => drop(messages.insert(number(1), (number(2) as i64, number(3) as usize))),
                "settled" => settled.push(number(1)),
                _ => {}
            }
        }
        let (mut held, mut gone) = (Vec::new(), Vec::new());
        for (seq, (first, count)) in &messages {
            let times: Vec<i64> = (*first..).take(*count).collect();
            match kept.messages.iter().find(|(kept, _)| kept == seq) {
                Some((_, fixes)) => assert_eq!(fixes.iter().filter_map(|fix| fix.t_ms).collect::<Vec<_>>(), times),
                None => {
                    assert!(settled.contains(seq), "message {seq} is gone");
                    gone.extend(times);
                }
            }
        }
        held.extend(kept.messages.iter().flat_map(|(_, fixes)| fixes).chain(&kept.waiting).filter_map(|fix| fix.t_ms));
        for time in pushed {
            assert!(held.contains(&time) || gone.contains(&time), "fix {time} is gone");
        }
        drop(store);
    }
}
