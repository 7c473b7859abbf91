//! The entry with TLS.

use std::{net::SocketAddr, time::Duration};

use adit_node::settings::{HttpsEntry, ServerSettings};
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::{full, noise},
    both_directions,
    node::{ClientNode, ServerNode},
    settings::{self, GROUP, everything_to},
    trust::Trust,
    visitor::{HOST, raw::Raw, tls},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

both_directions!(
    negotiation_decides_between_http_2_and_http_1,
    a_visitor_that_stops_within_its_handshake_is_shown_out,
    a_visitor_that_says_nothing_after_its_handshake_is_shown_out,
);

async fn negotiation_decides_between_http_2_and_http_1(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for (alpn, http2) in [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&[], false)] {
        let mut visitor = tunnel.tls(alpn).await;
        assert_eq!(visitor.is_http2(), http2, "{alpn:?}");
        let body = noise(300_000);
        let answer = visitor.post("/", full(body.clone())).await;
        assert_eq!((answer.failure(), &answer.body), ((200, ""), &body), "{alpn:?}");
        let seen = upstream.saw().last();
        assert_eq!(seen.values("x-forwarded-proto"), ["https"], "{alpn:?}");
        assert_eq!(seen.values("forwarded"), [format!("for=127.0.0.1;host=\"{HOST}\";proto=https")], "{alpn:?}");
    }
}

async fn a_visitor_that_stops_within_its_handshake_is_shown_out(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.handshake = Duration::from_millis(50));
    let tunnel = setup.start(direction).await;
    // A record that is longer than what comes of it; and HTTP, where TLS is spoken.
    for start in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut visitor = TcpStream::connect(tunnel.tls_entry()).await.unwrap();
        visitor.write_all(start).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good.
        let _ = within("the entry to hang up", visitor.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "{start:?}");
    }
    let mut visitor = tunnel.tls(&[]).await;
    assert_eq!(visitor.get("/").await.failure(), (200, ""));
    assert_eq!(upstream.saw().requests(), 1);
}

async fn a_visitor_that_says_nothing_after_its_handshake_is_shown_out(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.request_head = Duration::from_millis(50));
    let tunnel = setup.start(direction).await;
    for alpn in [&["h2"][..], &["http/1.1"]] {
        let tcp = TcpStream::connect(tunnel.tls_entry()).await.unwrap();
        let mut visitor = tls::handshake(tcp, "localhost", tunnel.trust.roots(), alpn).await.unwrap();
        let mut answer = Vec::new();
        let _ = within("the entry to hang up", visitor.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
}

fn serving(trust: &Trust, names: &[&str]) -> ServerSettings {
    let certificates = names.iter().map(|name| trust.named(name)).collect();
    ServerSettings {
        https: Some(HttpsEntry { http: settings::entry(), certificates }),
        ..settings::public_server(trust)
    }
}

async fn client(trust: &Trust, server: &ServerNode, upstream: &Upstream) -> ClientNode {
    let mut settings = settings::client(trust, "client", server.tunnel);
    settings.egress = everything_to(upstream.http());
    let client = ClientNode::start(settings).await;
    server.has_clients(GROUP, 1).await;
    client
}

async fn has_certificate_for(entry: SocketAddr, trust: &Trust, name: &str) -> bool {
    let tcp = TcpStream::connect(entry).await.unwrap();
    tls::handshake(tcp, name, trust.roots(), &["h2"]).await.is_ok()
}

#[tokio::test]
async fn each_name_has_its_own_certificate() {
    let trust = Trust::default();
    let server = ServerNode::start(serving(&trust, &["one.test", "*.two.test"])).await;
    for (name, there) in [("one.test", true), ("a.two.test", true), ("two.test", false), ("a.b.two.test", false)] {
        assert_eq!(has_certificate_for(server.tls_entry(), &trust, name).await, there, "{name}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_visitor_and_drops_none() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let server = ServerNode::start(serving(&trust, &["old.test"])).await;
    let _client = client(&trust, &server, &upstream).await;
    let mut visitor = Visitor::tls(server.tls_entry(), "old.test", trust.roots(), &["h2"]).await;
    assert_eq!(visitor.get("/").await.failure(), (200, ""));
    assert!(server.reload(serving(&trust, &["new.test"])).is_empty());
    assert!(!has_certificate_for(server.tls_entry(), &trust, "old.test").await);
    assert!(has_certificate_for(server.tls_entry(), &trust, "new.test").await);
    assert_eq!(visitor.get("/").await.failure(), (200, ""));
}

#[tokio::test]
async fn an_entry_with_tls_that_was_taken_out_needs_a_restart_and_serves_until_then() {
    let trust = Trust::default();
    let server = ServerNode::start(serving(&trust, &["one.test"])).await;
    assert_eq!(server.reload(settings::public_server(&trust)), ["https.listen"]);
    assert!(has_certificate_for(server.tls_entry(), &trust, "one.test").await);
}

#[tokio::test]
async fn the_plain_entry_of_the_same_node_stays_plain() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let server = ServerNode::start(serving(&trust, &["one.test"])).await;
    let _client = client(&trust, &server, &upstream).await;
    let mut visitor = Raw::connect(server.entry()).await;
    visitor.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n").await;
    assert!(visitor.rest().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(upstream.saw().last().values("x-forwarded-proto"), ["http"]);
}
