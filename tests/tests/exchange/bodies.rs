//! Bodies arrive whole, and framed as they were.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{chunked, chunks_of, empty, full, noise},
    both_directions,
    message::next_chunk,
    upstream::response,
};
use bytes::Bytes;
use http::{Method, Response, StatusCode};

both_directions! {
    a_get_without_a_body_is_answered,
    every_method_arrives_as_it_was_sent,
    eight_mebibytes_arrive_whole_both_ways,
    an_upload_of_unknown_length_arrives_whole,
    a_response_of_unknown_length_arrives_whole,
    a_known_length_stays_known,
    an_empty_body_stays_empty,
    head_keeps_the_length_and_has_no_body,
    responses_without_a_body_end_with_their_head,
    a_body_of_every_size_around_a_chunk_arrives_whole,
}

async fn a_get_without_a_body_is_answered(direction: Direction) {
    let upstream = Upstream::answering(|_| async { Response::new(full("hello")) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = tunnel.http1().await.get("/hello?to=me").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "hello"));
    let seen = upstream.saw().last();
    assert_eq!((seen.method, seen.uri.to_string()), (Method::GET, "/hello?to=me".to_owned()));
    assert!(!seen.headers.contains_key("content-length") && !seen.headers.contains_key("transfer-encoding"));
}

async fn every_method_arrives_as_it_was_sent(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "x-own"] {
        let answer = visitor.ask(visitor.request(method, "/").body(full("a body"))).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "a body"), "{method}");
        assert_eq!(upstream.saw().last().method, method);
    }
}

async fn eight_mebibytes_arrive_whole_both_ways(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let data = noise(8 * 1024 * 1024);
    let answer = tunnel.http1().await.post("/", full(data.clone())).await;
    // Not assert_eq: nobody wants to read both.
    assert!(answer.body == data, "{} bytes of {} came back", answer.body.len(), data.len());
}

async fn an_upload_of_unknown_length_arrives_whole(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let data = noise(1_000_000);
    let answer = tunnel.http1().await.post("/", chunked(chunks_of(&data, 7_001))).await;
    assert!(answer.body == data, "{} bytes of {} came back", answer.body.len(), data.len());
    let seen = upstream.saw().last();
    assert_eq!(seen.values("transfer-encoding"), ["chunked"]);
    assert!(!seen.headers.contains_key("content-length"));
}

async fn a_response_of_unknown_length_arrives_whole(direction: Direction) {
    let data = noise(1_000_000);
    let sent = data.clone();
    let upstream = Upstream::answering(move |_| {
        let chunks = chunks_of(&sent, 7_001);
        async { Response::new(chunked(chunks)) }
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = tunnel.http1().await.get("/").await;
    assert!(answer.body == data, "{} bytes of {} came", answer.body.len(), data.len());
    assert_eq!(answer.values("transfer-encoding"), ["chunked"]);
    assert!(!answer.headers.contains_key("content-length"));
}

async fn a_known_length_stays_known(direction: Direction) {
    let upstream = Upstream::answering(async |request| {
        let mut read = request.into_body();
        while let Ok(Some(_)) = next_chunk(&mut read).await {}
        Response::new(full(noise(70_000)))
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = tunnel.http1().await.post("/", full(noise(50_000))).await;
    assert_eq!(answer.values("content-length"), ["70000"]);
    assert!(!answer.headers.contains_key("transfer-encoding"));
    let seen = upstream.saw().last();
    assert_eq!(seen.values("content-length"), ["50000"]);
    assert!(!seen.headers.contains_key("transfer-encoding"));
}

async fn an_empty_body_stays_empty(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for body in [empty(), full(""), chunked([])] {
        let answer = visitor.post("/", body).await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, Bytes::new()));
    }
    // A server may insist on the length of a POST (RFC 9110 §8.6).
    visitor.ask(visitor.request("POST", "/").header("content-length", "0").empty()).await;
    assert_eq!(upstream.saw().last().values("content-length"), ["0"]);
}

async fn head_keeps_the_length_and_has_no_body(direction: Direction) {
    let upstream = Upstream::answering(|_| async { Response::new(full(noise(12_345))) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let answer = visitor.ask(visitor.request("HEAD", "/").empty()).await;
    assert_eq!(answer.values("content-length"), ["12345"]);
    assert!(answer.body.is_empty());
    assert_eq!(visitor.get("/").await.body.len(), 12_345, "the connection goes on");
}

async fn responses_without_a_body_end_with_their_head(direction: Direction) {
    let upstream = Upstream::answering(|request| async move {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or_default();
        response(status, &[("etag", "\"1\"")], empty())
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for status in [204, 205, 304] {
        let answer = visitor.get(&format!("/{status}")).await;
        assert_eq!((answer.status.as_u16(), answer.values("etag")), (status, vec!["\"1\""]));
        assert!(answer.body.is_empty());
    }
}

async fn a_body_of_every_size_around_a_chunk_arrives_whole(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for size in [1, 2, 127, 128, 1_023, 1_024, 1_025, 16_383, 16_384, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537] {
        let data = noise(size);
        for body in [full(data.clone()), chunked([data.clone()]), chunked(chunks_of(&data, size.div_ceil(3)))] {
            let answer = visitor.post("/", body).await;
            assert!(answer.body == data, "{size}: {} bytes came back", answer.body.len());
        }
    }
}
