//! `Expect: 100-continue`: a body is sent when the upstream wants it, and not before (RFC 9110 §10.1.1).

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{by_hand, full},
    both_directions,
    message::{expect, next_chunk},
    upstream::response,
    visitor::raw::{self, Raw},
};
use http::Response;

both_directions! {
    a_body_is_asked_for_when_the_upstream_asks,
    a_chunked_body_is_asked_for_when_the_upstream_asks,
    an_upstream_that_refuses_gets_no_body,
    a_response_longer_than_a_packet_is_not_cut_by_a_body_that_was_not_sent,
    an_upstream_that_begins_its_answer_without_asking_gets_the_body,
    an_upstream_over_http_2_that_refuses_gets_no_body,
    an_upstream_over_http_2_gets_the_body,
    an_upstream_that_never_asks_gets_the_body_nevertheless,
    an_upstream_that_asks_twice_gets_the_body_once,
    other_interim_responses_ask_for_nothing,
    a_visitor_that_does_not_wait_is_served,
    a_visitor_that_is_refused_and_sends_nevertheless_is_not_taken_for_another_request,
    a_visitor_over_http_2_may_expect_too,
    an_old_visitor_is_not_told_to_continue,
    a_request_that_no_rule_takes_is_refused_without_its_body,
}

const HEAD: &str = "POST /up HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";

async fn a_body_is_asked_for_when_the_upstream_asks(direction: Direction) {
    asked_for(direction, HEAD, "body", "\r\n\r\nbody").await;
}

async fn a_chunked_body_is_asked_for_when_the_upstream_asks(direction: Direction) {
    let head = HEAD.replace("Content-Length: 4", "Transfer-Encoding: chunked");
    asked_for(direction, &head, "4\r\nbody\r\n0\r\n\r\n", "4\r\nbody\r\n0\r\n\r\n").await;
}

async fn asked_for(direction: Direction, head: &str, body: &str, end: &str) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(head).await;
    let mut server = connections.next().await;
    let asked = server.until("\r\n\r\n").await;
    assert!(asked.contains("\r\nexpect: 100-continue\r\n"), "{asked}");
    assert!(visitor.is_silent() && server.is_silent(), "nobody has asked for the body");
    server.send(CONTINUE).await;
    assert_eq!(visitor.until("\r\n\r\n").await, CONTINUE);
    visitor.send(body).await;
    let got = format!("\r\n\r\n{}", server.until(end.trim_start()).await);
    assert!(got.ends_with(end), "{got}");
    server.send(DONE).await;
    let answer = visitor.until("done").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

async fn an_upstream_that_refuses_gets_no_body(direction: Direction) {
    for refusal in ["401 Unauthorized", "413 Content Too Large", "417 Expectation Failed", "307 Temporary Redirect"] {
        let (upstream, mut connections) = Upstream::raw_by_hand();
        let tunnel = Tunnel::to(upstream.http()).start(direction).await;
        let mut visitor = Raw::connect(tunnel.entry()).await;
        visitor.send(HEAD).await;
        let mut server = connections.next().await;
        server.until("\r\n\r\n").await;
        server.send(format!("HTTP/1.1 {refusal}\r\ncontent-length: 2\r\n\r\nno")).await;
        let answer = visitor.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {refusal}\r\n")), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\nno"), "{answer}");
        assert_eq!(server.rest().await, "", "no body, and no other request on this connection");
    }
}

async fn a_response_longer_than_a_packet_is_not_cut_by_a_body_that_was_not_sent(direction: Direction) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    let mut server = connections.next().await;
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 300000\r\n\r\n").await;
    visitor.until("\r\n\r\n").await;
    for _ in 0..30 {
        server.send("x".repeat(10_000)).await;
    }
    assert_eq!(visitor.rest().await.len(), 300_000);
}

async fn an_upstream_that_begins_its_answer_without_asking_gets_the_body(direction: Direction) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    let mut server = connections.next().await;
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n").await;
    assert_eq!(visitor.until("\r\n\r\n").await, CONTINUE);
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    visitor.send("body").await;
    let body = server.until("body").await;
    server.send(format!("{body}done")).await;
    assert_eq!(visitor.until("done").await, "bodydone");
}

