//! Servers whose certificates have different names.

use adit_node::settings::{HostPort, ServerNames};
use adit_tests::{
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT},
    trust::Trust,
};

/// Runs a server whose certificate has this name and no other.
async fn server(trust: &Trust, name: &str) -> ServerNode {
    let mut settings = settings::server(trust);
    settings.tunnel.credentials = trust.server_known_as(name);
    ServerNode::start(settings).await
}

fn at(host: &str, server: &ServerNode) -> HostPort {
    HostPort { host: host.to_owned(), port: server.tunnel.port() }
}

#[tokio::test]
async fn each_server_is_known_by_the_host_that_is_dialled() {
    let trust = Trust::default();
    let (one, other) = (server(&trust, "localhost").await, server(&trust, "127.0.0.1").await);
    let mut client = settings::client(&trust, CLIENT, one.tunnel);
    client.tunnel.connect = vec![at("localhost", &one), at("127.0.0.1", &other)];
    client.tunnel.server_name = ServerNames::default();
    ClientNode::start(client).await.has_servers(2).await;
}

#[tokio::test]
async fn each_server_is_known_by_the_name_that_is_said_for_it() {
    let trust = Trust::default();
    let (one, other) = (server(&trust, "a.example").await, server(&trust, "b.example").await);
    let mut client = settings::client(&trust, CLIENT, one.tunnel);
    let [one, other] = [at("127.0.0.1", &one), at("127.0.0.1", &other)];
    client.tunnel.connect = vec![one.clone(), other.clone()];
    let names = [(one, "a.example".to_owned()), (other, "b.example".to_owned())];
    client.tunnel.server_name = ServerNames::each(names);
    ClientNode::start(client).await.has_servers(2).await;
}
