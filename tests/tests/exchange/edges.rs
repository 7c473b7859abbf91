//! Cases at the edge: full links, slow uploads, early refusals, unasked switches.

use std::{sync::Arc, time::Duration};

use adit_core::limits::Limits;
use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{by_hand, chunked, chunks_of, full, noise},
    both_directions,
    message::next_chunk,
    upstream::echo,
};
use http::Response;
use tokio::{sync::Barrier, time::sleep};

both_directions! {
    a_link_carries_as_many_exchanges_as_its_limit_says,
    cookies_that_http_2_splits_are_joined_for_http_1,
    an_early_refusal_of_an_upload_reaches_the_visitor,
    an_upstream_that_switches_protocols_unasked_is_its_own_fault,
    an_upload_that_lasts_longer_than_the_timeout_is_answered,
}

/// An upstream that answers when `count` requests are there at once.
fn meeting(count: usize) -> Upstream {
    let everybody = Arc::new(Barrier::new(count));
    Upstream::answering(move |request| {
        let everybody = Arc::clone(&everybody);
        async move {
            everybody.wait().await;
            echo(request).await
        }
    })
}

async fn a_link_carries_as_many_exchanges_as_its_limit_says(direction: Direction) {
    let upstream = meeting(64);
    let limits = Limits { exchanges_per_link_max: 64, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let mut visitor = tunnel.http2().await;
    let mut pending = Vec::new();
    for _ in 0..64 {
        pending.push(visitor.start(visitor.request("GET", "/").empty()).await);
    }
    for pending in pending {
        assert_eq!(pending.whole().await.failure(), (200, ""));
    }
}

async fn cookies_that_http_2_splits_are_joined_for_http_1(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http2().await;
    let request = visitor.request("GET", "/").header("cookie", "a=1").header("cookie", "b=2");
    visitor.ask(request.empty()).await;
    // RFC 9113 §8.2.3
    assert_eq!(upstream.saw().last().values("cookie"), ["a=1; b=2"]);
}

async fn an_early_refusal_of_an_upload_reaches_the_visitor(direction: Direction) {
    let refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
    let upstream = Upstream::saying(refusal);
    for body in [full(noise(1_000_000)), chunked(chunks_of(&noise(1_000_000), 10_000))] {
        let tunnel = Tunnel::to(upstream.http()).start(direction).await;
        assert_eq!(tunnel.http1().await.post("/", body).await.failure(), (413, ""));
    }
}

async fn an_upstream_that_switches_protocols_unasked_is_its_own_fault(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    assert_eq!(tunnel.http1().await.get("/").await.failure(), (502, "upstream-protocol"));
}

async fn an_upload_that_lasts_longer_than_the_timeout_is_answered(direction: Direction) {
    let upstream = Upstream::answering(async |request| {
        let mut body = request.into_body();
        while let Ok(Some(_)) = next_chunk(&mut body).await {}
        Response::new(full("thanks"))
    });
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.response_head = Duration::from_millis(500));
    let tunnel = setup.start(direction).await;
    let mut visitor = tunnel.http1().await;
    let (chunks, body) = by_hand();
    let pending = visitor.start(visitor.request("PUT", "/").body(body)).await;
    for _ in 0..10 {
        sleep(Duration::from_millis(100)).await;
        chunks.try_send("progress").await;
    }
    drop(chunks);
    assert_eq!(pending.whole().await.failure(), (200, ""));
}
