//! The end with the backend and the tunnel's client.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    backend,
    programs::{Place, Program, Side},
};

/// How often to look whether the client still runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
}

/// Serves until it is killed, or until the backend fails.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(&args.place))
}

async fn serve(place: &Place) -> anyhow::Result<()> {
    // Across the path only without a tunnel.
    let address = if place.contender.is_direct() { place.backend } else { [127, 0, 0, 1].into() };
    let listener = backend::bind((address, place.backend_port).into()).await?;
    tokio::select! {
        served = backend::serve(listener) => served,
        kept = keep_client(place) => kept,
    }
}

/// Starts the client, and again when it ends: some give up when their server is not there yet.
async fn keep_client(place: &Place) -> anyhow::Result<()> {
    loop {
        let Some(command) = place.command(Side::Client)? else { return std::future::pending().await };
        let mut client = Program::start(command, &place.log("client"))?;
        while !client.ended() {
            sleep(LOOK_EVERY).await;
        }
    }
}
