//! A visitor who should notice nothing.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// What the backend answers.
pub(crate) const ANSWER: &str = "here I am, and well";

/// How often it asks.
const EVERY: Duration = Duration::from_millis(20);

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the canary fared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fared {
    /// How long each request took, sorted; from when it was due.
    took: Vec<Duration>,
    /// What went wrong, one for each that failed.
    pub(crate) errors: Vec<String>,
}

impl Fared {
    pub(crate) fn requests(&self) -> usize {
        self.took.len() + self.errors.len()
    }

    /// Returns what so many of a thousand took at most.
    pub(crate) fn per_mille(&self, share: usize) -> Duration {
        let last = self.took.len().saturating_sub(1);
        self.took.get(last * share / 1_000).copied().unwrap_or(PATIENCE)
    }
}

type Idle = Mutex<Vec<SendRequest<Empty<Bytes>>>>;

/// Asks at its rate, whatever becomes of what it asked before.
pub(crate) async fn ask(entry: SocketAddr, length: Duration) -> Fared {
    let idle: &'static Idle = Box::leak(Box::default());
    let (mut asked, end) = (JoinSet::new(), Instant::now() + length);
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < end {
        let due_at = due.tick().await;
        asked.spawn(async move {
            let answered = timeout(PATIENCE, one(entry, idle)).await;
            let answered = answered.map_err(anyhow::Error::from).and_then(|answered| answered);
            answered.map(|()| due_at.elapsed())
        });
    }
    let mut fared = Fared::default();
    while let Some(ended) = asked.join_next().await {
        match ended.map_err(anyhow::Error::from).and_then(|answered| answered) {
            Ok(took) => fared.took.push(took),
            Err(error) => fared.errors.push(format!("{error:#}")),
        }
    }
    fared.took.sort_unstable();
    fared
}

/// Waits until it is answered for the first time.
pub(crate) async fn answered(entry: SocketAddr, within: Duration) -> anyhow::Result<()> {
    let idle = Idle::default();
    let asked = async {
        while one(entry, &idle).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(within, asked).await.context("nobody answers")
}

async fn one(entry: SocketAddr, idle: &Idle) -> anyhow::Result<()> {
    let kept = idle.lock().await.pop().filter(|kept| !kept.is_closed());
    let mut connection = match kept {
        Some(kept) => kept,
        None => connect(entry).await?,
    };
    connection.ready().await?;
    let request = Request::get("/canary").header("host", "app.test").body(Empty::new())?;
    let response = connection.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    anyhow::ensure!(status == 200 && body == ANSWER, "{status} {}", String::from_utf8_lossy(&body));
    idle.lock().await.push(connection);
    Ok(())
}

async fn connect(entry: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let tcp = TcpStream::connect(entry).await?;
    tcp.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(tcp)).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with its connection")]
    tokio::spawn(connection);
    Ok(sender)
}
