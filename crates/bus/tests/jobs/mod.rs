//! What every queue of jobs promises.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wayfare_bus::{Again, Claim, ClaimError, FAILURES_MAX, JobState, Jobs, LOSSES_MAX};

use super::Fixture;

const Q: &str = "pictures";

/// Long enough for a slow machine not to lose it by accident.
const LONG_MS: i64 = 60_000;

/// Short enough to wait for its end.
const SHORT_MS: i64 = 300;

async fn past(lease_ms: i64) {
    tokio::time::sleep(Duration::from_millis(lease_ms as u64 + 50)).await;
}

async fn claim(jobs: &Jobs, worker: &str) -> Claim {
    jobs.claim(Q, worker, LONG_MS).await.unwrap().expect("a job is there")
}

fn is_lost<T: std::fmt::Debug>(result: Result<T, ClaimError>) {
    assert!(matches!(result, Err(ClaimError::Lost)), "{result:?}");
}

pub(super) async fn a_job_is_claimed_once_and_ends_once<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    assert!(jobs.claim(Q, "w", LONG_MS).await.unwrap().is_none());
    assert_eq!(jobs.enqueue(Q, "a", b"\0\xffdish").await.unwrap(), JobState::Waiting);
    let first = claim(jobs, "w1").await;
    assert_eq!((&*first.id, &first.payload[..], first.failures), ("a", &b"\0\xffdish"[..], 0));
    assert!(jobs.claim(Q, "w2", LONG_MS).await.unwrap().is_none());
    assert!(jobs.claim("other", "w2", LONG_MS).await.unwrap().is_none());
    assert_eq!(jobs.read(Q, "a").await.unwrap().unwrap().state, JobState::Running);
    jobs.finish(Q, &first, b"made\0").await.unwrap();
    is_lost(jobs.finish(Q, &first, b"again").await);
    let ended = jobs.ended(Q, 9).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].state, ended[0].result.as_deref()), (JobState::Done, Some(&b"made\0"[..])));
    jobs.collect(Q, "a").await.unwrap();
    jobs.collect(Q, "a").await.unwrap();
    assert_eq!(jobs.ended(Q, 9).await.unwrap(), []);
    assert_eq!(jobs.read(Q, "a").await.unwrap(), None);
}

pub(super) async fn a_job_enqueued_twice_is_one<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    for _ in 0..3 {
        assert_eq!(jobs.enqueue(Q, "a", b"1").await.unwrap(), JobState::Waiting);
    }
    let first = claim(jobs, "w").await;
    assert_eq!(jobs.enqueue(Q, "a", b"2").await.unwrap(), JobState::Running);
    assert!(jobs.claim(Q, "w", LONG_MS).await.unwrap().is_none());
    jobs.finish(Q, &first, b"").await.unwrap();
    assert_eq!(jobs.enqueue(Q, "a", b"3").await.unwrap(), JobState::Done);
    jobs.collect(Q, "a").await.unwrap();
    assert_eq!(jobs.enqueue(Q, "a", b"4").await.unwrap(), JobState::Waiting);
    let second = claim(jobs, "w").await;
    assert_eq!(&second.payload[..], b"4");
    assert!(second.number > first.number, "an old claim is worth nothing for the new job");
    is_lost(jobs.finish(Q, &first, b"old").await);
}

pub(super) async fn jobs_are_taken_in_order_and_know_their_place<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    for id in ["a", "b", "c"] {
        jobs.enqueue(Q, id, b"").await.unwrap();
    }
    let ahead = async |id: &str| jobs.read(Q, id).await.unwrap().unwrap().ahead;
    assert_eq!((ahead("a").await, ahead("b").await, ahead("c").await), (Some(0), Some(1), Some(2)));
    assert_eq!(claim(jobs, "w").await.id, "a");
    assert_eq!((ahead("a").await, ahead("b").await, ahead("c").await), (None, Some(0), Some(1)));
    let counts = jobs.counts(Q).await.unwrap();
    assert_eq!((counts.waiting, counts.running, counts.ended, counts.dead), (2, 1, 0, 0));
    let age = wayfare_bus::now_ms() - counts.oldest_ms.unwrap();
    assert!((-1000..60_000).contains(&age), "{age}");
    assert_eq!(claim(jobs, "w").await.id, "b");
    assert_eq!(claim(jobs, "w").await.id, "c");
    assert_eq!(jobs.counts(Q).await.unwrap().oldest_ms, None);
}

pub(super) async fn a_lost_claim_goes_to_another_and_the_first_is_refused<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    jobs.enqueue(Q, "a", b"").await.unwrap();
    let first = jobs.claim(Q, "w1", SHORT_MS).await.unwrap().unwrap();
    past(SHORT_MS).await;
    let second = jobs.claim(Q, "w2", SHORT_MS).await.unwrap().expect("the job was lost");
    assert!(second.number > first.number);
    // The first wakes up, as after SIGSTOP: whatever it says, it takes nothing back.
    is_lost(jobs.renew(Q, &first, LONG_MS).await);
    is_lost(jobs.finish(Q, &first, b"first").await);
    is_lost(jobs.fail(Q, &first, "first", Again::Never).await);
    jobs.renew(Q, &second, SHORT_MS).await.unwrap();
    jobs.finish(Q, &second, b"second").await.unwrap();
    let ended = jobs.ended(Q, 9).await.unwrap();
    assert_eq!((ended.len(), ended[0].result.as_deref(), ended[0].losses), (1, Some(&b"second"[..]), 1));
}