async fn an_upstream_over_http_2_that_refuses_gets_no_body(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    calls.next().await.answer_with(response(401, &[], full("no")));
    let answer = visitor.rest().await;
    // hyper does not say when an upstream asks over HTTP/2, so the body is asked for after a short while.
    let answer = answer.strip_prefix(CONTINUE).unwrap_or(&answer);
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n") && answer.ends_with("no"), "{answer}");
}

async fn an_upstream_over_http_2_gets_the_body(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    assert_eq!(visitor.until("\r\n\r\n").await, CONTINUE);
    visitor.send("body").await;
    assert!(visitor.until("body").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

async fn an_upstream_that_never_asks_gets_the_body_nevertheless(direction: Direction) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    let mut server = connections.next().await;
    server.until("\r\n\r\n").await;
    assert_eq!(visitor.until("\r\n\r\n").await, CONTINUE);
    visitor.send("body").await;
    assert_eq!(server.until("body").await, "body");
    server.send(DONE).await;
    assert!(visitor.until("done").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

async fn an_upstream_that_asks_twice_gets_the_body_once(direction: Direction) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    let mut server = connections.next().await;
    server.until("\r\n\r\n").await;
    server.send(CONTINUE).await;
    visitor.until("\r\n\r\n").await;
    server.send(CONTINUE).await;
    visitor.send("body").await;
    assert_eq!(server.until("body").await, "body");
    server.send(format!("{CONTINUE}{DONE}")).await;
    let answer = visitor.until("done").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(visitor);
    assert_eq!(server.rest().await, "");
}

async fn other_interim_responses_ask_for_nothing(direction: Direction) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    let mut server = connections.next().await;
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
    server.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
    let answer = visitor.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

async fn a_visitor_that_does_not_wait_is_served(direction: Direction) {
    let upstream = Upstream::echo();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let mut visitor = Raw::connect(tunnel.entry()).await;
        for _ in 0..3 {
            visitor.send(format!("{HEAD}body")).await;
            let answer = visitor.until("\r\n\r\nbody").await;
            let answer = answer.strip_prefix(CONTINUE).unwrap_or(&answer);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }
}

async fn a_visitor_that_is_refused_and_sends_nevertheless_is_not_taken_for_another_request(direction: Direction) {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD.replace("Length: 4", &format!("Length: {}", hidden.len() * 2))).await;
    let mut server = connections.next().await;
    server.until("\r\n\r\n").await;
    server.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    visitor.until("\r\n\r\n").await;
    visitor.send(format!("{hidden}{hidden}")).await;
    assert_eq!(visitor.rest().await, "");
    assert_eq!(server.rest().await, "");
    assert!(connections.is_empty());
}

async fn a_visitor_over_http_2_may_expect_too(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let mut visitor = tunnel.http2().await;
        let (chunks, body) = by_hand();
        let request = visitor.request("POST", "/").header("expect", "100-continue").body(body);
        let pending = visitor.start(request).await;
        let mut call = calls.next().await;
        chunks.send("body").await;
        expect(&mut call.body, "body").await;
        drop(chunks);
        assert_eq!(next_chunk(&mut call.body).await.unwrap(), None);
        call.answer_with(Response::new(full("done")));
        assert_eq!(pending.whole().await.text(), "done");
    }
}

async fn an_old_visitor_is_not_told_to_continue(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = raw::ask(tunnel.entry(), format!("{}body", HEAD.replace("HTTP/1.1", "HTTP/1.0"))).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nbody"), "{answer}");
    assert!(!upstream.saw().last().headers.contains_key("expect"));
}

async fn a_request_that_no_rule_takes_is_refused_without_its_body(direction: Direction) {
    let tunnel = Tunnel::with(adit_node::settings::EgressSettings::default()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(HEAD).await;
    let answer = visitor.until("\r\n\r\n").await;
    assert_eq!(raw::failure(&answer), (404, "no-route"));
}
