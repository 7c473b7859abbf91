//! What a process holds, measured from outside.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{admin, scene::Node, stage::Stage};

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is measured, in the order of [`Sample::values`].
pub(crate) const NAMES: [&str; 6] = ["RSS MiB", "descriptors", "threads", "tasks", "links", "in flight"];

/// What a process held at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) values: [f64; 6],
}

impl Sample {
    /// Looks at a process.
    ///
    /// # Errors
    ///
    /// When it does not run or does not answer.
    pub(crate) async fn of(stage: &Stage, node: Node) -> anyhow::Result<Self> {
        let pid = stage.process(node).await.pid()?.as_raw_nonzero();
        let metrics = admin::get(stage.admin(node), "/metrics").await?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let figure = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            figure.with_context(|| format!("no {name} of {pid}"))
        };
        let metric = |name| admin::sum(&metrics, name);
        let values = [
            figure("VmRSS:")? / 1024.0,
            metric("process_open_fds"),
            figure("Threads:")?,
            metric("adit_tasks"),
            metric("adit_links"),
            metric("adit_exchanges_in_flight"),
        ];
        Ok(Self { at: Instant::now(), values })
    }
}

/// Looks at a process again and again, until it is dropped; what is frozen is left out.
pub(crate) async fn watch(stage: Arc<Stage>, node: Node, note: impl Fn(Sample)) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(sample) = Sample::of(&stage, node).await {
            note(sample);
        }
    }
}
