//! Visitors that are slow, on purpose or not.

use std::time::Duration;

use adit_core::limits::Limits;
use adit_tests::{
    Direction, Http, Tunnel, Upstream,
    body::{by_hand, empty, full, noise},
    both_directions, eventually,
    upstream::{self, Connection, response},
    visitor::{
        frames::{Frames, get, kind},
        raw::{self, Raw},
        websocket,
    },
    within,
};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

both_directions!(
    a_body_that_does_not_go_on_is_408,
    a_body_may_rest_once_it_is_answered,
    a_visitor_that_reads_nothing_loses_its_connection,
    a_visitor_has_as_many_connections_as_it_may,
    a_trusted_proxy_has_as_many_connections_as_it_likes,
    visitors_that_come_all_at_once_wait_for_their_turn,
    an_http_2_connection_without_requests_is_closed,
    an_http_2_connection_with_a_request_is_not_idle,
    an_http_2_connection_that_carries_a_websocket_is_not_idle,
    a_connection_that_was_switched_still_counts,
);

async fn a_body_that_does_not_go_on_is_408(direction: Direction) {
    let upstream = Upstream::answering(async |request: Request<Incoming>| {
        let whole = request.into_body().collect().await.is_ok();
        response(if whole { 200 } else { 400 }, &[], empty())
    });
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.body_idle = Duration::from_millis(100));
    let tunnel = setup.start(direction).await;
    for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let request = format!("POST / HTTP/1.1\r\nHost: app.test\r\n{framing}");
        assert_eq!(raw::failure(&raw::ask(tunnel.entry(), request).await), (408, "request-timeout"), "{framing:?}");
    }
    let mut visitor = tunnel.http2().await;
    let (chunks, body) = by_hand();
    let request = visitor.request("POST", "/").body(body);
    let pending = visitor.start(request).await;
    chunks.send("abc").await;
    assert_eq!(pending.whole().await.failure(), (408, "request-timeout"));
    eventually("the upstream to be told", || upstream.saw().open() == 0).await;
    assert_eq!(visitor.post("/", full("all of it")).await.failure(), (200, ""));
}

async fn a_body_may_rest_once_it_is_answered(direction: Direction) {
    const IDLE: Duration = Duration::from_millis(100);
    // As gRPC's streams do: both ways at once, and nothing for as long as there is nothing to say.
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.h2c()).timeouts(|timeouts| timeouts.body_idle = IDLE).start(direction).await;
    let mut visitor = tunnel.http2().await;
    let (asks, body) = by_hand();
    let request = visitor.request("POST", "/").body(body);
    let pending = visitor.start(request).await;
    asks.send("first").await;
    let (answers, body) = by_hand();
    let upload = calls.next().await.answer_early(response(200, &[], body));
    answers.send("here").await;
    let mut response = pending.body().await;
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "here");
    tokio::time::sleep(IDLE * 5).await;
    asks.send(" and last").await;
    drop(asks);
    let whole = within("the upload", upload.collect()).await.unwrap();
    assert_eq!(whole.to_bytes(), "first and last");
    answers.send(" and there").await;
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), " and there");
}

async fn a_visitor_that_reads_nothing_loses_its_connection(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.write_idle = Duration::from_millis(100));
    let tunnel = setup.start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let (chunks, body) = by_hand();
    calls.next().await.answer_with(response(200, &[], body));
    let chunk = noise(256 * 1024);
    within("the exchange to be cancelled", async { while chunks.try_send(chunk.clone()).await {} }).await;
    let read = visitor.rest_bytes().await;
    assert!(read.starts_with(b"HTTP/1.1 200 ") && !read.ends_with(b"\r\n0\r\n\r\n"), "it looks complete");
}

async fn is_served(visitor: &mut Raw) -> bool {
    visitor.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    visitor.is_answered().await
}