pub(super) async fn a_renewed_claim_is_kept<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    jobs.enqueue(Q, "a", b"").await.unwrap();
    let lease_ms = 2_000;
    let first = jobs.claim(Q, "w1", lease_ms).await.unwrap().unwrap();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        jobs.renew(Q, &first, lease_ms).await.unwrap();
        assert!(jobs.claim(Q, "w2", lease_ms).await.unwrap().is_none());
    }
    jobs.finish(Q, &first, b"").await.unwrap();
    assert_eq!(jobs.ended(Q, 1).await.unwrap()[0].losses, 0);
}

pub(super) async fn failures_are_tried_again_and_then_dead<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    jobs.enqueue(Q, "a", b"").await.unwrap();
    for failures in 0..FAILURES_MAX {
        // What is nobody's fault counts nothing.
        let away = claim(jobs, "w").await;
        assert_eq!(away.failures, failures);
        let state = jobs.fail(Q, &away, "store away", Again::NoFault(0)).await.unwrap();
        assert_eq!(state, JobState::Waiting);
        let taken = claim(jobs, "w").await;
        let state = jobs.fail(Q, &taken, "panic", Again::After(SHORT_MS)).await.unwrap();
        let job = jobs.read(Q, "a").await.unwrap().unwrap();
        assert_eq!((job.failures, job.reason.as_deref(), job.state), (failures + 1, Some("panic"), state));
        is_lost(jobs.renew(Q, &taken, LONG_MS).await);
        if failures + 1 < FAILURES_MAX {
            assert_eq!((state, job.ahead), (JobState::Waiting, None));
            assert!(jobs.claim(Q, "w", LONG_MS).await.unwrap().is_none(), "not before its time");
            assert_eq!(jobs.counts(Q).await.unwrap().waiting, 1);
            past(SHORT_MS).await;
        } else {
            assert_eq!(state, JobState::Dead);
        }
    }
    assert!(jobs.claim(Q, "w", LONG_MS).await.unwrap().is_none());
    jobs.enqueue(Q, "b", b"").await.unwrap();
    let taken = claim(jobs, "w").await;
    assert_eq!(jobs.fail(Q, &taken, "no sense", Again::Never).await.unwrap(), JobState::Dead);
}

pub(super) async fn a_job_that_loses_its_workers_is_dead<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    jobs.enqueue(Q, "a", b"").await.unwrap();
    for _ in 0..LOSSES_MAX {
        jobs.claim(Q, "w", 100).await.unwrap().expect("another try");
        past(100).await;
    }
    assert!(jobs.claim(Q, "w", 100).await.unwrap().is_none());
    let job = jobs.read(Q, "a").await.unwrap().unwrap();
    assert_eq!((job.state, job.losses), (JobState::Dead, LOSSES_MAX));
    assert!(job.reason.unwrap().contains("workers were lost"));
}

pub(super) async fn a_cancelled_job_is_not_worked_on<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    for id in ["a", "b", "c"] {
        jobs.enqueue(Q, id, b"").await.unwrap();
    }
    let running = claim(jobs, "w").await;
    for id in ["a", "b"] {
        assert_eq!(jobs.cancel(Q, id).await.unwrap(), Some(JobState::Cancelled));
    }
    is_lost(jobs.renew(Q, &running, LONG_MS).await);
    is_lost(jobs.finish(Q, &running, b"").await);
    let rest = claim(jobs, "w").await;
    assert_eq!(rest.id, "c");
    jobs.finish(Q, &rest, b"").await.unwrap();
    assert_eq!(jobs.cancel(Q, "c").await.unwrap(), Some(JobState::Done));
    assert_eq!(jobs.cancel(Q, "nobody").await.unwrap(), None);
    let states: Vec<JobState> = jobs.ended(Q, 9).await.unwrap().iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Cancelled, JobState::Cancelled, JobState::Done]);
    jobs.collect(Q, "a").await.unwrap();
    assert_eq!(jobs.read(Q, "a").await.unwrap(), None);
}

