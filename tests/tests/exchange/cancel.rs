//! A visitor that goes away takes its request with it, up to the upstream.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{by_hand, full},
    both_directions, eventually,
    message::{expect, expect_cut},
};

both_directions! {
    a_visitor_that_hangs_up_before_the_head_cancels_the_request,
    a_visitor_that_hangs_up_within_the_body_cancels_the_request,
    a_visitor_that_hangs_up_within_its_upload_cancels_the_request,
    a_stream_that_is_reset_before_the_head_cancels_its_request_only,
    a_stream_that_is_reset_within_the_body_cancels_its_request_only,
}

async fn a_visitor_that_hangs_up_before_the_head_cancels_the_request(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let _pending = visitor.start(visitor.request("GET", "/").empty()).await;
            let call = calls.next().await;
            visitor.hang_up();
            call.abandoned().await;
        }
    }
    eventually("the connections that waited to be closed", || upstream.saw().open() == 0).await;
}

async fn a_visitor_that_hangs_up_within_the_body_cancels_the_request(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let pending = visitor.start(visitor.request("GET", "/").empty()).await;
            let (chunks, body) = by_hand();
            calls.next().await.answer(body);
            chunks.send("a beginning").await;
            let mut answer = pending.body().await;
            expect(&mut answer, "a beginning").await;
            visitor.hang_up();
            chunks.unwanted().await;
        }
    }
    eventually("the connections with half a response to be closed", || upstream.saw().open() == 0).await;
}

async fn a_visitor_that_hangs_up_within_its_upload_cancels_the_request(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let (chunks, body) = by_hand();
            let _pending = visitor.start(visitor.request("POST", "/").body(body)).await;
            let mut call = calls.next().await;
            chunks.send("a beginning").await;
            expect(&mut call.body, "a beginning").await;
            visitor.hang_up();
            expect_cut(&mut call.body).await;
        }
    }
    eventually("the connections with half a request to be closed", || upstream.saw().open() == 0).await;
}

async fn a_stream_that_is_reset_before_the_head_cancels_its_request_only(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let mut visitor = tunnel.http2().await;
        let given_up = visitor.start(visitor.request("GET", "/given-up").empty()).await;
        let cancelled = calls.next().await;
        let kept = visitor.start(visitor.request("GET", "/kept").empty()).await;
        let other = calls.next().await;
        drop(given_up);
        cancelled.abandoned().await;
        other.answer(full("kept"));
        let mut answer = kept.body().await;
        expect(&mut answer, "kept").await;
    }
}

async fn a_stream_that_is_reset_within_the_body_cancels_its_request_only(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let mut visitor = tunnel.http2().await;
        let mut streams = Vec::new();
        for path in ["/given-up", "/kept"] {
            let pending = visitor.start(visitor.request("GET", path).empty()).await;
            let (chunks, body) = by_hand();
            calls.next().await.answer(body);
            chunks.send("a beginning").await;
            let mut answer = pending.body().await;
            expect(&mut answer, "a beginning").await;
            streams.push((chunks, answer));
        }
        let (kept, mut answer) = streams.remove(1);
        let (cancelled, given_up) = streams.remove(0);
        drop(given_up);
        cancelled.unwanted().await;
        kept.send("an end").await;
        expect(&mut answer, "an end").await;
    }
}
