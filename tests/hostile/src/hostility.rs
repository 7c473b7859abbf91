//! An attack that runs on a thread of its own, and the load that it is compared with.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use adit_tests::{
    attack::{
        Attack, End, Foe, asks_honestly,
        stranger::{Approach, Stranger},
    },
    peer::{Host, Peer},
    trust::Trust,
};
use clap::ValueEnum;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::ground::Ground;

/// How long one of several attacks has its turn, where it does not end its link.
const TURN: Duration = Duration::from_secs(1);

/// How long the attacker waits for a link.
const LINK_WITHIN: Duration = Duration::from_secs(10);

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// A client, or who wants to be one: the server suffers.
    Client,
    /// A server: the client suffers.
    Server,
}

/// What is done: one attack, or several that take turns.
#[derive(Clone)]
pub(crate) enum Hostility {
    Stranger(Vec<&'static Approach>),
    Client(Vec<&'static Attack>),
    Server(Vec<&'static Attack>),
}

impl fmt::Display for Hostility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, names) = match self {
            Self::Stranger(approaches) => ("stranger", approaches.iter().map(|approach| approach.name).collect()),
            Self::Client(attacks) => ("client", names(attacks)),
            Self::Server(attacks) => ("server", names(attacks)),
        };
        match names[..] {
            [name] => write!(f, "{by}: {name}"),
            _ => write!(f, "{by}: all {}", names.len()),
        }
    }
}

impl Hostility {
    pub(crate) fn side(&self) -> Side {
        match self {
            Self::Stranger(_) | Self::Client(_) => Side::Client,
            Self::Server(_) => Side::Server,
        }
    }

    /// Returns whether it is to end with the link.
    pub(crate) fn ends_the_link(&self) -> bool {
        match self {
            Self::Stranger(_) => false,
            Self::Client(attacks) | Self::Server(attacks) => attacks.iter().all(|attack| attack.end != End::Borne),
        }
    }

    /// Begins it.
    pub(crate) fn start(self, ground: &Ground, rounds: u32) -> Running {
        let every = Duration::from_secs(1) / rounds.max(1);
        let (server, trust) = (ground.tunnel, Arc::clone(&ground.trust));
        match self {
            Self::Stranger(approaches) => {
                Running::start(move |counts| approach(approaches, server, trust, every, counts))
            }
            Self::Client(attacks) => {
                Running::start(move |counts| attack_from(attacks, Door::Client(server, trust), every, counts))
            }
            Self::Server(attacks) => {
                let host = ground.host.lock().ok().and_then(|mut host| host.take());
                Running::start(move |counts| async move {
                    if let Some(socket) = host {
                        attack_from(attacks, Door::Server(Host::listen_on(socket, &trust)), every, counts).await;
                    }
                })
            }
        }
    }
}

/// What an attack was, or a load is to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Volume {
    pub(crate) links: f64,
    pub(crate) exchanges: f64,
    pub(crate) bytes: f64,
    seconds: f64,
}

