//! Who may join.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{net::Ipv4Addr, sync::Arc};

use adit_core::wire::{ALPN, control::StreamOpenResponse};
use adit_node::settings::GroupSettings;
use adit_tests::{
    node::{ClientNode, ServerNode},
    peer::Peer,
    settings::{self, CLIENT, GROUP, group},
    trust::Trust,
    within,
};
use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};

/// Checks that a registration is denied, and that the reason names what the operator should look at.
fn assert_denied(answer: Option<StreamOpenResponse>, words: &[&str]) {
    let Some(StreamOpenResponse::Denied { reason }) = answer else { unreachable!("{answer:?}") };
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
}

#[tokio::test]
async fn a_client_of_a_group_that_is_not_there_is_denied() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut peer = Peer::connect(server.tunnel, &trust).await;
    assert_denied(peer.register("nowhere").await, &["nowhere"]);
    assert_eq!(server.clients(GROUP), 0);
}

#[tokio::test]
async fn a_client_whose_name_is_not_in_the_group_is_denied() {
    let trust = Trust::default();
    let mut settings = settings::server(&trust);
    settings.groups.insert(group(GROUP), GroupSettings::new(["web-*", "other"]));
    let server = ServerNode::start(settings).await;
    let mut peer = Peer::connect(server.tunnel, &trust).await;
    assert_denied(peer.register(GROUP).await, &[CLIENT, GROUP]);
    assert_eq!(server.clients(GROUP), 0);
    let _client = ClientNode::start(settings::client(&trust, "web-1", server.tunnel)).await;
    server.has_clients(GROUP, 1).await;
}

#[tokio::test]
async fn a_client_that_is_in_another_group_only_is_denied() {
    let trust = Trust::default();
    let mut settings = settings::server(&trust);
    settings.groups.insert(group("closed"), GroupSettings::new(<[String; 0]>::default()));
    let server = ServerNode::start(settings).await;
    let mut peer = Peer::connect(server.tunnel, &trust).await;
    assert_denied(peer.register("closed").await, &[CLIENT, "closed"]);
}

#[tokio::test]
async fn a_client_that_another_authority_signed_for_is_refused() {
    let (ours, strangers) = (Trust::default(), Trust::default());
    let server = ServerNode::start(settings::server(&ours)).await;
    // In TLS 1.3 a client is done before the server has looked at its certificate.
    let refused = match Peer::try_connect(server.tunnel, &strangers, &ours).await {
        Err(error) => error,
        Ok(stranger) => within("the link to be closed", stranger.quic.closed()).await,
    };
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
    assert_eq!(server.clients(GROUP), 0);
}

#[tokio::test]
async fn a_server_that_another_authority_signed_for_is_refused() {
    let (ours, strangers) = (Trust::default(), Trust::default());
    let server = ServerNode::start(settings::server(&strangers)).await;
    let refused = Peer::try_connect(server.tunnel, &ours, &ours).await.expect_err("a refusal");
    assert!(matches!(refused, ConnectionError::TransportError(_)), "{refused}");
}

/// Dials with whatever TLS a test likes, and returns how the server ends it.
async fn refusal(server: &ServerNode, tls: rustls::ClientConfig) -> ConnectionError {
    let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, server.tunnel, "localhost").expect("a connection");
    match within("a QUIC connection", connecting).await {
        Err(error) => error,
        Ok(connection) => within("the link to be closed", connection.closed()).await,
    }
}

fn anonymous(trust: &Trust, alpn: &[u8]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut tls = versions.expect("TLS 1.3").with_root_certificates(trust.roots()).with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let refused = refusal(&server, anonymous(&trust, ALPN)).await;
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
}

#[tokio::test]
async fn a_client_that_speaks_another_protocol_is_refused() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let refused = refusal(&server, anonymous(&trust, b"h3")).await;
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
}
