//! Clients that know their server by its key alone.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{net::Ipv4Addr, sync::Arc};

use adit_core::wire::ALPN;
use adit_node::{
    credentials::{Credentials, Fingerprint},
    link::tls,
    settings::{ClientProof, Congestion, ServerTrust},
};
use adit_tests::{
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT, GROUP},
    trust::Trust,
    within,
};
use quinn::{Endpoint, crypto::rustls::QuicServerConfig};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::task::JoinSet;

fn fingerprint(credentials: &Credentials) -> Fingerprint {
    credentials.fingerprint().expect("a certificate")
}

/// Dials a server by its fingerprint, and returns what is wrong with it.
async fn refusal(server: std::net::SocketAddr, trust: &Trust, pinned: Fingerprint) -> Option<String> {
    let proof = ClientProof::Certificate(trust.client(CLIENT));
    let config = tls::client_config(&proof, &ServerTrust::Fingerprint(pinned), Congestion::default()).expect("a key");
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    let connecting = endpoint.connect_with(config, server, "localhost").expect("a connection");
    within("a handshake", connecting).await.err().map(|error| error.to_string())
}

#[tokio::test]
async fn a_client_knows_its_server_by_its_key_whoever_signed_for_it() {
    let (trust, nobody) = (Trust::default(), Trust::default());
    let mut settings = settings::server(&trust);
    settings.tunnel.credentials = nobody.named("other.example");
    let pinned = fingerprint(&settings.tunnel.credentials);
    let server = ServerNode::start(settings).await;
    let mut client = settings::client(&trust, CLIENT, server.tunnel);
    client.tunnel.trust = ServerTrust::Fingerprint(pinned);
    let client = ClientNode::start(client).await;
    server.has_clients(GROUP, 1).await;
    client.has_servers(1).await;
}

#[tokio::test]
async fn a_server_with_another_key_is_refused_and_both_fingerprints_are_shown() {
    let trust = Trust::default();
    let settings = settings::server(&trust);
    let found = fingerprint(&settings.tunnel.credentials);
    let server = ServerNode::start(settings).await;
    let pinned = fingerprint(&trust.server());
    let refused = refusal(server.tunnel, &trust, pinned).await.expect("a refusal");
    assert!(refused.contains(&found.to_string()) && refused.contains(&pinned.to_string()), "{refused}");
    assert_eq!(refusal(server.tunnel, &trust, found).await, None);
}

/// Shows one certificate and signs with the key of another.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_server_that_shows_a_certificate_and_does_not_have_its_key_is_refused() {
    let trust = Trust::default();
    let (theirs, own) = (trust.server(), trust.server());
    let key = own.certified_key().expect("a key").key;
    let impostor = Impostor(Arc::new(CertifiedKey::new(theirs.chain(), key)));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut config = versions.expect("TLS 1.3").with_no_client_auth().with_cert_resolver(Arc::new(impostor));
    config.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(config).expect("TLS for QUIC");
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    let address = endpoint.local_addr().expect("an address");
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let _ = incoming.await;
        }
    });
    let refused = refusal(address, &trust, fingerprint(&theirs)).await.expect("a refusal");
    assert!(refused.contains("BadSignature"), "{refused}");
}
