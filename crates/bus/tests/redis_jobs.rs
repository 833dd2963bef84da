//! What may happen to the stream of a queue on Redis, and to Redis: no job that was accepted is lost.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod servers;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use servers::{Cluster, Server};
use wayfare_bus::{Bus, FixLogLimits, JobState, Jobs, RedisConfig};

const Q: &str = "pictures";
const STREAM: &str = "w:{jobs:pictures}";
const SOON: Duration = Duration::from_secs(30);

async fn bus(url: String) -> Bus {
    let config = RedisConfig {
        url,
        namespace: "w:".into(),
        log_events_max: 1_000,
        log_keep_ms: i64::MAX / 2,
        fix_log: FixLogLimits { keep_ms: 3_600_000, bytes_max: 1 << 30, fold_first: false },
    };
    Bus::redis(&config).await.unwrap()
}

/// Works until everything has ended; returns what ended as done.
async fn work_off(jobs: &Jobs, count: usize, lease_ms: i64) -> HashSet<String> {
    let (started, mut done) = (Instant::now(), HashSet::new());
    while done.len() < count {
        assert!(started.elapsed() < SOON, "{} of {count} are done", done.len());
        // Redis may be away for a moment: then it is tried again, as a worker does.
        match jobs.claim(Q, "w", lease_ms).await {
            Ok(Some(claim)) => drop(jobs.finish(Q, &claim, b"made").await),
            Ok(None) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => {
                println!("{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        for job in jobs.ended(Q, 100).await.unwrap_or_default() {
            assert_eq!(job.state, JobState::Done, "{job:?}");
            if jobs.collect(Q, &job.id).await.is_ok() {
                assert!(done.insert(job.id));
            }
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_somebody_trims_or_deletes_loses_no_job() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let jobs = bus(server.url()).await.jobs;
    let lease_ms = 300;
    let mut expected = 0;
    let harms: [&[&str]; 4] = [
        &["XTRIM", STREAM, "MAXLEN", "0"],
        &["DEL", STREAM],
        &["XGROUP", "DESTROY", STREAM, "workers"],
        &["XGROUP", "DELCONSUMER", STREAM, "workers", "lost"],
    ];
    for (round, harm) in harms.iter().enumerate() {
        for at in 0..6 {
            jobs.enqueue(Q, &format!("{round}-{at}"), b"dish").await.unwrap();
        }
        expected = 6;
        // Two are with a worker that will never come back.
        for _ in 0..2 {
            jobs.claim(Q, "lost", lease_ms).await.unwrap().unwrap();
        }
        server.ask(harm);
        let done = work_off(&jobs, expected, lease_ms).await;
        assert!(done.iter().all(|id| id.starts_with(&format!("{round}-"))), "{harm:?}: {done:?}");
        let left = server.ask(&["XLEN", STREAM]);
        assert_eq!(left, "0", "what has ended is gone from the stream");
    }
    assert_eq!(expected, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_comes_back_with_every_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let bus = bus(server.url()).await;
    let jobs = bus.jobs.clone();
    for at in 0..20 {
        jobs.enqueue(Q, &at.to_string(), b"dish").await.unwrap();
    }
    let held = jobs.claim(Q, "w", 60_000).await.unwrap().unwrap();
    server.kill();
    server.up();
    let started = Instant::now();
    while jobs.renew(Q, &held, 60_000).await.is_err() {
        assert!(started.elapsed() < SOON, "the claim is still good");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    jobs.finish(Q, &held, b"made").await.unwrap();
    assert_eq!(work_off(&jobs, 20, 60_000).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_moves_to_another_master_while_it_works() {
    let cluster = Cluster::start();
    let jobs = bus(cluster.url()).await.jobs;
    for at in 0..40 {
        jobs.enqueue(Q, &at.to_string(), b"dish").await.unwrap();
    }
    let from = cluster.master_of(STREAM, &[0]);
    let to = (0..3).find(|master| *master != from).unwrap();
    let working = tokio::spawn(async move { work_off(&jobs, 40, 2_000).await.len() });
    let _cluster = tokio::task::spawn_blocking(move || {
        cluster.migrate(STREAM, to);
        cluster
    })
    .await
    .unwrap();
    assert_eq!(working.await.unwrap(), 40);
}
