//! A node that stops finishes what is in flight, takes nothing new, and is gone.

use std::time::Duration;

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{by_hand, full},
    both_directions,
    message::{expect, expect_cut, expect_end},
    settings::GROUP,
    visitor::raw::Raw,
    within,
};
use tokio::net::TcpStream;

both_directions! {
    a_server_that_stops_finishes_a_response_in_flight,
    a_client_that_stops_finishes_a_response_in_flight,
    a_server_that_stops_finishes_a_request_that_waits_for_its_answer,
    a_client_that_stops_finishes_a_request_that_waits_for_its_answer,
    a_server_that_stops_finishes_an_upload_in_flight,
    a_client_that_stops_finishes_an_upload_in_flight,
    both_nodes_may_stop_at_once,
    idle_visitors_do_not_keep_a_node_from_stopping,
    what_is_in_flight_at_the_end_of_the_grace_is_cut,
    an_entry_whose_far_end_drains_takes_nothing_new,
}

#[derive(Clone, Copy)]
enum Who {
    Server,
    Client,
}

fn stop(tunnel: &Tunnel, who: Who) {
    match who {
        Who::Server => tunnel.server.stop(),
        Who::Client => tunnel.client.stop(),
    }
}

async fn stopped(tunnel: Tunnel, who: Who) {
    match who {
        Who::Server => tunnel.server.stopped().await,
        Who::Client => tunnel.client.stopped().await,
    }
}

fn runs(tunnel: &Tunnel, who: Who) -> bool {
    match who {
        Who::Server => tunnel.server.runs(),
        Who::Client => tunnel.client.runs(),
    }
}

/// Waits until a node that stops has told everybody: its entry is closed, and the far end of its link knows.
async fn told(tunnel: &Tunnel) {
    let entry = tunnel.entry();
    loop {
        let Ok(tcp) = TcpStream::connect(entry).await else { return };
        drop(tcp);
        if tunnel.server.clients(GROUP) == 0 || tunnel.client.servers() == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn finishes_a_response(direction: Direction, who: Who) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let (mut http1, mut http2) = (tunnel.http1().await, tunnel.http2().await);
    let mut answers = Vec::new();
    for visitor in [&mut http1, &mut http2] {
        let pending = visitor.start(visitor.request("GET", "/").empty()).await;
        let (chunks, body) = by_hand();
        calls.next().await.answer(body);
        chunks.send("before").await;
        let mut answer = pending.body().await;
        expect(&mut answer, "before").await;
        answers.push((chunks, answer));
    }
    stop(&tunnel, who);
    within("the stop to be told", told(&tunnel)).await;
    assert!(runs(&tunnel, who), "it does not wait for what is in flight");
    for (chunks, mut answer) in answers {
        chunks.send("after").await;
        drop(chunks);
        expect(&mut answer, "after").await;
        expect_end(&mut answer).await;
    }
    stopped(tunnel, who).await;
}

async fn a_server_that_stops_finishes_a_response_in_flight(direction: Direction) {
    finishes_a_response(direction, Who::Server).await;
}

async fn a_client_that_stops_finishes_a_response_in_flight(direction: Direction) {
    finishes_a_response(direction, Who::Client).await;
}

async fn finishes_a_request(direction: Direction, who: Who) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let call = calls.next().await;
    stop(&tunnel, who);
    within("the stop to be told", told(&tunnel)).await;
    assert!(runs(&tunnel, who) && !call.is_abandoned());
    call.answer(full("an answer"));
    let answer = pending.whole().await;
    assert_eq!((answer.failure(), answer.text()), ((200, ""), "an answer"));
    stopped(tunnel, who).await;
}

async fn a_server_that_stops_finishes_a_request_that_waits_for_its_answer(direction: Direction) {
    finishes_a_request(direction, Who::Server).await;
}

async fn a_client_that_stops_finishes_a_request_that_waits_for_its_answer(direction: Direction) {
    finishes_a_request(direction, Who::Client).await;
}

async fn finishes_an_upload(direction: Direction, who: Who) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let (chunks, body) = by_hand();
    let pending = visitor.start(visitor.request("POST", "/").body(body)).await;
    chunks.send("before").await;
    let mut echo = pending.body().await;
    expect(&mut echo, "before").await;
    stop(&tunnel, who);
    within("the stop to be told", told(&tunnel)).await;
    chunks.send("after").await;
    drop(chunks);
    expect(&mut echo, "after").await;
    expect_end(&mut echo).await;
    stopped(tunnel, who).await;
}

async fn a_server_that_stops_finishes_an_upload_in_flight(direction: Direction) {
    finishes_an_upload(direction, Who::Server).await;
}

async fn a_client_that_stops_finishes_an_upload_in_flight(direction: Direction) {
    finishes_an_upload(direction, Who::Client).await;
}

async fn both_nodes_may_stop_at_once(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let call = calls.next().await;
    tunnel.server.stop();
    tunnel.client.stop();
    within("the stop to be told", told(&tunnel)).await;
    call.answer(full("an answer"));
    let answer = pending.whole().await;
    assert_eq!((answer.failure(), answer.text()), ((200, ""), "an answer"));
    tunnel.server.stopped().await;
    tunnel.client.stopped().await;
}

async fn idle_visitors_do_not_keep_a_node_from_stopping(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let (mut http1, mut http2) = (tunnel.http1().await, tunnel.http2().await);
    assert_eq!((http1.get("/").await.failure(), http2.get("/").await.failure()), ((200, ""), (200, "")));
    let silent = Raw::connect(tunnel.entry()).await;
    let mut halting = Raw::connect(tunnel.entry()).await;
    halting.send("GET / HT").await;
    tunnel.server.stop();
    tunnel.client.stop();
    http1.hung_up().await;
    http2.hung_up().await;
    assert_eq!(silent.rest().await, "");
    halting.rest().await;
    tunnel.server.stopped().await;
    tunnel.client.stopped().await;
}

async fn what_is_in_flight_at_the_end_of_the_grace_is_cut(direction: Direction) {
    for who in [Who::Server, Who::Client] {
        let (upstream, mut calls) = Upstream::by_hand();
        let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.drain = Duration::from_millis(100));
        let tunnel = setup.start(direction).await;
        let mut visitor = tunnel.http1().await;
        let pending = visitor.start(visitor.request("GET", "/").empty()).await;
        let (chunks, body) = by_hand();
        calls.next().await.answer(body);
        chunks.send("a beginning").await;
        let mut answer = pending.body().await;
        expect(&mut answer, "a beginning").await;
        stop(&tunnel, who);
        stopped(tunnel, who).await;
        expect_cut(&mut answer).await;
        chunks.unwanted().await;
    }
}

async fn an_entry_whose_far_end_drains_takes_nothing_new(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let (mut visitor, mut late) = (tunnel.http1().await, tunnel.http1().await);
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let call = calls.next().await;
    match direction {
        Direction::Reverse => {
            tunnel.client.stop();
            tunnel.server.has_clients(GROUP, 0).await;
        }
        Direction::Forward => {
            tunnel.server.stop();
            tunnel.client.has_servers(0).await;
        }
    }
    let refused = late.get("/").await;
    assert_eq!((refused.failure(), refused.values("retry-after")), ((503, "draining"), vec!["1"]));
    call.answer(full("an answer"));
    let answer = pending.whole().await;
    assert_eq!(answer.text(), "an answer");
    assert!(calls.is_empty());
}
