//! What holds whatever three workers, a clock and an impatient person do to the same executions.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use ihuman_proto::catalog::v1::{self as pb, LeaseState};
use ihuman_shared::access::Role;
use serde_json::json;
use sqlx::PgPool;
use tokio::{task::JoinSet, time::timeout};

use crate::scene::{Scene, Workers, complete, lease_of, take, workers};

/// Numbers that look random and are the same for the same seed (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// Under which leases a completion was accepted, by execution.
type Winners = Arc<Mutex<HashMap<String, HashSet<String>>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_each_execution_ends_once_and_its_history_has_no_gap() {
    for seed in [1, 20, 300, 4000] {
        let all = any_interleaving(seed);
        assert!(timeout(Duration::from_secs(60), all).await.is_ok(), "seed {seed} did not end");
    }
}

async fn any_interleaving(seed: u64) {
    let scene = Scene::start().await;
    let mut random = Random(seed);
    let mut ids = Vec::new();
    for _ in 0..15 {
        let (max_attempts, priority) = (1 + random.below(4) as i32, random.below(10) as i32);
        let request = pb::CreateExecutionRequest { max_attempts, priority, ..Default::default() };
        ids.push(scene.create_with(request).await.id);
    }

    let winners = Winners::default();
    let mut running = JoinSet::new();
    for number in 1..=3 {
        let account = scene.credentials().service_account(Role::Service).await;
        let workers = workers(&scene.catalog.service, &account);
        let random = Random(seed * 7 + number);
        running.spawn(work(workers, random, scene.db().clone(), winners.clone()));
    }
    while count(scene.db(), NOT_ENDED).await > 0 {
        match random.below(12) {
            0 => {
                // Refused when it has ended.
                let _ = scene.cancel(&ids[random.below(ids.len())]).await;
            }
            1..=3 => scene.let_expire(&ids[random.below(ids.len())]).await,
            4 | 5 => scene.end_backoff().await,
            _ => tokio::task::yield_now().await,
        }
        assert_eq!(count(scene.db(), NOT_IN_ONE_PLACE).await, 0, "seed {seed}");
    }
    running.join_all().await;

    assert_eq!(count(scene.db(), NOT_IN_ONE_PLACE).await, 0, "seed {seed}");
    assert_eq!(count(scene.db(), HISTORY_BROKEN).await, 0, "seed {seed}");
    let winners = winners.lock().unwrap().clone();
    for id in &ids {
        let execution = scene.get(id).await;
        let won = winners.get(id).cloned().unwrap_or_default();
        let result = execution.result.map(|it| it.kind.unwrap());
        let expected: HashSet<_> = match result {
            Some(prost_types::value::Kind::StringValue(lease_id)) => [lease_id].into(),
            _ => HashSet::new(),
        };
        assert_eq!(won, expected, "seed {seed}: who completed {id}");
    }
}

/// Does anything, with leases that it has and with leases that it had.
async fn work(mut workers: Workers, mut random: Random, db: PgPool, winners: Winners) {
    let mut leases: Vec<pb::Lease> = Vec::new();
    while count(&db, NOT_ENDED).await > 0 {
        let action = random.below(10);
        if leases.is_empty() || action < 3 {
            let taken = take(&mut workers, 1 + random.below(4) as i32).await;
            leases.extend(taken.iter().map(lease_of));
            continue;
        }
        // Mostly the latest, and at times an old one.
        let back = if action == 3 { leases.len() } else { leases.len().min(3) };
        let lease = leases[leases.len() - 1 - random.below(back)].clone();
        match action {
            3..=5 => {
                let state = complete(&mut workers, &lease, json!(lease.lease_id)).await;
                if state == LeaseState::Held {
                    let mut winners = winners.lock().unwrap();
                    winners.entry(lease.execution_id).or_default().insert(lease.lease_id);
                }
            }
            6 | 7 => {
                let error = Some(pb::ExecutionError { code: "NO_LUCK".into(), message: "".into() });
                let permanent = random.below(8) == 0;
                let failures = vec![pb::Failure { lease: Some(lease), error, permanent }];
                let request = pb::FailExecutionsRequest { failures };
                workers.fail_executions(request).await.unwrap();
            }
            8 => {
                let step = format!("step {}", random.below(3));
                let progress = pb::Progress { lease: Some(lease), step, ..Default::default() };
                let request = pb::ReportProgressRequest { progress: vec![progress] };
                workers.report_progress(request).await.unwrap();
            }
            _ => {
                let held: HashMap<_, _> =
                    leases.iter().map(|it| (it.execution_id.clone(), it.clone())).collect();
                let request = pb::HeartbeatRequest { leases: held.into_values().collect() };
                workers.heartbeat(request).await.unwrap();
            }
        }
    }
}

async fn count(db: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(db).await.unwrap()
}

const NOT_ENDED: &str =
    "select count(*) from catalog.executions where state in ('queued', 'running')";

/// An execution is in the queue, or has one lease, or has ended.
const NOT_IN_ONE_PLACE: &str = "
    select count(*)
    from catalog.executions e
    left join catalog.execution_queue q using (execution_id)
    left join catalog.execution_leases l using (execution_id)
    where (e.state = 'queued') <> (q.execution_id is not null)
       or (e.state = 'running') <> (l.execution_id is not null)
       or (e.state = 'running' and e.lease_id <> l.lease_id)";

/// Revisions are 1 to the present one, and the last and no other is final.
const HISTORY_BROKEN: &str = "
    select count(*)
    from catalog.executions e
    cross join lateral (
        select count(*) as changes, min(revision) as first, max(revision) as last,
               count(*) filter (where state in ('succeeded', 'failed', 'cancelled')) as ends,
               max(revision) filter (where state = e.state) as ended
        from catalog.execution_history h
        where h.execution_id = e.execution_id
    ) history
    where changes <> e.revision or first <> 1 or last <> e.revision or ends <> 1 or ended <> last";
