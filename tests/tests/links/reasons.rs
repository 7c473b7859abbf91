//! What both logs say of a handshake that fails.

use std::{net::Ipv4Addr, sync::Arc};

use adit_node::settings::ServerTrust;
use adit_tests::{
    log::Log,
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT, loopback},
    trust::Trust,
    within,
};
use quinn::{Endpoint, crypto::rustls::QuicClientConfig, crypto::rustls::QuicServerConfig};

/// Another protocol than adit's.
const OTHER: &[u8] = b"h3";

#[tokio::test]
async fn a_server_that_another_authority_signed_for_is_refused_and_both_ends_say_why() {
    let (log, trust, other) = (Log::start(), Trust::default(), Trust::default());
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut settings = settings::client(&trust, CLIENT, server.tunnel);
    settings.tunnel.trust = ServerTrust::Authority(other.roots());
    let _client = ClientNode::start(settings).await;
    log.says(&["WARN", "the server's certificate is not signed by this client's tunnel.ca"]).await;
    log.says(&["WARN", "no link: ", "the client's tunnel.ca did not sign this server's certificate"]).await;
}

#[tokio::test]
async fn a_client_that_another_authority_signed_for_is_told_so() {
    let (log, trust, other) = (Log::start(), Trust::default(), Trust::default());
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut settings = settings::client(&other, CLIENT, server.tunnel);
    settings.tunnel.trust = ServerTrust::Authority(trust.roots());
    let _client = ClientNode::start(settings).await;
    let why = format!("the certificate of \"{CLIENT}\" is signed by an authority that this server does not trust");
    log.says(&["WARN", "no link: ", &why]).await;
    log.says(&["WARN", "server=", &why]).await;
}

#[tokio::test]
async fn a_server_of_another_protocol_is_said_to_be_one() {
    let (log, trust) = (Log::start(), Trust::default());
    let key = trust.server();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let mut tls = tls.with_no_client_auth().with_single_cert(key.chain(), key.key()).expect("a key");
    tls.alpn_protocols = vec![OTHER.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).expect("TLS for QUIC");
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::server(config, loopback()).expect("a socket");
    let address = endpoint.local_addr().expect("an address");
    let _client = ClientNode::start(settings::client(&trust, CLIENT, address)).await;
    let incoming = within("a client", endpoint.accept()).await.expect("a client");
    assert!(within("the handshake", incoming.into_future()).await.is_err());
    log.says(&["WARN", "the server does not speak adit/1"]).await;
}

#[tokio::test]
async fn a_client_of_another_protocol_is_said_to_be_one() {
    let (log, trust) = (Log::start(), Trust::default());
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut tls = trust.tls_client(CLIENT);
    tls.alpn_protocols = vec![OTHER.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).expect("TLS for QUIC");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, server.tunnel, "localhost").expect("a dial");
    assert!(within("the handshake", connecting).await.is_err());
    log.says(&["WARN", "no link: ", "the client does not speak adit/1"]).await;
}
