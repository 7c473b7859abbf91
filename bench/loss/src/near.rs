//! The end with the visitors and the tunnel's server.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::{
    bulk::{self, Background, Downloaded},
    cell::Scenario,
    connection::Connection,
    programs::{Place, Program, Side},
    small::{self, Answers, Load},
};

/// How many small requests a second, alone and beside downloads.
const PER_SECOND: f64 = 200.0;
const PER_SECOND_BESIDE: f64 = 50.0;

/// How many downloads run beside small requests.
const DOWNLOADS: usize = 32;

/// Requests before this are not counted.
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);

/// How long a tunnel may take until the first request gets through: its connection starts on the lossy path too.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a request that only tries may take, and the time between two.
const TRY_LIMIT: Duration = Duration::from_secs(3);
const TRY_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    scenario: Scenario,
    #[arg(long)]
    seed: u64,
    /// How long small requests are counted
    #[arg(long)]
    seconds: u64,
    /// Where to write what was measured
    #[arg(long)]
    result: PathBuf,
}

/// What was measured in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) small: Option<Answers>,
    pub(crate) bulk: Option<Downloaded>,
}

/// Runs the load once and writes what was measured.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(args))?;
    fs::write(&args.result, serde_json::to_vec(&measured)?).context("writing the result")
}

async fn measure(args: &Args) -> anyhow::Result<Measured> {
    let place = &args.place;
    let start = |command| Program::start(command, &place.log("server"));
    let mut server = place.command(Side::Server)?.map(start).transpose()?;
    let entry = place.entry();
    until_ready(entry, server.as_mut()).await?;
    let load =
        |per_second| Load { per_second, warm_up: WARM_UP, length: Duration::from_secs(args.seconds), seed: args.seed };
    Ok(match args.scenario {
        Scenario::Small => Measured { small: Some(small::run(entry, load(PER_SECOND)).await?), bulk: None },
        Scenario::Bulk => Measured { small: None, bulk: Some(bulk::alone(entry).await?) },
        Scenario::Mixed => {
            let background = Background::start(entry, DOWNLOADS);
            let small = small::run(entry, load(PER_SECOND_BESIDE)).await?;
            Measured { small: Some(small), bulk: Some(background.stop()) }
        }
    })
}

/// Waits until a request is answered through the tunnel.
async fn until_ready(entry: SocketAddr, mut server: Option<&mut Program>) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < READY_WITHIN {
        if server.as_mut().is_some_and(|server| server.ended()) {
            bail!("the tunnel's server ended");
        }
        if let Ok(Ok(())) = timeout(TRY_LIMIT, answers(entry)).await {
            return Ok(());
        }
        sleep(TRY_EVERY).await;
    }
    bail!("no answer through the tunnel within {READY_WITHIN:?}")
}

async fn answers(entry: SocketAddr) -> anyhow::Result<()> {
    let request = Request::post(small::PATH).body(Full::<Bytes>::default())?;
    let response = Connection::open(entry).await?.ask(request).await?;
    anyhow::ensure!(response.status().is_success(), "answered {}", response.status());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend;

    #[tokio::test]
    async fn an_entry_that_answers_is_ready() {
        let listener = backend::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let entry = listener.local_addr().unwrap();
        tokio::select! {
            served = backend::serve(listener) => panic!("the backend ended: {served:?}"),
            ready = until_ready(entry, None) => ready.unwrap(),
        }
    }

    #[tokio::test]
    async fn an_entry_that_answers_with_an_error_is_not() {
        let listener = backend::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let entry = listener.local_addr().unwrap();
        let refuse = async {
            loop {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut tcp, _) = listener.accept().await.unwrap();
                assert!(tcp.read(&mut [0; 4096]).await.unwrap() > 0);
                tcp.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        };
        tokio::select! {
            () = refuse => panic!("the refusal ended"),
            answered = answers(entry) => assert!(answered.is_err()),
        }
    }
}
