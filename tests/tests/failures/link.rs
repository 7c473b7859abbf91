//! Nobody at the other end of the link, too much on it, or the way back to where it came from.

use std::time::Duration;

use adit_core::limits::Limits;
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::{by_hand, empty},
    both_directions,
    message::{expect, expect_cut},
    node::{ClientNode, ServerNode, nobody},
    settings::{self, CLIENT},
    trust::Trust,
};

both_directions! {
    a_link_that_is_full_refuses_after_the_wait_for_a_turn,
    a_link_that_was_full_takes_requests_again,
    a_request_whose_link_is_lost_fails_and_so_does_the_next,
    a_response_whose_link_is_lost_is_cut,
}

#[tokio::test]
async fn a_server_without_a_client_says_so_at_once() {
    // The wait for a response head is an hour in tests, so this cannot be a timeout.
    let server = ServerNode::start(settings::public_server(&Trust::default())).await;
    for mut visitor in [Visitor::http1(server.entry()).await, Visitor::http2(server.entry()).await] {
        assert_eq!(visitor.get("/").await.failure(), (502, "no-client"));
    }
}

#[tokio::test]
async fn a_client_without_a_server_says_so_at_once() {
    let (_nobody, address) = nobody();
    let trust = Trust::default();
    let mut settings = settings::client(&trust, CLIENT, address);
    settings.http = Some(settings::entry());
    let client = ClientNode::start(settings).await;
    let mut visitor = Visitor::http1(client.entry()).await;
    assert_eq!(visitor.get("/").await.failure(), (502, "no-server"));
}

#[tokio::test]
async fn a_client_whose_server_stops_serves_its_entry_on() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut settings = settings::client(&trust, CLIENT, server.tunnel);
    settings.http = Some(settings::entry());
    let client = ClientNode::start(settings).await;
    client.has_servers(1).await;
    let mut visitor = Visitor::http1(client.entry()).await;
    assert_eq!(visitor.get("/").await.failure(), (404, "no-route"));
    server.stop();
    server.stopped().await;
    client.has_servers(0).await;
    let answer = visitor.get("/").await;
    assert!([(502, "no-server"), (503, "draining")].contains(&answer.failure()), "{:?}", answer.failure());
}

/// Lets one exchange through at a time, and waits for a turn no longer than `turn`.
async fn narrow(upstream: &Upstream, turn: Duration, direction: Direction) -> Tunnel {
    let limits = Limits { exchanges_per_link_max: 1, ..Limits::default() };
    let setup = Tunnel::to(upstream.http()).limits(limits);
    setup.timeouts(|timeouts| timeouts.response_head = turn).start(direction).await
}

async fn a_link_that_is_full_refuses_after_the_wait_for_a_turn(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = narrow(&upstream, Duration::from_secs(2), direction).await;
    let mut first = tunnel.http1().await;
    let pending = first.start(first.request("GET", "/").empty()).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer(body);
    let mut going_on = pending.body().await;
    let refused = tunnel.http1().await.get("/").await;
    assert_eq!(refused.failure(), (503, "overloaded"));
    assert_eq!(refused.values("retry-after"), ["1"]);
    chunks.send("still here").await;
    expect(&mut going_on, "still here").await;
    assert!(calls.is_empty());
}

async fn a_link_that_was_full_takes_requests_again(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = narrow(&upstream, Duration::from_secs(3_600), direction).await;
    let (mut first, mut second) = (tunnel.http1().await, tunnel.http1().await);
    let holding = first.start(first.request("GET", "/first").empty()).await;
    let call = calls.next().await;
    let waiting = second.start(second.request("GET", "/second").empty()).await;
    first.hang_up();
    drop(holding);
    call.abandoned().await;
    let call = calls.next().await;
    assert_eq!(call.head.uri.path(), "/second");
    call.answer(empty());
    assert_eq!(waiting.head().await.status(), 200);
}

async fn a_request_whose_link_is_lost_fails_and_so_does_the_next(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let call = calls.next().await;
    let rest = tunnel.kill_far_end();
    call.abandoned().await;
    let lost = pending.whole().await;
    assert_eq!(lost.failure(), (502, "link-lost"));
    rest.is_alone().await;
    assert_eq!(visitor.get("/").await.failure(), (502, direction.nobody()));
}

async fn a_response_whose_link_is_lost_is_cut(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let (mut http1, mut http2) = (tunnel.http1().await, tunnel.http2().await);
    let mut answers = Vec::new();
    for visitor in [&mut http1, &mut http2] {
        let pending = visitor.start(visitor.request("GET", "/").empty()).await;
        let (chunks, body) = by_hand();
        calls.next().await.answer(body);
        chunks.send("a beginning").await;
        let mut answer = pending.body().await;
        expect(&mut answer, "a beginning").await;
        answers.push((chunks, answer));
    }
    let _rest = tunnel.kill_far_end();
    for (_chunks, mut answer) in answers {
        expect_cut(&mut answer).await;
    }
}
