//! A switch to WebSocket: raw bytes both ways, each up to its own end.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::empty,
    both_directions, eventually,
    settings::{everything_to, pattern},
    upstream::response,
    visitor::raw::{self, Raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

both_directions! {
    bytes_go_both_ways_after_a_switch,
    one_way_may_end_before_the_other,
    a_visitor_that_hangs_up_hangs_up_on_the_upstream,
    an_upstream_may_decline,
    h2c_is_never_switched_to,
    connect_goes_where_a_rule_lets_it,
    connect_is_refused_where_no_rule_lets_it,
}

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Reads a request up to the end of its head.
async fn head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = tcp.read_u8().await else { break };
        head.push(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Agrees to switch, and then says everything again until it has heard it all; then says goodbye.
async fn parrot(mut tcp: TcpStream) {
    let asked = head(&mut tcp).await;
    let complete =
        ["upgrade: websocket\r\n", "connection: upgrade\r\n", "sec-websocket-key: dGhl", "GET /chat HTTP/1.1"];
    assert!(complete.iter().all(|part| asked.contains(part)), "{asked}");
    let _ = tcp.write_all(AGREED.as_bytes()).await;
    let mut heard = [0; 4096];
    while let Ok(length) = tcp.read(&mut heard).await {
        if length == 0 {
            break;
        }
        let _ = tcp.write_all(&heard[..length]).await;
    }
    let _ = tcp.write_all(b"goodbye").await;
}

async fn switched(tunnel: &Tunnel) -> Raw {
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(ASK).await;
    let answer = visitor.until("\r\n\r\n").await.to_ascii_lowercase();
    for part in ["http/1.1 101", "connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: s3pp"] {
        assert!(answer.contains(part), "{part:?} is not in {answer}");
    }
    visitor
}

async fn bytes_go_both_ways_after_a_switch(direction: Direction) {
    let upstream = Upstream::raw(parrot);
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = switched(&tunnel).await;
    for number in 0..100 {
        visitor.send(format!("message {number};")).await;
        assert_eq!(visitor.until(";").await, format!("message {number};"));
    }
}

async fn one_way_may_end_before_the_other(direction: Direction) {
    let upstream = Upstream::raw(parrot);
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = switched(&tunnel).await;
    visitor.send("last words ").await;
    visitor.end().await;
    assert_eq!(visitor.rest().await, "last words goodbye");
}

async fn a_visitor_that_hangs_up_hangs_up_on_the_upstream(direction: Direction) {
    let upstream = Upstream::raw(parrot);
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let visitor = switched(&tunnel).await;
    drop(visitor);
    eventually("the upstream's connection to end", || upstream.saw().open() == 0).await;
}

async fn an_upstream_may_decline(direction: Direction) {
    let upstream = Upstream::answering(|_| async { response(426, &[("x-why", "no")], empty()) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(ASK).await;
    let answer = visitor.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 426") && answer.contains("x-why: no"), "{answer}");
}

async fn h2c_is_never_switched_to(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(ASK.replace("WebSocket\r\n", "h2c\r\n")).await;
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert_eq!(upstream.saw().last().values("upgrade"), [""; 0]);
}

const CONNECT: &str = "CONNECT raw.example:7 HTTP/1.1\r\nHost: raw.example:7\r\n\r\n";

async fn connect_goes_where_a_rule_lets_it(direction: Direction) {
    let upstream = Upstream::raw(async |mut tcp: TcpStream| {
        let (mut read, mut write) = tcp.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.write_all(b"goodbye").await;
    });
    let mut egress = everything_to(upstream.http());
    egress.rules[0].pattern = pattern(Some("raw.example"), None);
    egress.rules[0].options.connect = true;
    let tunnel = Tunnel::with(egress).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(CONNECT).await;
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    visitor.send("not HTTP at all\0").await;
    assert_eq!(visitor.until("\0").await, "not HTTP at all\0");
    visitor.end().await;
    assert_eq!(visitor.rest().await, "goodbye");
}

async fn connect_is_refused_where_no_rule_lets_it(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(CONNECT).await;
    let answer = visitor.until("\r\n\r\n").await;
    assert_eq!(raw::failure(&answer), (404, "no-route"));
    assert_eq!(upstream.saw().connections(), 0);
}
