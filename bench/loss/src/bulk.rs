//! Downloads.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout_at};

use crate::{connection::Connection, content::Content};

/// Where the backend answers downloads; the number of bytes follows.
pub(crate) const PATH: &str = "/bulk/";

/// The seed of every download.
pub(crate) const SEED: u64 = 77;

/// How much one download alone carries.
const ALONE_BYTES: u64 = 64 * 1024 * 1024;

/// How long one download alone may take.
pub(crate) const ALONE_LIMIT: Duration = Duration::from_secs(15);

/// How much one of many downloads carries.
const BESIDE_BYTES: u64 = 1024 * 1024;

/// What arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Downloaded {
    pub(crate) bytes: u64,
    /// From the first request to the last byte, or to the limit.
    pub(crate) seconds: f64,
    /// Whether all of it arrived in time.
    pub(crate) complete: bool,
    /// Why not, if it broke off.
    pub(crate) fault: Option<String>,
}

impl Downloaded {
    pub(crate) fn mbit(&self) -> f64 {
        // Exact up to 2^53.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
        let bits = (self.bytes * 8) as f64;
        if self.seconds > 0.0 { bits / self.seconds / 1e6 } else { 0.0 }
    }
}

/// Downloads once, over a connection that is open before the clock starts.
pub(crate) async fn alone(entry: SocketAddr) -> anyhow::Result<Downloaded> {
    let mut connection = Connection::open(entry).await?;
    let bytes = AtomicU64::new(0);
    let start = Instant::now();
    let downloaded = timeout_at((start + ALONE_LIMIT).into(), download(&mut connection, ALONE_BYTES, &bytes)).await;
    let (complete, fault) = match downloaded {
        Ok(Ok(())) => (true, None),
        Ok(Err(error)) => (false, Some(format!("{error:#}"))),
        Err(_) => (false, None),
    };
    let seconds = start.elapsed().as_secs_f64();
    Ok(Downloaded { bytes: bytes.into_inner(), seconds, complete, fault })
}

/// Downloads that go on until they are dropped, each again and again over its connection.
#[derive(Debug)]
pub(crate) struct Background {
    bytes: Arc<AtomicU64>,
    start: Instant,
    _downloads: JoinSet<()>,
}

impl Background {
    pub(crate) fn start(entry: SocketAddr, downloads: usize) -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for _ in 0..downloads {
            let bytes = Arc::clone(&bytes);
            running.spawn(async move {
                // A new connection when one breaks off; an entry that refuses at once is not asked in a tight loop.
                while again(entry, &bytes).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        Self { bytes, start: Instant::now(), _downloads: running }
    }

    /// Stops, and returns what arrived.
    pub(crate) fn stop(self) -> Downloaded {
        let (bytes, seconds) = (self.bytes.load(Ordering::Relaxed), self.start.elapsed().as_secs_f64());
        Downloaded { bytes, seconds, complete: true, fault: None }
    }
}

/// Downloads again and again until one breaks off.
async fn again(entry: SocketAddr, bytes: &AtomicU64) -> anyhow::Result<()> {
    let mut connection = Connection::open(entry).await?;
    loop {
        download(&mut connection, BESIDE_BYTES, bytes).await?;
    }
}

async fn download(connection: &mut Connection, length: u64, arrived: &AtomicU64) -> anyhow::Result<()> {
    let request = Request::get(format!("{PATH}{length}")).body(Full::<Bytes>::default())?;
    let response = connection.ask(request).await?;
    ensure!(response.status() == StatusCode::OK, "answered {}", response.status());
    let (mut body, mut content, mut left) = (response.into_body(), Content::new(SEED), length);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        ensure!(content.expects(&data), "other bytes than were sent");
        let length = u64::try_from(data.len())?;
        left = left.checked_sub(length).context("more bytes than were sent")?;
        arrived.fetch_add(length, Ordering::Relaxed);
    }
    ensure!(left == 0, "{left} bytes are missing");
    Ok(())
}
