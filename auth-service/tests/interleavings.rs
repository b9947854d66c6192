//! Whatever happens to accounts in whatever order, on two replicas: no credential lives that should be dead, and none is dead that should live.

mod keys;
mod model;
mod step;
mod take;
mod world;

use std::{
    env,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::timeout;

use self::{
    step::{Random, Step, sequence},
    world::World,
};

/// What to begin with instead, to see again what failed.
const SEED: &str = "IHUMAN_TEST_SEED";
const SEEDS: std::ops::Range<u64> = 1..9;
const LENGTH: usize = 60;
const SEQUENCE_ENDS_WITHIN: Duration = Duration::from_secs(120);
/// How long to look for a shorter sequence that fails too.
const SHRUNK_WITHIN: Duration = Duration::from_secs(120);

/// Which step failed, and why.
struct Failure {
    at: usize,
    problem: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_interleaving_keeps_a_dead_credential_or_kills_a_living_one() {
    let seeds = match env::var(SEED) {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => SEEDS.collect(),
    };
    let run = async |seed| (seed, run(seed, &sequence(seed, LENGTH)).await);
    let mut running: FuturesUnordered<_> = seeds.into_iter().map(run).collect();
    while let Some((seed, failure)) = running.next().await {
        let Some(failure) = failure else { continue };
        running.clear();
        let (steps, failure) = shrink(seed, failure).await;
        let steps: Vec<_> = steps.iter().map(|it| format!("    {it:?}")).collect();
        let problem = failure.problem;
        panic!("{SEED}={seed}: {problem}, after\n{}", steps.join("\n"));
    }
}

/// Takes the steps one after another; returns the first that is not as the model has it.
async fn run(seed: u64, steps: &[Step]) -> Option<Failure> {
    let failed = |at, problem| Some(Failure { at, problem });
    let all = async {
        let mut world = World::start().await;
        // At which replica a step is taken must not follow from the others.
        let mut random = Random(seed);
        for (at, step) in steps.iter().enumerate() {
            let taken = async {
                world.take(random.below(2), *step).await?;
                world.check(false).await
            };
            if let Err(problem) = taken.await {
                return failed(at, problem);
            }
        }
        let ended = async {
            // From the newest to the oldest, since the use of an old one ends its session.
            for token in (0..world.model.refresh_tokens.len()).rev() {
                world.refresh(token % 2, token, None).await?;
            }
            world.check(true).await
        };
        ended.await.err().and_then(|problem| failed(steps.len(), problem))
    };
    match timeout(SEQUENCE_ENDS_WITHIN, all).await {
        Ok(ended) => ended,
        Err(_) => failed(steps.len(), "it does not end".to_owned()),
    }
}

/// A shorter sequence that fails too: without what can be left out.
async fn shrink(seed: u64, failure: Failure) -> (Vec<Step>, Failure) {
    let (started, mut failure) = (Instant::now(), failure);
    let mut steps = sequence(seed, LENGTH);
    steps.truncate(failure.at + 1);
    let mut chunk = steps.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() && started.elapsed() < SHRUNK_WITHIN {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            match run(seed, &fewer).await {
                Some(found) => {
                    fewer.truncate(found.at + 1);
                    (steps, failure) = (fewer, found);
                }
                None => at += chunk,
            }
        }
        chunk /= 2;
    }
    (steps, failure)
}
