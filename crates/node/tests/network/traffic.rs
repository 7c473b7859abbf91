//! What goes over a link.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use adit_core::{
    id::{Identity, SessionId},
    limits::Limits,
};
use adit_node::{
    link::{Link, transport},
    settings::Congestion,
    upgrade::Raw,
};
use bench_network::{Network, Side};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::{JoinSet, spawn_local},
    time::{Instant, sleep, sleep_until},
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);

/// The side that answers, and sends the most.
pub(crate) const SENDER: Side = Side::Right;

/// What is written at once.
static CHUNK: [u8; 32 * 1024] = [7; 32 * 1024];

/// The two ends of a link.
#[derive(Clone)]
pub(crate) struct Ends {
    pub(crate) asking: Link,
    pub(crate) answering: Link,
}

impl Ends {
    /// Connects two nodes.
    pub(crate) async fn new(network: &Network, congestion: Congestion) -> Self {
        let (asking, answering) = network.connect_with(transport::config(congestion)).await;
        let link = |quic| {
            let link = Link::new(quic, SessionId(1), Identity::certified("peer"), &Limits::default());
            let following = link.clone();
            spawn_local(async move { match following.follow_tail().await {} });
            link
        };
        Self { asking: link(asking), answering: link(answering) }
    }

    /// Answers every request with so many bytes.
    pub(crate) fn serve(&self, bytes: usize) {
        self.answer(async move |mut stream: Raw| {
            let mut request = Vec::new();
            if stream.read_to_end(&mut request).await.is_ok() {
                let _ = stream.write_all(&vec![1; bytes]).await;
                let _ = stream.shutdown().await;
            }
        });
    }

    /// Answers every request with as many bytes as it asks for.
    pub(crate) fn serve_as_asked(&self) {
        self.answer(async |mut stream: Raw| {
            if let Ok(bytes) = stream.read_u32().await {
                let _ = stream.write_all(&vec![1; bytes as usize]).await;
                let _ = stream.shutdown().await;
            }
        });
    }

    /// Asks for so many bytes, and returns how many came.
    pub(crate) async fn fetch(&self, bytes: usize) -> usize {
        self.exchange_with(&u32::try_from(bytes).unwrap().to_be_bytes()).await
    }

    fn answer(&self, handle: impl AsyncFn(Raw) + Clone + 'static) {
        let answering = self.answering.clone();
        spawn_local(async move {
            let mut tasks = JoinSet::new();
            while let Ok((send, receive)) = answering.accept(tasks.len()).await {
                while tasks.try_join_next().is_some() {}
                let handle = handle.clone();
                tasks.spawn_local(async move { handle(Raw::new(send, receive)).await });
            }
        });
    }

    /// Asks so many times a second, at random, each time counted from when it should have been asked. Returns how
    /// long the answers took, sorted.
    pub(crate) async fn ask(&self, seed: u64, per_second: f64, lasts: Duration) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(seed);
        let end = Instant::now() + lasts;
        let mut at = Instant::now();
        let took = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = JoinSet::new();
        loop {
            at += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / per_second);
            if at > end {
                break;
            }
            sleep_until(at).await;
            let (ends, took) = (self.clone(), Rc::clone(&took));
            tasks.spawn_local(async move {
                ends.exchange(1024).await;
                took.borrow_mut().push(at.elapsed());
            });
        }
        while let Some(asked) = tasks.join_next().await {
            asked.unwrap();
        }
        let mut took = took.take();
        took.sort();
        took
    }

    /// Asks once with so many bytes, and returns how many came back.
    pub(crate) async fn exchange(&self, bytes: usize) -> usize {
        self.exchange_with(&vec![2; bytes]).await
    }

    async fn exchange_with(&self, request: &[u8]) -> usize {
        let (send, receive) = self.asking.open().await.unwrap();
        let mut stream = Raw::new(send, receive);
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap()
    }

    /// Begins to send over so many streams without an end.
    pub(crate) async fn flow(&self, streams: usize) -> Flow {
        self.answer(async |mut stream: Raw| while stream.write_all(&CHUNK).await.is_ok() {});
        let arrived = Rc::new(Cell::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            let (send, receive) = self.asking.open().await.unwrap();
            let arrived = Rc::clone(&arrived);
            tasks.spawn_local(async move {
                let mut stream = Raw::new(send, receive);
                stream.write_all(b"go").await.unwrap();
                let mut buffer = vec![0; CHUNK.len()];
                while let Ok(length) = stream.read(&mut buffer).await {
                    arrived.set(arrived.get() + length as u64);
                }
            });
        }
        Flow { arrived, _tasks: tasks }
    }
}

/// Streams that are being read. Dropped, it stops them.
pub(crate) struct Flow {
    arrived: Rc<Cell<u64>>,
    _tasks: JoinSet<()>,
}

impl Flow {
    /// Returns how many bytes have arrived so far.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.get()
    }

    /// Returns what arrives from now on, in Mbit/s.
    pub(crate) async fn mbits(&self, lasts: Duration) -> f64 {
        let before = self.arrived();
        sleep(lasts).await;
        (self.arrived() - before) as f64 * 8e-6 / lasts.as_secs_f64()
    }
}

/// Returns the value that so many of a hundred are not above.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Returns the value in the middle.
pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}
