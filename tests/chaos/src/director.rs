//! Makes the faults happen, and notes when.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    backend::Mood,
    fault::{Fault, Track},
    plan::Planned,
    promise::Promise,
    relay::Condition,
    scene::Node,
    stage::Stage,
};

/// A configuration that is none.
const NONSENSE: &str = "[tunnel\nlisten = \"nowhere\"\n";

/// How long a configuration may take to be in force.
pub(crate) const RELOAD_WITHIN: Duration = Duration::from_secs(3);

/// A fault that happened.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) fault: Fault,
    pub(crate) begin: Instant,
    /// When it was over.
    pub(crate) lifted: Instant,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) windows: Vec<Window>,
    /// Which configuration the server has had since when.
    pub(crate) generations: Vec<(Instant, u32)>,
    /// What went wrong that no request shows.
    pub(crate) breaches: Vec<String>,
}

/// Who makes faults happen.
#[derive(Debug)]
pub(crate) struct Director {
    stage: Arc<Stage>,
    tracks: HashMap<Track, Mutex<()>>,
    generations: StdMutex<HashMap<Node, u32>>,
    events: StdMutex<Events>,
}

impl Director {
    pub(crate) fn new(stage: Arc<Stage>) -> Self {
        let tracks = [Track::Web, Track::Solo].map(|track| (track, Mutex::default()));
        Self { stage, tracks: HashMap::from(tracks), generations: StdMutex::default(), events: StdMutex::default() }
    }

    /// Makes all of them happen, each at its time.
    ///
    /// # Errors
    ///
    /// When a process cannot be started, or has ended by itself.
    pub(crate) async fn run(self: &Arc<Self>, plan: Vec<Planned>, start: Instant) -> anyhow::Result<Events> {
        let mut faults = JoinSet::new();
        for Planned { fault, at } in plan {
            let this = Arc::clone(self);
            faults.spawn(async move {
                sleep_until(start + at).await;
                this.happen(fault).await
            });
        }
        while let Some(happened) = faults.join_next().await {
            happened??;
        }
        let mut events = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        events.windows.sort_by_key(|window| window.begin);
        Ok(events)
    }

    async fn happen(&self, fault: Fault) -> anyhow::Result<()> {
        // One that took longer than planned does not meet the next. All take them in the same order.
        let mut held = Vec::new();
        for track in fault.tracks() {
            held.push(self.tracks[track].lock().await);
        }
        let begin = Instant::now();
        let lifted = self.inject(fault).await?;
        self.note(|events| events.windows.push(Window { fault, begin, lifted }));
        sleep_until(lifted + Promise::settles_within(&fault)).await;
        Ok(())
    }

    /// Makes a fault happen, and returns when it was over.
    async fn inject(&self, fault: Fault) -> anyhow::Result<Instant> {
        match fault {
            Fault::Kill { node, down } => {
                self.stage.process(node).await.kill().await?;
                sleep(down).await;
                return self.start(node).await;
            }
            Fault::Stop { node } => {
                let ended = self.stage.process(node).await.stop().await;
                match ended {
                    Ok(status) if status.success() => {}
                    Ok(status) => self.breach(format!("{} ended with {status} after SIGTERM", node.name())),
                    Err(error) => self.breach(format!("{error:#}")),
                }
                return self.start(node).await;
            }
            Fault::Freeze { node, length } => {
                self.stage.process(node).await.signal(Signal::STOP)?;
                sleep(length).await;
                self.stage.process(node).await.signal(Signal::CONT)?;
            }
            Fault::Path { client, weather, length } => {
                let (there, back) = weather.conditions()?;
                self.stage.relay(client)?.set(there, back);
                sleep(length).await;
                self.stage.relay(client)?.set(Condition::default(), Condition::default());
            }
            Fault::Rebind { client, times } => {
                for _ in 0..times {
                    self.stage.relay(client)?.rebind()?;
                    sleep(Duration::from_secs(1)).await;
                }
            }
            Fault::Upstream { upstream, mood, length } => {
                self.stage.backend(upstream).set(mood);
                sleep(length).await;
                self.stage.backend(upstream).set(Mood::Well);
            }
            Fault::Reload { node } => {
                let generation = self.generation(node) + 1;
                self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(node, generation);
                self.stage.process(node).await.configure(&self.stage.config(node, generation)?)?;
                if node == Node::Server {
                    self.note(|events| events.generations.push((Instant::now(), generation)));
                }
                self.stage.process(node).await.signal(Signal::HUP)?;
                sleep(fault.length()).await;
            }
            Fault::BadReload { node } => {
                self.stage.process(node).await.configure(NONSENSE)?;
                self.stage.process(node).await.signal(Signal::HUP)?;
                sleep(fault.length()).await;
                let good = self.stage.config(node, self.generation(node))?;
                self.stage.process(node).await.configure(&good)?;
            }
        }
        Ok(Instant::now())
    }

    /// Starts a node again, and returns when it is there: a server with its entries, a client as soon as it runs.
    async fn start(&self, node: Node) -> anyhow::Result<Instant> {
        self.stage.process(node).await.start()?;
        let started = Instant::now();
        if node == Node::Server {
            self.stage.until_ready(node).await?;
            return Ok(Instant::now());
        }
        Ok(started)
    }

    fn generation(&self, node: Node) -> u32 {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.get(&node).copied().unwrap_or_default()
    }

    fn breach(&self, what: String) {
        self.note(|events| events.breaches.push(what));
    }

    fn note(&self, note: impl FnOnce(&mut Events)) {
        note(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
