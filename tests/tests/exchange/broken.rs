//! What breaks off never looks complete.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{by_hand, full},
    both_directions,
    message::{expect, expect_cut, expect_end, read},
    upstream::response,
    visitor::raw::Raw,
};

both_directions! {
    a_response_of_unknown_length_that_breaks_off_is_cut,
    a_response_that_is_shorter_than_it_said_is_cut,
    a_cut_response_over_http_1_has_no_last_chunk,
    a_response_that_breaks_off_at_once_is_an_error_or_cut,
    one_broken_response_leaves_the_others_on_the_connection_alone,
    an_upload_that_breaks_off_is_not_taken_for_complete,
    an_upload_that_is_shorter_than_it_said_is_not_taken_for_complete,
}

async fn a_response_of_unknown_length_that_breaks_off_is_cut(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let pending = visitor.start(visitor.request("GET", "/").empty()).await;
            let (chunks, body) = by_hand();
            calls.next().await.answer(body);
            chunks.send("half of").await;
            let mut answer = pending.body().await;
            expect(&mut answer, "half of").await;
            chunks.cut().await;
            expect_cut(&mut answer).await;
        }
    }
}

async fn a_response_that_is_shorter_than_it_said_is_cut(direction: Direction) {
    let (upstream, hand) = Upstream::saying_by_hand("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let response = visitor.send(visitor.request("GET", "/").empty()).await;
        assert_eq!(response.headers()["content-length"], "10");
        hand.close();
        let answer = read(response).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

async fn a_cut_response_over_http_1_has_no_last_chunk(direction: Direction) {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let (upstream, hand) = Upstream::saying_by_hand(head);
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let answer = visitor.until("half\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    hand.close();
    assert_eq!(visitor.rest().await, "");
}

async fn a_response_that_breaks_off_at_once_is_an_error_or_cut(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let response = visitor.send(visitor.request("GET", "/").empty()).await;
        match read(response).await {
            // The head may not have gone out yet.
            Ok(answer) => assert_eq!(answer.failure(), (502, "upstream-reset")),
            Err(_cut) => {}
        }
    }
}

async fn one_broken_response_leaves_the_others_on_the_connection_alone(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http2().await;
    let (kept, broken) = (
        visitor.start(visitor.request("GET", "/kept").empty()).await,
        visitor.start(visitor.request("GET", "/broken").empty()).await,
    );
    let (mut to_keep, mut to_break) = (None, None);
    for _ in 0..2 {
        let call = calls.next().await;
        let (chunks, body) = by_hand();
        let place = if call.head.uri.path() == "/kept" { &mut to_keep } else { &mut to_break };
        *place = Some(chunks);
        call.answer(body);
    }
    let (Some(to_keep), Some(to_break)) = (to_keep, to_break) else { unreachable!("one call each") };
    let mut kept = kept.body().await;
    let mut broken = broken.body().await;
    to_break.cut().await;
    expect_cut(&mut broken).await;
    to_keep.send("still here").await;
    expect(&mut kept, "still here").await;
    drop(to_keep);
    expect_end(&mut kept).await;
}

async fn an_upload_that_breaks_off_is_not_taken_for_complete(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let (chunks, body) = by_hand();
            let pending = visitor.start(visitor.request("POST", "/").body(body)).await;
            let mut call = calls.next().await;
            chunks.send("half of").await;
            expect(&mut call.body, "half of").await;
            chunks.cut().await;
            expect_cut(&mut call.body).await;
            drop(pending);
        }
    }
}

async fn an_upload_that_is_shorter_than_it_said_is_not_taken_for_complete(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhalf").await;
    let mut call = calls.next().await;
    expect(&mut call.body, "half").await;
    drop(visitor);
    expect_cut(&mut call.body).await;
    // Nobody is there to hear it, and nothing breaks when it is said.
    if !call.is_abandoned() {
        call.answer_with(response(200, &[], full("too late")));
    }
}
