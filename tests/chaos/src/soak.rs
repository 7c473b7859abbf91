//! Whether processes grow while everything goes wrong, and give back what they took.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    growth::Growth,
    judge::Verdict,
    sample::{NAMES, Sample, watch},
    scene::Node,
    stage::Stage,
};

/// The nodes that live all the time.
const WATCHED: [Node; 3] = [Node::Server, Node::Web1, Node::Solo];

/// The share of the time after which what grows is not warming up.
const WARM_UP: f64 = 0.25;

/// How much each may grow all in all, in the order of [`NAMES`]: what is in flight, and pools with it, come and go with
/// the faults.
const GROWTH_MAX: [f64; 6] = [12.0, 60.0, 1.0, 60.0, 1.0, 40.0];

/// How much may be left of what there was not before the load: connections to upstreams are kept for a minute.
const LEFT_MAX: [f64; 6] = [f64::INFINITY, 3.0, 1.0, 4.0, 0.0, 0.0];

/// How long it may take to give back what was taken.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Soak {
    stage: Arc<Stage>,
    before: Vec<Sample>,
    seen: Arc<Mutex<Vec<(Node, Sample)>>>,
    watchers: JoinSet<()>,
    start: Instant,
}

impl Soak {
    /// Begins to watch, before there is any load.
    ///
    /// # Errors
    ///
    /// When a process does not answer.
    pub(crate) async fn begin(stage: &Arc<Stage>) -> anyhow::Result<Self> {
        let mut before = Vec::new();
        for node in WATCHED {
            before.push(Sample::of(stage, node).await?);
        }
        let (seen, mut watchers) = (Arc::<Mutex<Vec<_>>>::default(), JoinSet::new());
        for node in WATCHED {
            let seen = Arc::clone(&seen);
            let note = move |sample| seen.lock().unwrap_or_else(PoisonError::into_inner).push((node, sample));
            watchers.spawn(watch(Arc::clone(stage), node, note));
        }
        Ok(Self { stage: Arc::clone(stage), before, seen, watchers, start: Instant::now() })
    }

    /// Says how much grew until `end`, and whether everything that was taken is given back after it. Returns a table.
    pub(crate) async fn judge(mut self, end: Instant, verdict: &mut Verdict) -> String {
        self.watchers.shutdown().await;
        let mut text =
            String::from("| process | what | before | mean | grows each minute | after |\n|---|---|---|---|---|---|\n");
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let warm = self.start + (end - self.start).mul_f64(WARM_UP);
        for (node, before) in WATCHED.into_iter().zip(&self.before) {
            let after = self.given_back(node, before, verdict).await;
            for (index, name) in NAMES.into_iter().enumerate() {
                let samples = seen.iter().filter(|(of, sample)| *of == node && sample.at > warm && sample.at < end);
                let points: Vec<_> = samples.map(|(_, sample)| (sample.at - warm, sample.values[index])).collect();
                let growth = Growth::of(&points);
                if growth.is_clear(GROWTH_MAX[index]) {
                    verdict.complain("It grows".to_owned(), format!("{name} of {}: {growth:.2?}", node.name()));
                }
                let after = after.map_or("-".to_owned(), |after| format!("{:.0}", after.values[index]));
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "| {} | {name} | {:.0} | {:.1} | {:+.2} | {after} |",
                    node.name(),
                    before.values[index],
                    growth.mean,
                    growth.per_minute
                );
            }
        }
        text
    }

    /// Waits until a process holds what it held before.
    async fn given_back(&self, node: Node, before: &Sample, verdict: &mut Verdict) -> Option<Sample> {
        let start = Instant::now();
        loop {
            let now = Sample::of(&self.stage, node).await;
            let left = |now: &Sample| {
                let kinds = (0..NAMES.len()).filter(|kind| now.values[*kind] > before.values[*kind] + LEFT_MAX[*kind]);
                kinds.map(|kind| NAMES[kind]).collect::<Vec<_>>()
            };
            match now {
                Ok(now) if left(&now).is_empty() => return Some(now),
                Ok(_) | Err(_) if start.elapsed() < BACK_WITHIN => sleep(LOOK_EVERY).await,
                Ok(now) => {
                    let case = format!(
                        "{:?} of {}: {:?} before, {:?} now",
                        left(&now),
                        node.name(),
                        before.values,
                        now.values
                    );
                    verdict.complain("It keeps what it took".to_owned(), case);
                    return Some(now);
                }
                Err(error) => {
                    verdict.complain("It keeps what it took".to_owned(), format!("{}: {error:#}", node.name()));
                    return None;
                }
            }
        }
    }
}
