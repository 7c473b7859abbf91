//! A tunnel that leads into itself.

use std::net::SocketAddr;

use adit_node::settings::{ClientSettings, EgressSettings, ServerSettings};
use adit_tests::{
    Upstream, Visitor,
    node::{ClientNode, ServerNode, nobody},
    settings::{self, CLIENT, GROUP, everything_to, url},
    trust::Trust,
};

fn back_to(entry: SocketAddr) -> EgressSettings {
    everything_to(url("http", entry))
}

/// Asks twice, since the first request must leave nothing behind.
async fn refuses(entry: SocketAddr) {
    for mut visitor in [Visitor::http1(entry).await, Visitor::http2(entry).await] {
        for path in ["/", "/again"] {
            assert_eq!(visitor.get(path).await.status, 508);
        }
    }
}

#[tokio::test]
async fn a_client_whose_upstream_is_the_entry_of_its_server_refuses() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::public_server(&trust)).await;
    let entry = server.entry();
    let settings = settings::client(&trust, CLIENT, server.tunnel);
    let _client = ClientNode::start(ClientSettings { egress: back_to(entry), ..settings }).await;
    server.has_clients(GROUP, 1).await;
    refuses(entry).await;
}

#[tokio::test]
async fn a_server_whose_upstream_is_the_entry_of_its_client_refuses() {
    let trust = Trust::default();
    // The client has to be there first, so that the server can be told where its entry is.
    let (nobody, tunnel) = nobody();
    let mut settings = settings::client(&trust, CLIENT, tunnel);
    settings.http = Some(settings::entry());
    let client = ClientNode::start(settings).await;
    let entry = client.entry();
    drop(nobody);
    let settings = || ServerSettings { egress: back_to(entry), ..settings::server(&trust) };
    let _server = ServerNode::start_at(tunnel, settings).await;
    client.has_servers(1).await;
    refuses(entry).await;
}

#[tokio::test]
async fn two_tunnels_behind_one_another_are_no_loop() {
    let (trust, upstream) = (Trust::default(), Upstream::echo());
    let inner = ServerNode::start(settings::public_server(&trust)).await;
    let outer = ServerNode::start(settings::public_server(&trust)).await;
    let mut near = settings::client(&trust, CLIENT, outer.tunnel);
    near.egress = back_to(inner.entry());
    let mut far = settings::client(&trust, CLIENT, inner.tunnel);
    far.egress = everything_to(upstream.http());
    let _clients = (ClientNode::start(near).await, ClientNode::start(far).await);
    outer.has_clients(GROUP, 1).await;
    inner.has_clients(GROUP, 1).await;
    let answer = Visitor::http1(outer.entry()).await.get("/").await;
    assert_eq!(answer.failure(), (200, ""));
    assert_eq!(upstream.saw().last().values("adit-hop").len(), 2);
}
