//! A switch to WebSocket where TLS negotiates a version that cannot be switched.

use adit_node::{egress::websocket::accept, settings::UpstreamSettings};
use adit_tests::{
    Direction, Http, Tunnel, Upstream,
    body::full,
    both_directions,
    settings::{pattern, to},
    trust::Trust,
    upstream::response,
    visitor::websocket,
};
use http::HeaderValue;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

both_directions! {
    an_https_upstream_that_switches_over_http_1_only_is_asked_over_http_1,
}

/// Serves pages over HTTP/2, without extended CONNECT, and WebSockets over HTTP/1.1.
async fn serve(tls: TlsAcceptor, tcp: TcpStream) {
    let Ok(tls) = tls.accept(tcp).await else { return };
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return parrot(tls).await;
    }
    let page =
        hyper::service::service_fn(async |_| Ok::<_, std::convert::Infallible>(response(200, &[], full("page"))));
    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // A peer that is gone needs no page.
    let _ = http2.serve_connection(TokioIo::new(tls), page).await;
}

/// Agrees to switch, and says everything again.
async fn parrot(mut tls: TlsStream<TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = tls.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let Some(key) = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")) else { return };
    let answer = HeaderValue::from_str(key).ok().and_then(|key| accept(&key));
    let Some(Ok(answer)) = answer.as_ref().map(HeaderValue::to_str) else { return };
    let agreed =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept";
    let _ = tls.write_all(format!("{agreed}: {answer}\r\n\r\n").as_bytes()).await;
    let (mut read, mut write) = split(tls);
    let _ = copy(&mut read, &mut write).await;
}

async fn an_https_upstream_that_switches_over_http_1_only_is_asked_over_http_1(direction: Direction) {
    let trust = Trust::default();
    let tls = trust.https(&["h2", "http/1.1"]);
    let upstream = Upstream::raw(move |tcp| serve(tls.clone(), tcp));
    let trusted = UpstreamSettings { roots: Some(trust.roots()), ..UpstreamSettings::new(vec![upstream.https()]) };
    let tunnel = Tunnel::with(to(pattern(None, None), trusted)).start(direction).await;
    for version in [Http::Http1, Http::Http2] {
        let asked = websocket::ask(tunnel.entry(), version, "/chat", &[]).await;
        let mut socket = asked.switched(version).await;
        socket.send("and back").await;
        socket.expect("and back").await;
        assert_eq!(tunnel.http1().await.get("/").await.text(), "page", "pages still come over HTTP/2");
    }
    assert_eq!(upstream.saw().connections(), 3, "one for all pages, and one for each WebSocket");
}
