//! Nodes that run out of what they need go on with what they have.

use std::{fs::OpenOptions, net::SocketAddr, process::Command, time::Duration};

use adit_tests::{Upstream, eventually, visitor::Visitor, within};
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::{net::TcpStream, time::sleep};

use crate::process::{Home, Process, free_udp};

/// A server, a client of it, and an upstream.
pub(crate) struct Tunnel {
    _home: Home,
    server: Process,
    client: Process,
    pub(crate) entry: SocketAddr,
    _upstream: Upstream,
}

impl Tunnel {
    /// Starts one whose server is started as `prepare` says.
    async fn start(prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_to(Upstream::echo(), prepare).await
    }

    pub(crate) async fn start_to(upstream: Upstream, prepare: impl FnOnce(&mut Command)) -> Self {
        let (home, [tunnel]) = (Home::new(), free_udp());
        let entry = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = home.server("server", tunnel, entry, "[timeouts]\ndrain_idle = \"100ms\"\n");
        let server = home.start_as("server", &config, &[], prepare);
        let client = home.start("client", &home.client("client", &[tunnel], upstream.address()), &[]);
        client.ready().await;
        Self { _home: home, server, client, entry, _upstream: upstream }
    }

    async fn is_asked(&self, count: usize) {
        let mut visitor = Visitor::http1(self.entry).await;
        for _ in 0..count {
            assert_eq!(visitor.get("/a/path/that/takes/some/room/in/a/line").await.failure(), (200, ""));
        }
    }

    pub(crate) fn processes(&self) -> [&Process; 2] {
        [&self.server, &self.client]
    }

    /// Waits until the server has given up, and returns what it has said.
    pub(crate) async fn server_failed(self) -> String {
        self.server.failed().await
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
        self.client.stop().await;
    }
}

#[tokio::test]
async fn a_server_whose_log_has_no_room_goes_on_and_stops_in_order() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let tunnel = Tunnel::start(|command| {
        command.env("RUST_LOG", "debug").stderr(full);
    })
    .await;
    tunnel.is_asked(20).await;
    tunnel.stop().await;
}

#[tokio::test]
async fn a_server_whose_log_is_not_read_goes_on_and_stops_in_order() {
    let (stalled, log) = std::io::pipe().unwrap();
    let tunnel = Tunnel::start(|command| {
        command.env("RUST_LOG", "trace").stderr(log);
    })
    .await;
    // A pipe holds 64 KiB, which is some two hundred of these.
    tunnel.is_asked(1_000).await;
    tunnel.stop().await;
    drop(stalled);
}

#[tokio::test]
async fn a_server_without_descriptors_serves_those_that_it_has_and_recovers() {
    const DESCRIPTORS: u64 = 64;
    let tunnel = Tunnel::start(|_| ()).await;
    let few = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    prlimit(Some(tunnel.server.pid()), Resource::Nofile, few).unwrap();
    let mut kept = Visitor::http1(tunnel.entry).await;
    assert_eq!(kept.get("/").await.failure(), (200, ""));
    let mut idle = Vec::new();
    for _ in 0..DESCRIPTORS * 2 {
        idle.push(within("a place in the queue", TcpStream::connect(tunnel.entry)).await.unwrap());
    }
    eventually("descriptors to run out", || tunnel.server.said().contains("cannot accept a connection")).await;
    let before = tunnel.server.cpu();
    for _ in 0..20 {
        assert_eq!(kept.get("/").await.failure(), (200, ""));
        sleep(Duration::from_millis(50)).await;
    }
    // A second or more: a loop that spins would have used most of it.
    let used = tunnel.server.cpu() - before;
    assert!(used < Duration::from_millis(500), "{used:?}");
    drop(idle);
    tunnel.is_asked(1).await;
    drop(kept);
    tunnel.stop().await;
}
