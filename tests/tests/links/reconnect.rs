//! A client comes back, whatever became of its server.

use std::{net::SocketAddr, time::Duration};

use adit_node::settings::{ServerNames, ServerSettings};
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    node::{ClientNode, ServerNode, nobody},
    settings::{self, GROUP, everything_to},
    trust::Trust,
};

async fn restart(trust: &Trust, tunnel: SocketAddr, upstream: &Upstream) -> ServerNode {
    let settings = || ServerSettings { egress: everything_to(upstream.http()), ..settings::public_server(trust) };
    ServerNode::start_at(tunnel, settings).await
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The server stops and says so.
    Stopped,
    /// Its process is gone.
    Killed,
}

async fn comes_back(direction: Direction, end: End) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let Tunnel { mut server, client, trust, .. } = tunnel;
    for _ in 0..3 {
        let address = server.tunnel;
        match end {
            End::Stopped => {
                server.stop();
                server.stopped().await;
            }
            End::Killed => drop(server),
        }
        client.has_servers(0).await;
        server = restart(&trust, address, &upstream).await;
        server.has_clients(GROUP, 1).await;
        client.has_servers(1).await;
        let entry = if direction == Direction::Reverse { server.entry() } else { client.entry() };
        let mut visitor = Visitor::http1(entry).await;
        assert_eq!(visitor.get("/").await.failure(), (200, ""));
    }
}

#[tokio::test]
async fn a_client_comes_back_to_a_server_that_was_stopped_and_serves_its_requests() {
    comes_back(Direction::Reverse, End::Stopped).await;
}

#[tokio::test]
async fn a_client_comes_back_to_a_server_that_was_killed_and_serves_its_requests() {
    comes_back(Direction::Reverse, End::Killed).await;
}

#[tokio::test]
async fn a_client_comes_back_to_a_server_that_was_stopped_and_asks_it_again() {
    comes_back(Direction::Forward, End::Stopped).await;
}

#[tokio::test]
async fn a_client_comes_back_to_a_server_that_was_killed_and_asks_it_again() {
    comes_back(Direction::Forward, End::Killed).await;
}

#[tokio::test]
async fn a_client_that_is_started_first_finds_its_server_once_it_is_there() {
    let (trust, upstream) = (Trust::default(), Upstream::echo());
    let (nobody, address) = nobody();
    let mut settings = settings::client(&trust, settings::CLIENT, address);
    settings.http = Some(settings::entry());
    let client = ClientNode::start(settings).await;
    let mut visitor = Visitor::http1(client.entry()).await;
    assert_eq!(visitor.get("/").await.failure(), (502, "no-server"));
    drop(nobody);
    let _server = restart(&trust, address, &upstream).await;
    client.has_servers(1).await;
    assert_eq!(visitor.get("/").await.failure(), (200, ""), "on the connection that was there all the time");
}

#[tokio::test]
async fn a_client_that_waits_to_dial_again_goes_by_new_settings_at_once() {
    let trust = Trust::default();
    let (nobody, address) = nobody();
    // A name that is no name fails at once, so that the client waits to dial again, for an hour.
    let settings = |server_name: &str| {
        let mut settings = settings::client(&trust, settings::CLIENT, address);
        (settings.timeouts.reconnect_min, settings.timeouts.reconnect_max) =
            (Duration::from_secs(3_600), Duration::from_secs(3_600));
        settings.tunnel.server_name = ServerNames::one(server_name);
        settings
    };
    let client = ClientNode::start(settings("no name")).await;
    drop(nobody);
    let server = ServerNode::start_at(address, || settings::server(&trust)).await;
    client.reload(settings("localhost"));
    client.has_servers(1).await;
    server.has_clients(GROUP, 1).await;
}
