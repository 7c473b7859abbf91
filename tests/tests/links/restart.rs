//! A server that is gone without a word, and another process in its place.

use adit_node::{credentials::Credentials, settings::ServerSettings};
use adit_tests::{
    Relay,
    node::{ClientNode, ServerNode},
    peer::Peer,
    settings::{self, CLIENT, GROUP},
    trust::Trust,
    within,
};
use quinn::ConnectionError;

/// The same certificate and key in every process.
fn server(trust: &Trust, same: &Credentials) -> ServerSettings {
    let mut settings = settings::server(trust);
    settings.tunnel.credentials = Credentials::new(same.chain(), same.key());
    settings
}

#[tokio::test]
async fn a_client_learns_at_its_next_keep_alive_that_its_server_was_restarted() {
    let trust = Trust::default();
    let same = trust.server();
    let killed = ServerNode::start(server(&trust, &same)).await;
    let relay = Relay::to(killed.tunnel);
    let client = ClientNode::start(settings::client(&trust, CLIENT, relay.address)).await;
    let silent = Peer::join(relay.address, &trust).await;
    killed.has_clients(GROUP, 2).await;
    // What it has to say when it is dropped does not get through.
    relay.cut();
    drop(killed);
    let restarted = ServerNode::start(server(&trust, &same)).await;
    relay.lead_to(restarted.tunnel);
    // Without a reset it would be `TimedOut`, 20 s after the last packet.
    let lost = within("the link to be lost", silent.quic.closed()).await;
    assert!(matches!(lost, ConnectionError::Reset), "{lost}");
    restarted.has_clients(GROUP, 1).await;
    client.has_servers(1).await;
}
