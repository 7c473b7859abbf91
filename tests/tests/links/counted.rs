//! What an operator sees of clients that come to the tunnel's port.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use adit_node::{
    link::Close,
    settings::{AdminEntry, GroupSettings, ServerSettings},
};
use adit_tests::{
    eventually,
    node::{ClientNode, ServerNode},
    peer::Peer,
    settings::{self, CLIENT, GROUP, group, loopback},
    trust::Trust,
    visitor::raw::ask,
    within,
};
use tokio::task::yield_now;

/// A server that lets `most` clients be on their way.
async fn start(trust: &Trust, most: usize) -> ServerNode {
    let mut settings = settings::server(trust);
    settings.limits.handshakes_max = most;
    settings.groups.insert(group("closed"), GroupSettings::new(["nobody"]));
    ServerNode::start(ServerSettings { admin: Some(AdminEntry::open(loopback()).unwrap()), ..settings }).await
}

/// Returns the value of a metric of the server.
async fn value(server: &ServerNode, metric: &str) -> u64 {
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let metrics = ask(server.admin(), request).await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(metric)).unwrap();
    line.trim().parse().unwrap()
}

/// Returns how many clients came to this.
async fn count(server: &ServerNode, outcome: &str) -> u64 {
    value(server, &format!("adit_handshakes_total{{outcome=\"{outcome}\"}}")).await
}

/// Waits until a client has come to this.
async fn counts(server: &ServerNode, outcome: &str) {
    within(outcome, async {
        while count(server, outcome).await == 0 {
            // The server is on this thread.
            yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_becomes_of_clients_is_counted() {
    let (trust, other) = (Trust::default(), Trust::default());
    let server = start(&trust, 8).await;
    let _joined = Peer::join(server.tunnel, &trust).await;
    counts(&server, "joined").await;
    let mut denied = Peer::connect(server.tunnel, &trust).await;
    denied.register("closed").await.unwrap();
    counts(&server, "denied").await;
    let _failed = Peer::try_connect(server.tunnel, &other, &trust).await;
    counts(&server, "failed").await;
    let slow = Peer::connect(server.tunnel, &trust).await;
    eventually("the server to count it", || server.half_open().validated == 1).await;
    assert_eq!(value(&server, "adit_handshakes_half_open{address=\"validated\"}").await, 1);
    within("the slow one to be shown out", slow.quic.closed()).await;
    counts(&server, "timeout").await;
    for address in ["validated", "unvalidated"] {
        assert_eq!(value(&server, &format!("adit_handshakes_half_open{{address=\"{address}\"}}")).await, 0);
    }
    for outcome in ["joined", "denied", "failed", "timeout"] {
        assert_eq!(count(&server, outcome).await, 1, "{outcome}");
    }
    assert_eq!(count(&server, "ignored").await, 0);
    // A client that waits for a second sends its hello again.
    assert!(count(&server, "retry").await >= 4);
}

#[tokio::test]
async fn clients_that_are_not_answered_are_counted() {
    let trust = Trust::default();
    let server = start(&trust, 1).await;
    let _slow = Peer::connect(server.tunnel, &trust).await;
    tokio::select! {
        biased;
        () = counts(&server, "ignored") => {}
        _ = Peer::connect(server.tunnel, &trust) => unreachable!("it was answered"),
    }
}

#[tokio::test]
async fn who_comes_back_need_not_prove_its_address_again() {
    let trust = Trust::default();
    let server = start(&trust, 8).await;
    let client = ClientNode::start(settings::client(&trust, CLIENT, server.tunnel)).await;
    server.has_clients(GROUP, 1).await;
    let first = server.sessions(GROUP);
    server.links(GROUP)[0].close(Close::GoingAway);
    eventually("it to be back", || server.clients(GROUP) == 1 && server.sessions(GROUP) != first).await;
    assert_eq!((count(&server, "retry").await, count(&server, "joined").await), (1, 2));
    drop(client);
}
