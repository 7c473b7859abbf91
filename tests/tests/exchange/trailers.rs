//! Fields after the end of a body.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{fields, full, with_trailers},
    both_directions,
    upstream::response,
};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;

both_directions! {
    trailers_of_a_request_arrive_over_http_2,
    trailers_of_a_response_arrive_over_http_2,
    trailers_of_a_request_arrive_over_http_1,
    trailers_of_a_response_arrive_over_http_1,
    trailers_behind_an_empty_body_arrive,
    framing_and_adits_own_fields_do_not_arrive_in_trailers,
}

/// Tells in its response what came behind the body.
fn telling() -> Upstream {
    Upstream::answering(async |request| {
        let trailers = match request.into_body().collect().await {
            Ok(collected) => collected.trailers().cloned().unwrap_or_default(),
            Err(error) => return Response::new(full(error.to_string())),
        };
        Response::new(full(shown(&trailers)))
    })
}

fn shown(trailers: &HeaderMap) -> String {
    let mut fields: Vec<_> =
        trailers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap_or("?"))).collect();
    fields.sort();
    fields.join(" ")
}

fn chunks() -> [Bytes; 2] {
    [Bytes::from_static(b"one"), Bytes::from_static(b"two")]
}

async fn trailers_of_a_request_arrive_over_http_2(direction: Direction) {
    let upstream = telling();
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let answer = tunnel.http2().await.post("/", with_trailers(chunks(), &[("x-sum", "6"), ("x-last", "z")])).await;
    assert_eq!(answer.text(), "x-last=z x-sum=6");
}

async fn trailers_of_a_response_arrive_over_http_2(direction: Direction) {
    let upstream = Upstream::answering(|_| async { Response::new(with_trailers(chunks(), &[("grpc-status", "0")])) });
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let answer = tunnel.http2().await.get("/").await;
    assert_eq!((answer.text(), answer.trailers.clone()), ("onetwo", Some(fields(&[("grpc-status", "0")]))));
}

async fn trailers_of_a_request_arrive_over_http_1(direction: Direction) {
    let upstream = telling();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    // hyper sends over HTTP/1.1 only the fields that were announced.
    let request = visitor.request("POST", "/").header("trailer", "x-sum");
    let answer = visitor.ask(request.body(with_trailers(chunks(), &[("x-sum", "6")]))).await;
    assert_eq!(answer.text(), "x-sum=6");
}

async fn trailers_of_a_response_arrive_over_http_1(direction: Direction) {
    let upstream = Upstream::answering(|_| async {
        response(200, &[("trailer", "x-sum")], with_trailers(chunks(), &[("x-sum", "6")]))
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = visitor.request("GET", "/").header("connection", "te").header("te", "trailers");
    let answer = visitor.ask(request.empty()).await;
    assert_eq!((answer.text(), answer.trailers.clone()), ("onetwo", Some(fields(&[("x-sum", "6")]))));
}

async fn trailers_behind_an_empty_body_arrive(direction: Direction) {
    let upstream = Upstream::answering(|_| async { Response::new(with_trailers([], &[("grpc-status", "5")])) });
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let answer = tunnel.http2().await.get("/").await;
    assert_eq!((answer.text(), answer.trailers.clone()), ("", Some(fields(&[("grpc-status", "5")]))));
}

async fn framing_and_adits_own_fields_do_not_arrive_in_trailers(direction: Direction) {
    let forbidden = [("content-length", "1"), ("host", "evil.test"), ("adit-error", "loop"), ("x-sum", "6")];
    let upstream = Upstream::answering(move |_| async move { Response::new(with_trailers(chunks(), &forbidden)) });
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let answer = tunnel.http2().await.get("/").await;
    assert_eq!(answer.trailers, Some(fields(&[("x-sum", "6")])));
}