pub(super) async fn an_end_is_told_until_it_is_collected_and_the_dead_are_kept<F: Fixture>() {
    let house = F::start().await;
    let jobs = house.bus().jobs.clone();
    for id in ["a", "b", "c"] {
        jobs.enqueue(Q, id, id.as_bytes()).await.unwrap();
        let taken = claim(&jobs, "w").await;
        jobs.fail(Q, &taken, "no sense", Again::Never).await.unwrap();
        // Times tell them apart.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(jobs);
    let house = house.restart().await;
    let jobs = &house.bus().jobs;
    let ids = |jobs: Vec<wayfare_bus::Job>| jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(jobs.ended(Q, 2).await.unwrap()), ["a", "b"]);
    for id in ["a", "b", "c"] {
        jobs.collect(Q, id).await.unwrap();
    }
    assert_eq!(ids(jobs.ended(Q, 9).await.unwrap()), Vec::<String>::new());
    assert_eq!(ids(jobs.dead(Q, 0, 2).await.unwrap()), ["c", "b"]);
    assert_eq!(ids(jobs.dead(Q, 2, 2).await.unwrap()), ["a"]);
    assert!(jobs.forget(Q, "b").await.unwrap());
    assert!(!jobs.forget(Q, "b").await.unwrap());
    assert!(jobs.retry(Q, "a").await.unwrap());
    assert!(!jobs.retry(Q, "a").await.unwrap());
    assert!(!jobs.retry(Q, "b").await.unwrap());
    let taken = claim(jobs, "w").await;
    assert_eq!((&*taken.id, &taken.payload[..], taken.failures), ("a", &b"a"[..], 0));
    assert!(!jobs.forget(Q, "a").await.unwrap());
    jobs.finish(Q, &taken, b"at last").await.unwrap();
    assert_eq!(ids(jobs.ended(Q, 9).await.unwrap()), ["a"]);
    assert_eq!(ids(jobs.dead(Q, 0, 9).await.unwrap()), ["c"]);
}

pub(super) async fn jobs_survive_a_restart<F: Fixture>() {
    let house = F::start().await;
    let jobs = house.bus().jobs.clone();
    for id in ["a", "b"] {
        jobs.enqueue(Q, id, id.as_bytes()).await.unwrap();
    }
    let taken = claim(&jobs, "w").await;
    drop(jobs);
    let house = house.restart().await;
    let jobs = &house.bus().jobs;
    // The claim of another process goes on, too.
    jobs.renew(Q, &taken, LONG_MS).await.unwrap();
    jobs.finish(Q, &taken, b"").await.unwrap();
    assert_eq!(claim(jobs, "w").await.id, "b");
}

pub(super) async fn a_tail_of_jobs_wakes<F: Fixture>() {
    let house = F::start().await;
    let jobs = &house.bus().jobs;
    let mut tail = jobs.tail(Q).await;
    let soon = Duration::from_secs(20);
    jobs.enqueue(Q, "a", b"").await.unwrap();
    tokio::time::timeout(soon, tail.changed()).await.expect("woken").unwrap();
    let taken = claim(jobs, "w").await;
    tail.mark_unchanged();
    jobs.finish(Q, &taken, b"").await.unwrap();
    tokio::time::timeout(soon, tail.changed()).await.expect("woken").unwrap();
}

/// Workers that vanish, fail, stall and repeat themselves: every job ends once, with the result of the claim that was newest.
pub(super) async fn careless_workers_lose_nothing<F: Fixture>() {
    const JOBS: usize = 60;
    let house = F::start().await;
    let jobs = house.bus().jobs.clone();
    let finished: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    let workers: Vec<_> = (0..5)
        .map(|worker| {
            let (jobs, finished) = (jobs.clone(), Arc::clone(&finished));
            tokio::spawn(async move {
                let name = format!("w{worker}");
                let mut turn = worker;
                loop {
                    let Some(claim) = jobs.claim(Q, &name, 150).await.unwrap() else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    turn += 1;
                    match turn % 7 {
                        // Vanishes, at most so often that no job dies of it.
                        0 if claim.failures == 0 => {}
                        // Stalls beyond its lease, then goes on as if nothing were.
                        1 => {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            if jobs.finish(Q, &claim, &claim.number.to_le_bytes()).await.is_ok() {
                                assert!(finished.lock().unwrap().insert(claim.id, claim.number).is_none());
                            }
                        }
                        2 if claim.failures == 0 => drop(jobs.fail(Q, &claim, "again", Again::After(10)).await),
                        _ => {
                            if jobs.finish(Q, &claim, &claim.number.to_le_bytes()).await.is_ok() {
                                assert!(finished.lock().unwrap().insert(claim.id, claim.number).is_none());
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for at in 0..JOBS {
        jobs.enqueue(Q, &format!("job-{at}"), b"").await.unwrap();
    }
    let mut seen = HashSet::new();
    while seen.len() < JOBS {
        for job in jobs.ended(Q, 10).await.unwrap() {
            assert!(matches!(job.state, JobState::Done | JobState::Dead), "{job:?}");
            if job.state == JobState::Done {
                let number = u64::from_le_bytes(job.result.as_deref().unwrap().try_into().unwrap());
                // The worker notes it a moment after the queue does.
                while !finished.lock().unwrap().contains_key(&job.id) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                assert_eq!(finished.lock().unwrap().get(&job.id), Some(&number));
            }
            assert!(seen.insert(job.id.clone()), "an end is told once it is collected no more");
            jobs.collect(Q, &job.id).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    let counts = jobs.counts(Q).await.unwrap();
    assert_eq!((counts.waiting, counts.running, counts.ended), (0, 0, 0));
}
