//! Requests that come when they come, whatever becomes of those before (open loop).

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{outcome::Outcome, question::Question, scene::Lane, stage::Stage, visitor::Visitors};

/// The share of requests on a connection of their own.
const FRESH: f64 = 0.3;

/// How many, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// In all lanes together, on average.
    pub(crate) per_second: f64,
    pub(crate) seed: u64,
}

impl Load {
    /// Makes requests from `start` on until it is told to stop, and returns what came of each when all are over.
    pub(crate) async fn run(
        self,
        stage: Arc<Stage>,
        start: Instant,
        stop: CancellationToken,
    ) -> anyhow::Result<Vec<Outcome>> {
        let mut lanes = JoinSet::new();
        for (number, lane) in (1..).zip(Lane::ALL) {
            let visitors = Arc::new(Visitors::new(lane, stage.entry(lane.entry())));
            lanes.spawn(self.lane(number, visitors, start, stop.clone()));
        }
        let mut outcomes = Vec::new();
        while let Some(lane) = lanes.join_next().await {
            outcomes.extend(lane?);
        }
        outcomes.sort_by_key(|outcome| outcome.at);
        Ok(outcomes)
    }

    async fn lane(self, number: u64, visitors: Arc<Visitors>, start: Instant, stop: CancellationToken) -> Vec<Outcome> {
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_mul(31).wrapping_add(number));
        let per_second = self.per_second / Lane::ALL.len() as f64;
        let (mut at, mut id) = (start, number << 32);
        let (mut in_flight, mut outcomes) = (JoinSet::new(), Vec::new());
        loop {
            // A Poisson process: visitors know nothing of each other. 1 - u is never 0.
            at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / per_second);
            id += 1;
            let (question, fresh) = (Question::draw(id, &mut random), random.f64() < FRESH);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(at) => {}
            }
            let visitors = Arc::clone(&visitors);
            in_flight.spawn(async move { visitors.ask(question, fresh, at).await });
            while let Some(Ok(outcome)) = in_flight.try_join_next() {
                outcomes.push(outcome);
            }
        }
        while let Some(asked) = in_flight.join_next().await {
            outcomes.extend(asked);
        }
        outcomes
    }
}
