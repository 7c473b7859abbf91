//! How the keys of a link are agreed on.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{net::Ipv4Addr, sync::Arc};

use adit_core::wire::ALPN;
use adit_node::link::tls;
use adit_tests::{
    Direction, Tunnel, Upstream,
    settings::{self, CLIENT, GROUP},
    trust::Trust,
    within,
};
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs::kx_group};

#[tokio::test]
async fn links_are_safe_from_quantum_computers_unless_told_otherwise() {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Reverse).await;
    let [server_side] = &tunnel.server.links(GROUP)[..] else { unreachable!("one link") };
    let [client_side] = &tunnel.client.links()[..] else { unreachable!("one link") };
    for link in [server_side, client_side] {
        assert_eq!(link.key_exchange().as_deref(), Some("X25519MLKEM768"));
    }
}

/// Dials with these key exchanges, in this order, and returns the one that the server has seen.
async fn negotiated(server: &Endpoint, trust: &Trust, groups: &[&'static dyn SupportedKxGroup]) -> Option<String> {
    let provider = CryptoProvider { kx_groups: groups.to_vec(), ..rustls::crypto::aws_lc_rs::default_provider() };
    let versions = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let credentials = trust.client(CLIENT);
    let mut config = versions
        .with_root_certificates(trust.roots())
        .with_client_auth_cert(credentials.chain(), credentials.key())
        .expect("a key");
    config.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(config).expect("TLS for QUIC");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    let address = server.local_addr().expect("an address");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, address, "localhost").expect("a connection");
    let accepting = async { server.accept().await.expect("a client").await.expect("a handshake") };
    let (accepted, dialled) = within("a handshake", async { tokio::join!(accepting, connecting) }).await;
    dialled.expect("a handshake");
    tls::key_exchange(&accepted)
}

#[tokio::test]
async fn what_is_shown_is_what_was_negotiated() {
    let trust = Trust::default();
    let config = tls::server_config(&settings::server(&trust).tunnel).expect("a key");
    let server = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    assert_eq!(negotiated(&server, &trust, &[kx_group::X25519]).await.as_deref(), Some("X25519"));
    assert_eq!(negotiated(&server, &trust, &[kx_group::SECP384R1]).await.as_deref(), Some("secp384r1"));
    // The client's key is for its first choice and the server prefers the second, so that it asks for another key
    // (HelloRetryRequest) or makes do with the first.
    let both = [kx_group::SECP384R1, kx_group::X25519MLKEM768];
    let seen = negotiated(&server, &trust, &both).await;
    assert!(seen.is_some(), "{seen:?}");
}