impl Volume {
    pub(crate) fn per_second(self) -> Self {
        let seconds = self.seconds.max(0.001);
        Self {
            links: self.links / seconds,
            exchanges: self.exchanges / seconds,
            bytes: self.bytes / seconds,
            seconds: 1.0,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    links: AtomicU64,
    exchanges: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// Takes down what a link has carried.
    fn add(&self, peer: &Peer) {
        let stats = peer.quic.stats();
        // Both ways: to ask for much costs the node as much as to send it, and the load gets back what it sends.
        self.bytes.fetch_add(stats.udp_tx.bytes.max(stats.udp_rx.bytes), Relaxed);
    }
}

/// Something that runs on a thread of its own until it is ended.
#[derive(Debug)]
pub(crate) struct Running {
    counts: Arc<Counts>,
    since: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start<F: Future<Output = ()>>(run: impl FnOnce(Arc<Counts>) -> F + Send + 'static) -> Self {
        let counts = Arc::<Counts>::default();
        let theirs = Arc::clone(&counts);
        let thread = thread::spawn(move || {
            // Without one the attack has no volume, which the table shows.
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                runtime.block_on(run(theirs));
            }
        });
        Self { counts, since: Instant::now(), thread: Some(thread) }
    }

    /// Ends it, and returns how much it was.
    pub(crate) fn end(mut self) -> Volume {
        self.counts.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
        #[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
        let count = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        Volume {
            links: count(&self.counts.links),
            exchanges: count(&self.counts.exchanges),
            bytes: count(&self.counts.bytes),
            seconds: self.since.elapsed().as_secs_f64(),
        }
    }
}

/// Where a foe gets its links.
enum Door {
    Client(SocketAddr, Arc<Trust>),
    Server(Host),
}

impl Door {
    async fn link(&self) -> Option<Peer> {
        let link = async {
            match self {
                Self::Client(server, trust) => Peer::try_join_named("foe", *server, trust).await,
                Self::Server(host) => host.try_welcome().await,
            }
        };
        timeout(LINK_WITHIN, link).await.ok()?
    }
}

fn names(attacks: &[&'static Attack]) -> Vec<&'static str> {
    attacks.iter().map(|attack| attack.name).collect()
}

async fn attack_from(attacks: Vec<&'static Attack>, door: Door, every: Duration, counts: Arc<Counts>) {
    let mut turns = attacks.iter().cycle();
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while counts.goes_on() {
        let Some(peer) = door.link().await else { continue };
        counts.links.fetch_add(1, Relaxed);
        let Some(attack) = turns.next() else { return };
        let (mut foe, since) = (Foe::new(peer), Instant::now());
        loop {
            due.tick().await;
            // A round that waits for room ends with the attack.
            let round = timeout(LINK_WITHIN, foe.round(attack)).await;
            counts.exchanges.fetch_add(foe.opened(), Relaxed);
            let next = attacks.len() > 1 && since.elapsed() > TURN;
            if next || !counts.goes_on() || round.is_ok_and(|round| round.is_err()) {
                break;
            }
        }
        counts.add(&foe.peer);
    }
}

async fn approach(
    approaches: Vec<&'static Approach>,
    server: SocketAddr,
    trust: Arc<Trust>,
    every: Duration,
    counts: Arc<Counts>,
) {
    let (mut stranger, mut turns) = (Stranger::new(server, trust), approaches.iter().cycle());
    let mut due = interval(every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while counts.goes_on() {
        due.tick().await;
        let Some(approach) = turns.next() else { return };
        let round = timeout(LINK_WITHIN, stranger.round(approach)).await;
        if let Ok((connections, bytes)) = round {
            counts.links.fetch_add(connections, Relaxed);
            counts.bytes.fetch_add(bytes, Relaxed);
        }
    }
}

/// Runs legitimate load: as many links, exchanges and bytes a second, from where the attack came.
pub(crate) fn legitimate(ground: &Ground, per_second: Volume) -> Running {
    let (server, trust) = (ground.tunnel, Arc::clone(&ground.trust));
    let host = ground.host.lock().ok().and_then(|mut host| host.take());
    let side = ground.side;
    Running::start(move |counts| async move {
        let door = match (side, host) {
            (Side::Server, Some(socket)) => Door::Server(Host::listen_on(socket, &trust)),
            _ => Door::Client(server, trust),
        };
        load(door, per_second, &counts).await;
    })
}

/// How many links the legitimate load leaves to themselves.
const LINKS_LEFT: usize = 3;

async fn load(door: Door, per_second: Volume, counts: &Counts) {
    const TICK: Duration = Duration::from_millis(100);
    let mut due = interval(TICK);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut owed, mut asked) = (Volume::default(), JoinSet::new());
    let (mut link, mut left) = (None, VecDeque::new());
    while counts.goes_on() {
        due.tick().await;
        let share = TICK.as_secs_f64();
        owed.links = (owed.links + per_second.links * share).min(10.0);
        owed.exchanges = (owed.exchanges + per_second.exchanges * share).min(1_000.0);
        owed.bytes = (owed.bytes + per_second.bytes * share).min(16e6);
        while link.is_none() || (owed.links >= 1.0 && counts.goes_on()) {
            owed.links -= 1.0;
            // What is in flight on it comes to its end.
            left.extend(link.take());
            left.drain(..left.len().saturating_sub(LINKS_LEFT));
            link = door.link().await;
            if !counts.goes_on() {
                return;
            }
        }
        let Some(peer) = &link else { continue };
        let bytes_each = owed.bytes / owed.exchanges.max(1.0);
        while owed.exchanges >= 1.0 || owed.bytes >= 32_768.0 {
            owed.exchanges = (owed.exchanges - 1.0).max(0.0);
            owed.bytes = (owed.bytes - bytes_each.max(200.0)).max(0.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few MB at most")]
            let body = (bytes_each - 200.0).max(0.0) as usize;
            asked.spawn(asks_honestly(peer.quic.clone(), body));
        }
        // How they went is not what is measured.
        while asked.try_join_next().is_some() {}
        if peer.quic.close_reason().is_some() {
            link = None;
        }
    }
}
