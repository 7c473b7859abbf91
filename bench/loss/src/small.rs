//! Small requests, open loop.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout_at};

use crate::{
    connection::Pool,
    content::{Content, digest},
    schedule::{Arrival, announce, poisson},
    statistics::Latencies,
};

/// What one request carries.
pub(crate) const REQUEST_BYTES: usize = 1024;

/// What its response carries.
pub(crate) const RESPONSE_BYTES: usize = 10 * 1024;

/// Where the backend answers such requests.
pub(crate) const PATH: &str = "/small";

/// How long a visitor waits. What takes longer, and what fails, counts as this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that are open before the first request.
const CONNECTIONS: usize = 32;

/// How much to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// Requests before this are not counted.
    pub(crate) warm_up: Duration,
    /// How long requests come after that.
    pub(crate) length: Duration,
    /// Decides when they come.
    pub(crate) seed: u64,
}

/// What came of the requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// All that were counted.
    pub(crate) requests: u32,
    /// Those that were refused or broke off.
    pub(crate) errors: u32,
    /// Those that nobody would have waited for.
    pub(crate) timeouts: u32,
    /// Those whose response was not theirs.
    pub(crate) wrong: u32,
    /// The first error, as an example.
    pub(crate) example: Option<String>,
    /// Latencies at the quantiles that are kept.
    pub(crate) quantiles_ms: Vec<f64>,
}

/// Sends requests to an entry as they come, and returns when each of them was answered or given up.
pub(crate) async fn run(entry: SocketAddr, load: Load) -> anyhow::Result<Answers> {
    let pool = Arc::new(Pool::open(entry, CONNECTIONS).await?);
    let times = poisson(load.per_second, load.warm_up + load.length, load.seed);
    let start = Instant::now();
    let counted_from = start + load.warm_up;
    let mut arrivals = announce(times, start);
    let (mut answers, mut latencies) = (Answers::default(), Latencies::new(PATIENCE)?);
    let mut in_flight = JoinSet::new();
    let mut open = true;
    while open || !in_flight.is_empty() {
        tokio::select! {
            biased;
            arrival = arrivals.recv(), if open => match arrival {
                Some(arrival) => drop(in_flight.spawn(ask(Arc::clone(&pool), arrival))),
                None => open = false,
            },
            Some(asked) = in_flight.join_next() => {
                let (at, asked) = asked?;
                if at >= counted_from {
                    answers.count(asked, &mut latencies);
                }
            }
        }
    }
    answers.quantiles_ms = latencies.quantiles_ms();
    Ok(answers)
}

/// Why a request has no response.
#[derive(Debug)]
enum Failed {
    Timeout,
    Status(StatusCode),
    Wrong,
    Broken(String),
}

impl Answers {
    fn count(&mut self, asked: Result<Duration, Failed>, latencies: &mut Latencies) {
        self.requests += 1;
        latencies.add(*asked.as_ref().unwrap_or(&PATIENCE));
        let Err(failed) = asked else { return };
        match failed {
            Failed::Timeout => self.timeouts += 1,
            Failed::Wrong => self.wrong += 1,
            Failed::Status(_) | Failed::Broken(_) => self.errors += 1,
        }
        match failed {
            Failed::Timeout | Failed::Wrong => {}
            Failed::Status(status) => drop(self.example.get_or_insert_with(|| format!("answered {status}"))),
            Failed::Broken(why) => drop(self.example.get_or_insert(why)),
        }
    }
}

async fn ask(pool: Arc<Pool>, arrival: Arrival) -> (Instant, Result<Duration, Failed>) {
    let asked = timeout_at((arrival.at + PATIENCE).into(), exchange(&pool, arrival.number)).await;
    let asked = asked.unwrap_or(Err(Failed::Timeout));
    (arrival.at, asked.map(|()| arrival.at.elapsed()))
}

async fn exchange(pool: &Pool, number: u64) -> Result<(), Failed> {
    let mut connection = pool.take().await.map_err(|error| Failed::Broken(format!("connecting: {error:#}")))?;
    let body = Content::new(number).next(REQUEST_BYTES);
    let seed = digest(&body);
    let broken = |error: &dyn std::fmt::Display| Failed::Broken(error.to_string());
    let mut request = Request::new(Full::<Bytes>::new(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(PATH);
    let response = connection.ask(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), RESPONSE_BYTES + 1).collect().await;
    let body = body.map_err(|error| broken(&error))?.to_bytes();
    if status != StatusCode::OK {
        return Err(Failed::Status(status));
    }
    if body.len() != RESPONSE_BYTES || !Content::new(seed).expects(&body) {
        return Err(Failed::Wrong);
    }
    pool.give_back(connection);
    Ok(())
}
