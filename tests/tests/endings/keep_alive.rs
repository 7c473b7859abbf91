//! A visitor that keeps its connection loses no request to a node that stops.

use std::time::Duration;

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{by_hand, full},
    both_directions, eventually,
    message::{Http, expect, expect_end},
    visitor::{
        Visitor,
        raw::Raw,
        steady::{Habit, Steady},
    },
    within,
};
use tokio::net::TcpStream;

both_directions! {
    a_request_on_an_idle_connection_is_answered_and_is_the_last,
    a_request_on_a_new_connection_is_answered_and_is_the_last,
    a_connection_that_nobody_has_accepted_is_answered,
    a_response_under_way_may_be_followed_by_one_more_request,
    a_connection_that_stays_idle_is_closed,
    no_request_of_visitors_that_keep_asking_is_lost,
}

/// Starts a tunnel whose idle connections outlast every test, unless they are used.
async fn start(upstream: &Upstream, direction: Direction) -> Tunnel {
    let patient = |timeouts: &mut adit_core::limits::Timeouts| timeouts.drain_idle = Duration::from_secs(600);
    Tunnel::to(upstream.http()).timeouts(patient).start(direction).await
}

/// Stops the node with the entry.
fn stop(tunnel: &Tunnel, direction: Direction) {
    match direction {
        Direction::Reverse => tunnel.server.stop(),
        Direction::Forward => tunnel.client.stop(),
    }
}

/// Waits until the node with the entry has stopped.
async fn stopped(tunnel: Tunnel, direction: Direction) {
    match direction {
        Direction::Reverse => tunnel.server.stopped().await,
        Direction::Forward => tunnel.client.stopped().await,
    }
}

/// Waits until an entry takes no connections any more.
async fn closed(tunnel: &Tunnel) {
    let entry = tunnel.entry();
    within("the entry to be closed", async { while TcpStream::connect(entry).await.is_ok() {} }).await;
}

async fn is_answered_for_the_last_time(visitor: &mut Visitor) {
    let answer = visitor.get("/").await;
    assert_eq!((answer.failure(), answer.values("connection")), ((200, ""), vec!["close"]));
    visitor.hung_up().await;
}

async fn a_request_on_an_idle_connection_is_answered_and_is_the_last(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = start(&upstream, direction).await;
    let mut visitor = tunnel.http1().await;
    assert_eq!(visitor.get("/").await.values("connection"), Vec::<&str>::new());
    stop(&tunnel, direction);
    closed(&tunnel).await;
    is_answered_for_the_last_time(&mut visitor).await;
    stopped(tunnel, direction).await;
}

async fn a_request_on_a_new_connection_is_answered_and_is_the_last(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = start(&upstream, direction).await;
    let mut halting = Raw::connect(tunnel.entry()).await;
    halting.send("GET / HTTP/1.1\r\n").await;
    let mut visitors = [tunnel.http1().await, tunnel.tls(&["http/1.1"]).await];
    stop(&tunnel, direction);
    closed(&tunnel).await;
    for visitor in &mut visitors {
        is_answered_for_the_last_time(visitor).await;
    }
    halting.send("host: app.test\r\n\r\n").await;
    let answer = halting.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    stopped(tunnel, direction).await;
}

async fn a_connection_that_nobody_has_accepted_is_answered(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = start(&upstream, direction).await;
    // The node runs on this very thread: it sees nothing of this before it sees that it is to stop.
    let waiting: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(tunnel.entry()).unwrap()).collect();
    stop(&tunnel, direction);
    closed(&tunnel).await;
    assert!(!waiting.is_empty());
    for tcp in waiting {
        tcp.set_nonblocking(true).unwrap();
        let mut visitor = Visitor::on(TcpStream::from_std(tcp).unwrap(), Http::Http1).await;
        is_answered_for_the_last_time(&mut visitor).await;
    }
    stopped(tunnel, direction).await;
}

async fn a_response_under_way_may_be_followed_by_one_more_request(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = start(&upstream, direction).await;
    let mut visitor = tunnel.http1().await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer(body);
    let mut answer = pending.body().await;
    chunks.send("a beginning").await;
    expect(&mut answer, "a beginning").await;
    stop(&tunnel, direction);
    closed(&tunnel).await;
    drop(chunks);
    expect_end(&mut answer).await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    calls.next().await.answer(full("an answer"));
    let answer = pending.whole().await;
    assert_eq!((answer.text(), answer.values("connection")), ("an answer", vec!["close"]));
    visitor.hung_up().await;
    stopped(tunnel, direction).await;
}

async fn a_connection_that_stays_idle_is_closed(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.drain_idle = Duration::from_millis(50));
    let tunnel = setup.start(direction).await;
    let mut used = tunnel.http1().await;
    assert_eq!(used.get("/").await.failure(), (200, ""));
    let unused = Raw::connect(tunnel.entry()).await;
    let (mut halting, mut halting_again) = (Raw::connect(tunnel.entry()).await, Raw::connect(tunnel.entry()).await);
    halting.send("GET / HT").await;
    halting_again.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\nGET / HT").await;
    halting_again.until("\r\n\r\n").await;
    stop(&tunnel, direction);
    used.hung_up().await;
    for closed in [unused, halting, halting_again] {
        assert_eq!(closed.rest().await, "");
    }
    stopped(tunnel, direction).await;
}

async fn no_request_of_visitors_that_keep_asking_is_lost(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = start(&upstream, direction).await;
    let habits = [Habit::Kept(Http::Http1), Habit::Kept(Http::Http2), Habit::Fresh];
    let visitors = Steady::start(tunnel.entry(), &habits, 8, Duration::from_millis(1));
    eventually("requests to be under way", || upstream.saw().requests() >= 500).await;
    stop(&tunnel, direction);
    stopped(tunnel, direction).await;
    let tally = visitors.tally().await;
    assert_eq!(tally.failed, Vec::<String>::new());
    assert!(tally.answered >= 500 && tally.refused > 0, "{tally:?}");
}
