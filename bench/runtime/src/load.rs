//! A closed loop: every connection asks again as soon as it was answered.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// What was done in a round.
#[derive(Debug)]
pub(crate) struct Done {
    requests: u32,
    took: Duration,
}

impl Done {
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.requests) / self.took.as_secs_f64()
    }

    /// Shares `cpu` out among the requests, in microseconds.
    pub(crate) fn micros_each(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / f64::from(self.requests)
    }
}

pub(crate) async fn run(entry: SocketAddr, connections: usize, round: Duration) -> anyhow::Result<Done> {
    let start = Instant::now();
    let mut loops = JoinSet::new();
    for _ in 0..connections {
        loops.spawn(ask_until(entry, start + round));
    }
    let mut requests = 0;
    while let Some(asked) = loops.join_next().await {
        requests += asked??;
    }
    Ok(Done { requests, took: start.elapsed() })
}

async fn ask_until(entry: SocketAddr, end: Instant) -> anyhow::Result<u32> {
    let tcp = TcpStream::connect(entry).await?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut requests = 0;
    while Instant::now() < end {
        sender.ready().await?;
        let request = Request::get("/").header("host", "bench.localhost").body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        ensure!(response.status() == 200, "answered {}", response.status());
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(body.len() == 64, "a body of {} bytes", body.len());
        requests += 1;
    }
    Ok(requests)
}
