//! Nodes that do not fit together, and what either log says of it.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, sync::Arc};

use adit_core::{token::Token, wire::ALPN};
use adit_node::settings::{ClientProof, ClientSettings, ServerNames, ServerSettings};
use adit_tests::{
    log::Log,
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT, loopback},
    trust::Trust,
    within,
};
use quinn::{
    Endpoint,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::{net::UdpSocket, task::JoinSet};

/// What a client and a server say that have not come together.
struct Said<'a> {
    client: &'a str,
    server: &'a str,
}

/// Has a client dial a server, and waits until each has said why nothing comes of it.
async fn each_says(server: ServerSettings, client: impl FnOnce(SocketAddr) -> ClientSettings, said: Said<'_>) {
    let log = Log::start();
    let server = ServerNode::start(server).await;
    let _client = ClientNode::start(client(server.tunnel)).await;
    client_says(&log, said.client).await;
    server_says(&log, said.server).await;
}

async fn client_says(log: &Log, words: &str) {
    log.says(&["WARN", "link{server=", words]).await;
}

async fn server_says(log: &Log, words: &str) {
    log.says(&["WARN", "no link: ", words, "peer="]).await;
}

#[tokio::test]
async fn a_server_that_another_authority_signed_for() {
    // Two that have one name, as all of `adit certs` have, and two that have not.
    let (ours, others) = (Trust::default(), Trust::default());
    for (server, client, server_says) in [
        (
            ours.server(),
            "the server's certificate is not signed by this client's tunnel.ca, or the server does not have its key",
            "the client's tunnel.ca did not sign this server's certificate, or this server does not have its key",
        ),
        (
            Trust::of_authority("another CA").server(),
            "the server's certificate is not signed by this client's tunnel.ca",
            "the client's tunnel.ca did not sign this server's certificate",
        ),
    ] {
        let mut settings = settings::server(&others);
        settings.tunnel.credentials = server;
        let client_settings = |address| settings::client(&others, CLIENT, address);
        each_says(settings, client_settings, Said { client, server: server_says }).await;
    }
}

#[tokio::test]
async fn a_client_that_another_authority_signed_for() {
    let (ours, others) = (Trust::default(), Trust::default());
    let said = "the certificate of \"web-7\" is signed by an authority that this server does not trust";
    for proof in [others.client("web-7"), Trust::of_authority("another CA").client("web-7")] {
        let client = |address| {
            let mut settings = settings::client(&ours, CLIENT, address);
            settings.tunnel.proof = ClientProof::Certificate(proof);
            settings
        };
        each_says(settings::server(&ours), client, Said { client: said, server: said }).await;
    }
}

#[tokio::test]
async fn a_server_of_another_name() {
    let trust = Trust::default();
    let client = |address| {
        let mut settings = settings::client(&trust, CLIENT, address);
        settings.tunnel.server_name = ServerNames::one("other.example");
        settings
    };
    let said = Said {
        client: "the server's certificate is not for it: tunnel.server_name says which name it must have",
        server: "the client does not take this server's certificate: its tunnel.server_name may be another one",
    };
    each_says(settings::server(&trust), client, said).await;
}

#[tokio::test]
async fn a_client_with_a_token_at_a_server_that_wants_certificates() {
    let trust = Trust::default();
    let client = |address| {
        let mut settings = settings::client(&trust, CLIENT, address);
        settings.tunnel.proof = ClientProof::Token(Token::from_secret([7; 32]));
        settings
    };
    let said = Said {
        client: "the server asks for a client certificate: set tunnel.cert and tunnel.key",
        server: "the client shows no certificate",
    };
    each_says(settings::server(&trust), client, said).await;
}

/// What a newer adit may speak.
const OTHER_ALPN: &[u8] = b"adit/2";

#[tokio::test]
async fn a_client_of_another_version() {
    let (log, trust) = (Log::start(), Trust::default());
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut tls = trust.tls_client(CLIENT);
    tls.alpn_protocols = vec![OTHER_ALPN.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
    let endpoint = Endpoint::client(loopback()).expect("a socket");
    let connecting = endpoint.connect_with(config, server.tunnel, "localhost").expect("a dial");
    within("a refusal", connecting).await.expect_err("a version that is spoken");
    server_says(&log, "the client does not speak adit/1: it is another version of adit, or no adit").await;
}

#[tokio::test]
async fn a_server_of_another_version() {
    let (log, trust) = (Log::start(), Trust::default());
    let mut tls = trust.tls_server();
    tls.alpn_protocols = vec![OTHER_ALPN.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("TLS 1.3")));
    let endpoint = Endpoint::server(config, loopback()).expect("a socket");
    let address = endpoint.local_addr().expect("an address");
    let mut server = JoinSet::new();
    server.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let _ = incoming.await;
        }
    });
    let _client = ClientNode::start(settings::client(&trust, CLIENT, address)).await;
    client_says(&log, "the server does not speak adit/1: it is another version of adit, or no adit").await;
}

#[tokio::test]
async fn a_server_of_another_version_of_quic() {
    let (log, trust) = (Log::start(), Trust::default());
    let socket = UdpSocket::bind(loopback()).await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut datagram = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(&version_negotiation(&datagram[..length]), client).await;
        }
    });
    let _client = ClientNode::start(settings::client(&trust, CLIENT, address)).await;
    client_says(&log, "the server speaks no version of QUIC that this client does").await;
}

/// Answers an Initial packet: only a version of QUIC is spoken that nobody has (RFC 9000 §17.2.1).
fn version_negotiation(initial: &[u8]) -> Vec<u8> {
    let (destination, rest) = connection_id(&initial[5..]);
    let (source, _) = connection_id(rest);
    let mut packet = vec![0x80, 0, 0, 0, 0];
    for id in [source, destination] {
        packet.push(u8::try_from(id.len()).expect("a length"));
        packet.extend(id);
    }
    packet.extend(0xabab_abab_u32.to_be_bytes());
    packet
}

fn connection_id(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[1..].split_at(usize::from(bytes[0]))
}

#[test]
fn the_other_version_is_another_one() {
    assert_ne!(ALPN, OTHER_ALPN);
}
