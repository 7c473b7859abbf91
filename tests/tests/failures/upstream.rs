//! Upstreams that are not there, break off, speak something else or say nothing.

use std::time::Duration;

use adit_node::settings::{ServerUrl, UpstreamSettings};
use adit_tests::{
    Direction, Tunnel, Upstream,
    body::full,
    both_directions, eventually,
    settings::{everything_to, pattern, to, url},
    trust::Trust,
    upstream::{echo, nobody},
};
use tokio::io::AsyncWriteExt;

both_directions! {
    an_upstream_that_is_not_there_is_refused,
    an_upstream_whose_name_does_not_resolve_is_unresolved,
    an_upstream_that_resets_before_the_head_is_a_reset,
    an_upstream_that_closes_before_the_head_is_a_reset,
    an_upstream_that_resets_within_the_head_is_a_reset,
    an_upstream_that_speaks_no_http_is_a_protocol_failure,
    an_upstream_whose_head_is_over_the_limits_is_a_protocol_failure,
    an_upstream_that_strangers_signed_for_is_not_spoken_to,
    an_upstream_without_tls_where_there_should_be_is_not_spoken_to,
    an_upstream_that_is_silent_runs_into_the_timeout,
    one_failure_leaves_the_next_request_alone,
    a_connection_that_nobody_uses_is_closed,
}

/// Asks an upstream in each version of HTTP, with and without a body, and checks how it fails.
async fn fails(server: ServerUrl, direction: Direction, expected: (u16, &str)) {
    let tunnel = Tunnel::with(everything_to(server)).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        assert_eq!(visitor.get("/").await.failure(), expected);
        assert_eq!(visitor.post("/", full("a body")).await.failure(), expected);
    }
}

async fn an_upstream_that_is_not_there_is_refused(direction: Direction) {
    let (_nobody, address) = nobody();
    for scheme in ["http", "h2c", "https"] {
        fails(url(scheme, address), direction, (502, "upstream-refused")).await;
    }
}

async fn an_upstream_whose_name_does_not_resolve_is_unresolved(direction: Direction) {
    // A label longer than DNS allows, so that no resolver has to be asked.
    let unresolved = url("http", format!("{}.invalid", "a".repeat(64)));
    fails(unresolved, direction, (502, "upstream-unresolved")).await;
}

async fn an_upstream_that_resets_before_the_head_is_a_reset(direction: Direction) {
    let upstream = Upstream::resetting();
    fails(upstream.http(), direction, (502, "upstream-reset")).await;
}

async fn an_upstream_that_closes_before_the_head_is_a_reset(direction: Direction) {
    let upstream = Upstream::saying("");
    fails(upstream.http(), direction, (502, "upstream-reset")).await;
}

async fn an_upstream_that_resets_within_the_head_is_a_reset(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ncontent-le");
    fails(upstream.http(), direction, (502, "upstream-reset")).await;
}

async fn an_upstream_that_speaks_no_http_is_a_protocol_failure(direction: Direction) {
    for garbage in ["SSH-2.0-OpenSSH_9.6\r\n", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"] {
        let upstream = Upstream::saying(garbage);
        fails(upstream.http(), direction, (502, "upstream-protocol")).await;
    }
}

async fn an_upstream_whose_head_is_over_the_limits_is_a_protocol_failure(direction: Direction) {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(80_000));
    let upstream = Upstream::saying(large);
    fails(upstream.http(), direction, (502, "upstream-protocol")).await;
}

async fn an_upstream_that_strangers_signed_for_is_not_spoken_to(direction: Direction) {
    let (strangers, ours) = (Trust::default(), Trust::default());
    let upstream = Upstream::answering_over_tls(strangers.https(&["h2", "http/1.1"]), echo);
    let trusted = UpstreamSettings { roots: Some(ours.roots()), ..UpstreamSettings::new(vec![upstream.https()]) };
    let tunnel = Tunnel::with(to(pattern(None, None), trusted)).start(direction).await;
    let answer = tunnel.http1().await.post("/", full("secret")).await;
    assert_eq!(answer.failure(), (502, "upstream-tls"));
    assert_eq!(upstream.saw().requests(), 0);
}

async fn an_upstream_without_tls_where_there_should_be_is_not_spoken_to(direction: Direction) {
    let upstream = Upstream::raw(|mut tcp| async move {
        // What an HTTP server says to a TLS handshake.
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    });
    fails(upstream.https(), direction, (502, "upstream-tls")).await;
}

async fn an_upstream_that_is_silent_runs_into_the_timeout(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.response_head = Duration::from_millis(300));
    let tunnel = setup.start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        assert_eq!(visitor.get("/").await.failure(), (504, "timeout"));
        calls.next().await.abandoned().await;
    }
    eventually("the silent connections to be closed", || upstream.saw().open() == 0).await;
}

async fn one_failure_leaves_the_next_request_alone(direction: Direction) {
    let (broken, sound) = (Upstream::saying("garbage\r\n\r\n"), Upstream::echo());
    let mut egress = everything_to(sound.http());
    let rest = to(pattern(None, Some("/broken")), UpstreamSettings::new(vec![broken.http()]));
    egress.rules.extend(
        rest.rules.into_iter().map(|rule| adit_node::settings::EgressRule { upstream: "broken".to_owned(), ..rule }),
    );
    egress.upstreams.extend(rest.upstreams.into_values().map(|upstream| ("broken".to_owned(), upstream)));
    let tunnel = Tunnel::with(egress).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for _ in 0..3 {
        assert_eq!(visitor.get("/broken").await.failure(), (502, "upstream-protocol"));
        assert_eq!(visitor.get("/sound").await.failure(), (200, ""));
    }
}

async fn a_connection_that_nobody_uses_is_closed(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.upstream_idle = Duration::from_millis(100));
    let tunnel = setup.start(direction).await;
    assert_eq!(tunnel.http1().await.get("/").await.failure(), (200, ""));
    assert_eq!(upstream.saw().connections(), 1);
    eventually("the connection to be closed", || upstream.saw().open() == 0).await;
}
