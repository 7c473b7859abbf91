//! Requests that an entry refuses: nobody to ask, no rule, malformed, too large.

use std::time::Duration;

use adit_core::{limits::Limits, route::RuleOptions};
use adit_node::settings::{EgressSettings, IngressRule, UpstreamSettings};
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::{empty, full, noise},
    both_directions,
    node::ServerNode,
    settings::{self, GROUP, group, pattern, to},
    trust::Trust,
    visitor::raw,
};

both_directions! {
    a_request_that_no_egress_rule_takes_is_refused,
    without_any_rule_nothing_is_reachable,
    two_hosts_are_refused,
    a_visitor_that_stops_within_its_preface_is_shown_out,
    a_host_that_is_none_is_refused,
    a_missing_host_is_refused,
    a_path_that_readers_disagree_on_is_refused,
    a_target_that_disagrees_with_the_host_is_refused,
    bytes_that_are_no_http_are_refused,
    a_target_over_the_limit_is_refused,
    a_head_over_the_limit_is_refused,
    a_refused_upload_leaves_a_readable_answer,
}

#[tokio::test]
async fn a_request_that_no_ingress_rule_takes_is_refused() {
    let trust = Trust::default();
    let mut settings = settings::public_server(&trust);
    settings.ingress = vec![IngressRule {
        pattern: pattern(Some("app.example"), Some("/api")),
        group: group(GROUP),
        options: RuleOptions::default(),
    }];
    let server = ServerNode::start(settings).await;
    for (host, path, expected) in [
        ("app.example", "/api/v1", (502, "no-client")),
        ("app.example", "/apis", (404, "no-route")),
        ("app.example", "/", (404, "no-route")),
        ("other.example", "/api", (404, "no-route")),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let entry = server.entry();
        assert_eq!(raw::failure(&raw::ask(entry, request).await), expected, "{host}{path}");
    }
}

async fn a_request_that_no_egress_rule_takes_is_refused(direction: Direction) {
    let upstream = Upstream::echo();
    let servers = UpstreamSettings::new(vec![upstream.http()]);
    let tunnel = Tunnel::with(to(pattern(None, Some("/only")), servers)).start(direction).await;
    let mut visitor = tunnel.http1().await;
    assert_eq!(visitor.get("/other").await.failure(), (404, "no-route"));
    assert_eq!(visitor.get("/only/this").await.failure(), (200, ""));
    assert_eq!(upstream.saw().requests(), 1);
}

async fn without_any_rule_nothing_is_reachable(direction: Direction) {
    let tunnel = Tunnel::with(EgressSettings::default()).start(direction).await;
    assert_eq!(tunnel.http1().await.get("/").await.failure(), (404, "no-route"));
}

/// Sends a request head as it is, and checks that it is refused as malformed and reaches nobody.
async fn refused(direction: Direction, requests: &[&str]) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for request in requests {
        let answer = raw::ask(tunnel.entry(), format!("{request}Connection: close\r\n\r\n")).await;
        assert_eq!(raw::failure(&answer), (400, "bad-request"), "{request:?}");
    }
    assert_eq!(upstream.saw().requests(), 0);
}

async fn two_hosts_are_refused(direction: Direction) {
    refused(direction, &["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n"]).await;
}

async fn a_host_that_is_none_is_refused(direction: Direction) {
    refused(
        direction,
        &[
            "GET / HTTP/1.1\r\nHost: user@a\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n",
            "GET / HTTP/1.1\r\nHost: a:port\r\n",
        ],
    )
    .await;
}

async fn a_missing_host_is_refused(direction: Direction) {
    refused(direction, &["GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost:\r\n"]).await;
}

async fn a_path_that_readers_disagree_on_is_refused(direction: Direction) {
    let paths = ["/a/../b", "/..", "/a/./b", "/%2e%2E/b", "/a/%2e", "/a\\b", "/a%5Cb", "/a%00"];
    let requests = paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n"));
    refused(direction, &requests.each_ref().map(String::as_str)).await;
}

async fn a_target_that_disagrees_with_the_host_is_refused(direction: Direction) {
    refused(direction, &["GET http://a/ HTTP/1.1\r\nHost: b\r\n"]).await;
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http2().await;
    let request = visitor.request("GET", "/").header("host", "other.test").empty();
    assert_eq!(visitor.ask(request).await.failure(), (400, "bad-request"));
    assert_eq!(upstream.saw().requests(), 0);
}

async fn bytes_that_are_no_http_are_refused(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for bytes in ["\x16\x03\x01\x02\x00\x01\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "GET\r\n\r\n"] {
        let answer = raw::ask(tunnel.entry(), bytes).await;
        assert!(answer.is_empty() || raw::failure(&answer).0 == 400, "{bytes:?}: {answer}");
    }
    assert_eq!(upstream.saw().requests(), 0);
    assert_eq!(tunnel.http1().await.get("/").await.status, 200, "others are served");
}

async fn a_target_over_the_limit_is_refused(direction: Direction) {
    let upstream = Upstream::echo();
    let limits = Limits { head_bytes_max: 8 * 1024, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        assert_eq!(visitor.get(&format!("/{}", "a".repeat(4 * 1024))).await.failure(), (414, "too-large"));
        assert_eq!(visitor.get(&format!("/{}", "a".repeat(4 * 1024 - 1))).await.failure(), (200, ""));
    }
    assert_eq!(upstream.saw().requests(), 2);
}

async fn a_head_over_the_limit_is_refused(direction: Direction) {
    let upstream = Upstream::echo();
    let limits = Limits { head_bytes_max: 8 * 1024, head_fields_max: 20, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = visitor.request("GET", "/").header("x-large", &"y".repeat(9 * 1024)).empty();
    assert_eq!(visitor.ask(request).await.failure(), (431, "too-large"));
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let many =
            (0..30).fold(visitor.request("GET", "/"), |request, number| request.header(&format!("x-{number}"), "y"));
        assert_eq!(visitor.ask(many.empty()).await.failure(), (431, "too-large"));
    }
    assert_eq!(upstream.saw().requests(), 0);
    assert_eq!(tunnel.http1().await.get("/").await.failure(), (200, ""));
}

async fn a_refused_upload_leaves_a_readable_answer(direction: Direction) {
    let tunnel = Tunnel::with(EgressSettings::default()).start(direction).await;
    for size in [1, 10_000, 10_000_000] {
        let mut visitor = tunnel.http1().await;
        assert_eq!(visitor.post("/", full(noise(size))).await.failure(), (404, "no-route"), "{size}");
    }
    let mut visitor = Visitor::http2(tunnel.entry()).await;
    for body in [empty(), full(noise(10_000_000)), empty()] {
        assert_eq!(visitor.post("/", body).await.failure(), (404, "no-route"));
    }
}

async fn a_visitor_that_stops_within_its_preface_is_shown_out(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.request_head = Duration::from_millis(50));
    let tunnel = setup.start(direction).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM", "GET / HT"] {
        let mut visitor = raw::Raw::connect(tunnel.entry()).await;
        visitor.send(start).await;
        assert_eq!(visitor.rest().await, "", "{start:?}");
    }
}
