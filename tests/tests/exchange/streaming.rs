//! Bodies flow while they are made, in both directions at once.

use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::{by_hand, full},
    both_directions,
    message::{expect, expect_end, values},
    upstream::response,
    visitor::raw::Raw,
};
use http::Response;

both_directions! {
    the_head_arrives_before_the_body_is_made,
    every_chunk_arrives_before_the_next_is_made,
    every_chunk_of_an_upload_arrives_before_the_next_is_made,
    an_upload_is_answered_chunk_by_chunk_while_it_runs,
    a_response_that_begins_early_leaves_the_upload_running,
    a_response_that_is_complete_early_arrives_whole,
    a_visitor_that_waits_to_be_told_to_continue_is_told,
}

async fn the_head_arrives_before_the_body_is_made(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let pending = visitor.start(visitor.request("GET", "/").empty()).await;
            let (chunks, body) = by_hand();
            calls.next().await.answer_with(response(201, &[("x-head", "1")], body));
            let (head, mut body) = pending.head().await.into_parts();
            assert_eq!((head.status.as_u16(), values(&head.headers, "x-head")), (201, vec!["1"]));
            chunks.send("late").await;
            drop(chunks);
            expect(&mut body, "late").await;
            expect_end(&mut body).await;
        }
    }
}

async fn every_chunk_arrives_before_the_next_is_made(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let pending = visitor.start(visitor.request("GET", "/events").empty()).await;
            let (chunks, body) = by_hand();
            calls.next().await.answer_with(response(200, &[("content-type", "text/event-stream")], body));
            let mut events = pending.body().await;
            for number in 0..20 {
                let event = format!("data: {number}\n\n");
                chunks.send(event.clone()).await;
                expect(&mut events, event).await;
            }
            drop(chunks);
            expect_end(&mut events).await;
        }
    }
}

async fn every_chunk_of_an_upload_arrives_before_the_next_is_made(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let (chunks, body) = by_hand();
            let pending = visitor.start(visitor.request("PUT", "/").body(body)).await;
            let mut call = calls.next().await;
            for number in 0..20 {
                chunks.send(format!("{number};")).await;
                expect(&mut call.body, format!("{number};")).await;
            }
            drop(chunks);
            expect_end(&mut call.body).await;
            call.answer(full("thanks"));
            assert_eq!(pending.whole().await.text(), "thanks");
        }
    }
}

async fn an_upload_is_answered_chunk_by_chunk_while_it_runs(direction: Direction) {
    let upstream = Upstream::echo();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            talk(&mut visitor).await;
        }
    }
}

async fn talk(visitor: &mut Visitor) {
    let (chunks, body) = by_hand();
    let pending = visitor.start(visitor.request("POST", "/").body(body)).await;
    let mut echo = pending.body().await;
    for number in 0..20 {
        let word = format!("word {number}");
        chunks.send(word.clone()).await;
        expect(&mut echo, word).await;
    }
    drop(chunks);
    expect_end(&mut echo).await;
}

async fn a_response_that_begins_early_leaves_the_upload_running(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let (upload, body) = by_hand();
            let pending = visitor.start(visitor.request("POST", "/").body(body)).await;
            upload.send("first").await;
            let (download, body) = by_hand();
            let mut received = calls.next().await.answer_early(Response::new(body));
            download.send("early").await;
            let mut answer = pending.body().await;
            expect(&mut answer, "early").await;
            upload.send("second").await;
            drop(upload);
            expect(&mut received, "firstsecond").await;
            expect_end(&mut received).await;
            drop(download);
            expect_end(&mut answer).await;
        }
    }
}

async fn a_response_that_is_complete_early_arrives_whole(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let mut visitor = tunnel.http2().await;
    let (upload, body) = by_hand();
    let pending = visitor.start(visitor.request("POST", "/").body(body)).await;
    upload.send("first").await;
    let mut received = calls.next().await.answer_early(Response::new(full("done")));
    let answer = pending.whole().await;
    assert_eq!(answer.text(), "done");
    expect(&mut received, "first").await;
    drop(upload);
}

async fn a_visitor_that_waits_to_be_told_to_continue_is_told(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n";
    visitor.send(format!("{head}Connection: close\r\n\r\n")).await;
    assert_eq!(visitor.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    visitor.send("body").await;
    let answer = visitor.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nbody"), "{answer}");
}
