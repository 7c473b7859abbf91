//! The PROXY protocol, at an entry and towards an upstream.

use std::time::Duration;

use adit_core::http::proxy_protocol::{self, Version};
use adit_node::settings::UpstreamSettings;
use adit_tests::{
    Direction, Tunnel, Upstream, both_directions,
    settings::{pattern, to},
    visitor::raw::Raw,
    visitor::tls,
    within,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc,
};

both_directions!(
    a_trusted_proxy_says_who_the_visitor_is,
    a_visitor_behind_a_proxy_is_not_believed_as_the_proxy_is,
    whoever_is_no_trusted_proxy_is_shown_out,
    a_connection_without_a_proxy_header_is_shown_out,
    an_upstream_is_told_of_each_visitor_on_a_connection_of_its_own,
    an_upstream_is_told_who_connects_through_to_it,
);

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 192.0.2.66\r\nConnection: close\r\n\r\n";

fn header(version: Version, source: &str) -> Vec<u8> {
    let source = (!source.is_empty()).then(|| source.parse().unwrap());
    proxy_protocol::encode(version, source, "198.51.100.1:443".parse().unwrap())
}

async fn a_trusted_proxy_says_who_the_visitor_is(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).trusting("127.0.0.0/8").proxied().start(direction).await;
    for (version, source, seen) in [
        (Version::V1, "192.0.2.1:5", "192.0.2.1"),
        (Version::V2, "192.0.2.2:5", "192.0.2.2"),
        (Version::V1, "[2001:db8::1]:5", "2001:db8::1"),
        (Version::V2, "[2001:db8::2]:5", "2001:db8::2"),
    ] {
        let header = header(version, source);
        let mut visitor = Raw::connect(tunnel.entry()).await;
        visitor.send([&header[..], REQUEST.as_bytes()].concat()).await;
        assert!(visitor.rest().await.starts_with("HTTP/1.1 200 "), "{source}");
        assert_eq!(upstream.saw().last().values("x-forwarded-for"), [seen]);

        // In pieces, and before TLS.
        let mut tcp = TcpStream::connect(tunnel.tls_entry()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        for byte in header {
            tcp.write_all(&[byte]).await.unwrap();
        }
        let mut tls = tls::handshake(tcp, "localhost", tunnel.trust.roots(), &[]).await.unwrap();
        tls.write_all(REQUEST.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within("an answer", tls.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{source}");
        let last = upstream.saw().last();
        assert_eq!((last.values("x-forwarded-for"), last.values("x-forwarded-proto")), (vec![seen], vec!["https"]));
    }
}

async fn a_visitor_behind_a_proxy_is_not_believed_as_the_proxy_is(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).trusting("127.0.0.0/8").proxied().start(direction).await;
    // A proxy that speaks for itself is believed, one that passes a stranger on is not, and says it whom or not.
    for (version, source, seen) in [
        (Version::V2, "192.0.2.1:5", "192.0.2.1"),
        (Version::V2, "", "192.0.2.66, 127.0.0.1"),
        (Version::V1, "", "127.0.0.1"),
    ] {
        let mut visitor = Raw::connect(tunnel.entry()).await;
        visitor.send([&header(version, source)[..], REQUEST.as_bytes()].concat()).await;
        assert!(visitor.rest().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(upstream.saw().last().values("x-forwarded-for"), [seen]);
    }
}

async fn whoever_is_no_trusted_proxy_is_shown_out(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).trusting("192.0.2.0/24").proxied().start(direction).await;
    for entry in [tunnel.entry(), tunnel.tls_entry()] {
        let mut visitor = Raw::connect(entry).await;
        visitor.send([&header(Version::V1, "192.0.2.1:5")[..], REQUEST.as_bytes()].concat()).await;
        assert_eq!(visitor.rest().await, "");
    }
    assert_eq!(upstream.saw().requests(), 0);
}

async fn a_connection_without_a_proxy_header_is_shown_out(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).trusting("127.0.0.0/8").proxied();
    let tunnel = setup.timeouts(|timeouts| timeouts.handshake = Duration::from_millis(50)).start(direction).await;
    // The first two are waited for.
    for start in ["", "PROXY TCP4 192.0.2.1 ", REQUEST, "PROXY TCP4 1 2 3 4\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut visitor = Raw::connect(tunnel.entry()).await;
        visitor.send(start).await;
        assert_eq!(visitor.rest().await, "", "{start:?}");
    }
    assert_eq!(upstream.saw().requests(), 0);
}

/// A server that reads a PROXY header, tells of it, and answers every request with its number on the connection.
fn behind_a_proxy() -> (Upstream, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let upstream = Upstream::raw(move |tcp| {
        let tell = tell.clone();
        async move {
            let mut tcp = BufReader::new(tcp);
            let Some(header) = read_header(&mut tcp).await else { return };
            let _ = tell.send(header);
            let mut line = String::new();
            for number in 1.. {
                while line != "\r\n" {
                    line.clear();
                    if tcp.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                line.clear();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
                let _ = tcp.write_all(answer.as_bytes()).await;
            }
        }
    });
    (upstream, told)
}

async fn read_header(tcp: &mut BufReader<TcpStream>) -> Option<String> {
    let mut read = Vec::new();
    loop {
        read.push(tcp.read_u8().await.ok()?);
        if let Some(header) = proxy_protocol::parse(&read).unwrap() {
            return Some(header.source.map(|source| source.to_string()).unwrap_or_default());
        }
    }
}

async fn an_upstream_is_told_of_each_visitor_on_a_connection_of_its_own(direction: Direction) {
    for version in [Version::V1, Version::V2] {
        let (upstream, mut told) = behind_a_proxy();
        let settings =
            UpstreamSettings { proxy_protocol: Some(version), ..UpstreamSettings::new(vec![upstream.http()]) };
        let tunnel = Tunnel::with(to(pattern(None, None), settings)).start(direction).await;
        let mut visitors = [tunnel.http1().await, tunnel.http1().await];
        for index in [0, 1, 0] {
            let visitor = &mut visitors[index];
            let answer = visitor.get("/").await;
            assert_eq!((answer.failure(), answer.text()), ((200, ""), "1"));
            assert_eq!(within("a header", told.recv()).await.unwrap(), visitor.address().to_string());
        }
    }
}

async fn an_upstream_is_told_who_connects_through_to_it(direction: Direction) {
    let (upstream, mut told) = behind_a_proxy();
    let settings =
        UpstreamSettings { proxy_protocol: Some(Version::V2), ..UpstreamSettings::new(vec![upstream.http()]) };
    let mut egress = to(pattern(None, None), settings);
    egress.rules[0].options.connect = true;
    let tunnel = Tunnel::with(egress).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\n\r\n").await;
    visitor.until("\r\n\r\n").await;
    assert!(within("a header", told.recv()).await.unwrap().starts_with("127.0.0.1:"));
    visitor.send("GET / HTTP/1.1\r\n\r\n").await;
    visitor.until("\r\n\r\n1").await;
}