async fn a_visitor_has_as_many_connections_as_it_may(direction: Direction) {
    let upstream = Upstream::answering(async |_| response(200, &[], empty()));
    let limits = Limits { connections_per_address_max: 2, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let (mut first, mut second) = (Raw::connect(tunnel.entry()).await, Raw::connect(tunnel.entry()).await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    assert!(!is_served(&mut Raw::connect(tunnel.entry()).await).await);
    // Entries share the count.
    assert_eq!(Raw::connect(tunnel.tls_entry()).await.rest().await, "");
    assert!(is_served(&mut first).await);
    drop(second);
    within("a place to be free", async { while !is_served(&mut Raw::connect(tunnel.entry()).await).await {} }).await;
}

async fn a_trusted_proxy_has_as_many_connections_as_it_likes(direction: Direction) {
    let upstream = Upstream::answering(async |_| response(200, &[], empty()));
    let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
    let setup = Tunnel::to(upstream.http()).limits(limits).trusting("127.0.0.0/8");
    let tunnel = setup.start(direction).await;
    let (mut first, mut second) = (Raw::connect(tunnel.entry()).await, Raw::connect(tunnel.entry()).await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
}

async fn visitors_that_come_all_at_once_wait_for_their_turn(direction: Direction) {
    let upstream = Upstream::answering(async |_| response(200, &[], empty()));
    let setup = Tunnel::to(upstream.http()).limits(Limits { connections_max: 1, ..Limits::default() });
    let tunnel = setup.start(direction).await;
    let mut first = Raw::connect(tunnel.entry()).await;
    assert!(is_served(&mut first).await);
    // Nobody accepts them now.
    let mut waiting = Vec::new();
    for _ in 0..500 {
        waiting.push(Raw::connect(tunnel.entry()).await);
    }
    drop(first);
    assert!(is_served(&mut waiting[0]).await);
}

async fn an_http_2_connection_without_requests_is_closed(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.visitor_idle = Duration::from_millis(100));
    let tunnel = setup.start(direction).await;
    let mut visitor = Frames::connect(tunnel.entry(), &[]).await;
    visitor.send(&get(1)).await;
    let (mut answered, mut told) = (false, false);
    while let Some(received) = visitor.next().await {
        answered |= received.kind == kind::HEADERS;
        told |= received.kind == kind::GOAWAY && received.payload[4..8] == [0; 4];
    }
    assert!(answered && told, "answered: {answered}, told: {told}");
}

async fn an_http_2_connection_with_a_request_is_not_idle(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.visitor_idle = Duration::from_millis(20));
    let tunnel = setup.start(direction).await;
    let mut visitor = tunnel.http2().await;
    let request = visitor.request("GET", "/").empty();
    let pending = visitor.start(request).await;
    let call = calls.next().await;
    // Another connection has come, been idle and gone while this one waits.
    let mut other = tunnel.http2().await;
    other.hung_up().await;
    call.answer_with(response(200, &[], full("late")));
    assert_eq!(pending.whole().await.text(), "late");
}

async fn parrot(mut connection: Connection) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = connection.read(&mut buffer).await {
        connection.write_all(&buffer[..length]).await.unwrap();
    }
}

async fn an_http_2_connection_that_carries_a_websocket_is_not_idle(direction: Direction) {
    let upstream = Upstream::switching(upstream::echo, parrot);
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.visitor_idle = Duration::from_millis(20));
    let tunnel = setup.start(direction).await;
    let asked = websocket::ask(tunnel.entry(), Http::Http2, "/", &[]).await;
    let mut visitor = asked.switched(Http::Http2).await;
    // Others have come, been idle, told so and gone while this one is silent.
    for _ in 0..3 {
        tunnel.http2().await.hung_up().await;
    }
    visitor.send("still here").await;
    visitor.expect("still here").await;
}

async fn a_connection_that_was_switched_still_counts(direction: Direction) {
    let upstream = Upstream::switching(upstream::echo, parrot);
    let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let asked = websocket::ask(tunnel.entry(), Http::Http1, "/", &[]).await;
    let visitor = asked.switched(Http::Http1).await;
    assert!(!is_served(&mut Raw::connect(tunnel.entry()).await).await);
    drop(visitor);
    within("its place to be free", async { while !is_served(&mut Raw::connect(tunnel.entry()).await).await {} }).await;
}
