//! Bodies arrive whole, framed as they were, and what breaks off never looks complete.

use adit_tests::{
    Cell, Upstream,
    body::{by_hand, chunked, chunks_of, empty, fields, full, noise, with_trailers},
    conformance,
    message::{expect, expect_cut, read},
    upstream::response,
    visitor::raw,
};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;

conformance! { "Framing and trailers":
    a_body_of_known_length_stays_one_both_ways,
    a_body_of_unknown_length_arrives_whole_both_ways,
    a_request_without_a_body_has_none,
    an_empty_body_stays_empty,
    a_body_of_every_size_around_a_chunk_arrives_whole,
    head_has_no_body_and_keeps_the_length,
    a_204_and_a_304_end_with_their_head,
    a_body_that_ends_with_its_connection_arrives_whole [any to h1],
    an_http_1_0_visitor_gets_a_body_that_ends_with_its_connection [h1 to any],
    trailers_of_a_request_arrive,
    trailers_of_a_response_arrive,
    trailers_behind_an_empty_body_arrive,
    a_response_that_breaks_off_is_cut,
    a_response_that_is_shorter_than_it_said_is_cut [any to h1],
    an_upload_that_breaks_off_is_not_taken_for_complete,
}

async fn a_body_of_known_length_stays_one_both_ways(cell: Cell) {
    let upstream = Upstream::answering(async |request: http::Request<hyper::body::Incoming>| {
        let read = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Response::new(full(read))
    });
    let tunnel = cell.tunnel(&upstream).await;
    let answer = cell.visitor(&tunnel).await.post("/", full(noise(70_000))).await;
    assert!(answer.body == noise(70_000));
    assert_eq!((answer.values("content-length"), answer.values("transfer-encoding")), (vec!["70000"], vec![]));
    let seen = upstream.saw().last();
    assert_eq!((seen.values("content-length"), seen.values("transfer-encoding")), (vec!["70000"], vec![]));
}

async fn a_body_of_unknown_length_arrives_whole_both_ways(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let data = noise(1_000_000);
    let answer = cell.visitor(&tunnel).await.post("/", chunked(chunks_of(&data, 7_001))).await;
    assert!(answer.body == data, "{} bytes of {} came back", answer.body.len(), data.len());
    assert_eq!((answer.values("content-length"), upstream.saw().last().values("content-length")), (vec![], vec![]));
}

async fn a_request_without_a_body_has_none(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    cell.visitor(&tunnel).await.get("/").await;
    let seen = upstream.saw().last();
    assert_eq!((seen.values("content-length"), seen.values("transfer-encoding")), (vec![], vec![]));
}

async fn an_empty_body_stays_empty(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    for body in [empty(), full(""), chunked([]), chunked([Bytes::new()])] {
        let answer = visitor.post("/", body).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    }
    // A server may insist on the length of a POST (RFC 9110 §8.6).
    visitor.ask(visitor.request("POST", "/").header("content-length", "0").empty()).await;
    assert_eq!(upstream.saw().last().values("content-length"), ["0"]);
}

async fn a_body_of_every_size_around_a_chunk_arrives_whole(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    for size in [1, 1_023, 1_024, 1_025, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537] {
        let data = noise(size);
        for body in [full(data.clone()), chunked(chunks_of(&data, size.div_ceil(3)))] {
            let answer = visitor.post("/", body).await;
            assert!(answer.body == data, "{size}: {} bytes came back", answer.body.len());
        }
    }
}

async fn head_has_no_body_and_keeps_the_length(cell: Cell) {
    let upstream = Upstream::answering(async |request: http::Request<hyper::body::Incoming>| {
        let body = if request.method() == "HEAD" { empty() } else { full(noise(12_345)) };
        response(200, &[("content-length", "12345")], body)
    });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let answer = visitor.ask(visitor.request("HEAD", "/").empty()).await;
    assert_eq!((answer.values("content-length"), answer.body.len()), (vec!["12345"], 0));
    assert_eq!(visitor.get("/").await.body.len(), 12_345, "the connection goes on");
}

async fn a_204_and_a_304_end_with_their_head(cell: Cell) {
    let upstream = Upstream::answering(|request| async move {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap();
        response(status, &[("etag", "\"1\"")], empty())
    });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    for status in [204, 304, 204] {
        let answer = visitor.get(&format!("/{status}")).await;
        assert_eq!((answer.status.as_u16(), answer.values("etag"), answer.body.len()), (status, vec!["\"1\""], 0));
    }
}

async fn a_body_that_ends_with_its_connection_arrives_whole(cell: Cell) {
    let upstream = Upstream::saying("HTTP/1.0 200 OK\r\n\r\nall there is");
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    for _ in 0..2 {
        let answer = visitor.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "all there is"));
    }
}

async fn an_http_1_0_visitor_gets_a_body_that_ends_with_its_connection(cell: Cell) {
    let upstream = Upstream::answering(|_| async { Response::new(chunked([Bytes::from_static(b"hello")])) });
    let tunnel = cell.tunnel(&upstream).await;
    let answer = raw::ask(tunnel.entry(), "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
}

/// Makes an upstream that says what comes behind a body.
fn telling() -> Upstream {
    Upstream::answering(async |request: http::Request<hyper::body::Incoming>| {
        let collected = request.into_body().collect().await.expect("a body");
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let told = ["x-sum", "x-last"].map(|name| trailers.get(name).map_or("", |value| value.to_str().unwrap()));
        Response::new(full(told.join(" ")))
    })
}

async fn trailers_of_a_request_arrive(cell: Cell) {
    let upstream = telling();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let body = with_trailers([Bytes::from_static(b"12")], &[("x-sum", "3"), ("x-last", "2")]);
    let answer = visitor.ask(visitor.request("POST", "/").header("trailer", "x-sum, x-last").body(body)).await;
    assert_eq!(answer.text(), "3 2");
}

async fn trailers_of_a_response_arrive(cell: Cell) {
    trailing(cell, [Bytes::from_static(b"one"), Bytes::from_static(b"two")].into(), "onetwo").await;
}

async fn trailers_behind_an_empty_body_arrive(cell: Cell) {
    trailing(cell, Vec::new(), "").await;
}

async fn trailing(cell: Cell, chunks: Vec<Bytes>, text: &str) {
    let upstream = Upstream::answering(move |_| {
        let body = with_trailers(chunks.clone(), &[("x-sum", "6")]);
        async { response(200, &[("trailer", "x-sum")], body) }
    });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let answer = visitor.ask(visitor.request("GET", "/").header("te", "trailers").empty()).await;
    assert_eq!((answer.text(), answer.trailers.clone()), (text, Some(fields(&[("x-sum", "6")]))));
}

async fn a_response_that_breaks_off_is_cut(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer(body);
    chunks.send("half of").await;
    let mut answer = pending.body().await;
    expect(&mut answer, "half of").await;
    chunks.cut().await;
    expect_cut(&mut answer).await;
}

async fn a_response_that_is_shorter_than_it_said_is_cut(cell: Cell) {
    let (upstream, hand) = Upstream::saying_by_hand("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let response = visitor.send(visitor.request("GET", "/").empty()).await;
    assert_eq!(response.headers()["content-length"], "10");
    hand.close();
    assert!(read(response).await.is_err());
}

async fn an_upload_that_breaks_off_is_not_taken_for_complete(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let (chunks, body) = by_hand();
    let _pending = visitor.start(visitor.request("POST", "/").body(body)).await;
    let mut call = calls.next().await;
    chunks.send("half of").await;
    expect(&mut call.body, "half of").await;
    chunks.cut().await;
    expect_cut(&mut call.body).await;
}
