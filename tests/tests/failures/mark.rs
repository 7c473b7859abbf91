//! `adit-error` is on every response that adit makes and on no other, in the form that the visitor reads.

use adit_node::settings::EgressSettings;
use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{empty, full},
    both_directions,
    message::values,
    settings::{everything_to, url},
    upstream::{nobody, response},
};
use http::HeaderValue;
use http_body::Body;

both_directions! {
    an_upstream_cannot_speak_for_adit,
    a_visitor_cannot_speak_for_adit,
    an_error_of_the_upstream_is_passed_on_as_its_own,
    a_refusal_is_told_in_the_form_that_the_visitor_reads,
    a_refusal_names_the_request_and_nothing_inside,
    a_refused_head_request_has_no_body,
    a_refusal_of_grpc_is_nothing_but_trailers,
}

async fn an_upstream_cannot_speak_for_adit(direction: Direction) {
    let upstream = Upstream::answering(|_| async {
        response(502, &[("adit-error", "no-client"), ("x-own", "1")], full("the upstream's own"))
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let answer = visitor.get("/").await;
        assert_eq!((answer.failure(), answer.text()), ((502, ""), "the upstream's own"));
        assert_eq!(answer.values("x-own"), ["1"]);
    }
}

async fn a_visitor_cannot_speak_for_adit(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    visitor.ask(visitor.request("GET", "/").header("adit-error", "loop").empty()).await;
    assert!(!upstream.saw().last().headers.contains_key("adit-error"));
}

async fn an_error_of_the_upstream_is_passed_on_as_its_own(direction: Direction) {
    let upstream = Upstream::answering(|request| async move {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or_default();
        response(status, &[("retry-after", "7")], full("own words"))
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for status in [400, 401, 403, 404, 408, 413, 429, 431, 500, 502, 503, 504, 508] {
        let answer = visitor.get(&format!("/{status}")).await;
        assert_eq!((answer.failure(), answer.text()), ((status, ""), "own words"));
        assert_eq!(answer.values("retry-after"), ["7"]);
    }
}

async fn a_refusal_of_grpc_is_nothing_but_trailers(direction: Direction) {
    let (_nobody, address) = nobody();
    for (egress, code, status) in
        [(EgressSettings::default(), "no-route", "12"), (everything_to(url("h2c", address)), "upstream-refused", "14")]
    {
        let tunnel = Tunnel::with(egress).start(direction).await;
        let mut visitor = tunnel.http2().await;
        let request =
            visitor.request("POST", "/a.B/C").header("content-type", "application/grpc").header("te", "trailers");
        let response = visitor.send(request.body(full("\0\0\0\0\0"))).await;
        assert!(response.body().is_end_stream());
        assert_eq!(
            (response.status().as_u16(), &response.headers()["adit-error"]),
            (200, &HeaderValue::from_static(code))
        );
        assert_eq!(values(response.headers(), "grpc-status"), [status]);
        assert_eq!(values(response.headers(), "content-type"), ["application/grpc"]);
        assert!(!values(response.headers(), "grpc-message")[0].contains("127.0.0.1"));
    }
}

async fn a_refusal_is_told_in_the_form_that_the_visitor_reads(direction: Direction) {
    let tunnel = Tunnel::with(EgressSettings::default()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for (accept, content_type, start) in [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", "<!doctype html>"),
        ("application/json", "application/json", "{\"status\":404,\"error\":\"no-route\","),
        ("*/*", "text/plain; charset=utf-8", "404 no-route: "),
    ] {
        let answer = visitor.ask(visitor.request("GET", "/").header("accept", accept).empty()).await;
        assert_eq!(answer.failure(), (404, "no-route"));
        assert_eq!(answer.values("content-type"), [content_type]);
        assert!(answer.text().starts_with(start), "{}", answer.text());
    }
}

async fn a_refusal_names_the_request_and_nothing_inside(direction: Direction) {
    let upstream = Upstream::saying("garbage\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for accept in ["text/html", "application/json", "text/plain"] {
        let request = visitor.request("GET", "/").header("accept", accept).header("x-request-id", "mine-1");
        let answer = visitor.ask(request.empty()).await;
        assert_eq!(answer.failure(), (502, "upstream-protocol"));
        assert_eq!(answer.values("x-request-id"), ["mine-1"]);
        assert!(answer.text().contains("mine-1"), "{}", answer.text());
        let told = format!("{:?}{}", answer.headers, answer.text());
        for address in [upstream.address(), tunnel.server.tunnel] {
            assert!(!told.contains(&address.port().to_string()), "{told}");
        }
        assert!(!told.contains("127.0.0.1"), "{told}");
    }
}

async fn a_refused_head_request_has_no_body(direction: Direction) {
    let tunnel = Tunnel::with(EgressSettings::default()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let answer = visitor.ask(visitor.request("HEAD", "/").body(empty())).await;
        let length = visitor.get("/").await.body.len();
        assert_eq!((answer.failure(), answer.body.len()), ((404, "no-route"), 0));
        assert_eq!(answer.values("content-length"), [length.to_string()]);
        assert_eq!(visitor.get("/").await.failure(), (404, "no-route"), "the connection goes on");
    }
}
