//! Nonsense instead of a response is a failure of its exchange and of nothing else.

use std::time::Duration;

use adit_core::{
    failure::Failure,
    wire::exchange::{BodyKind, Reply, ReplyHead},
};
use adit_tests::{
    Upstream, Visitor,
    body::by_hand,
    message::{Whole, expect, expect_cut},
    node::ServerNode,
    peer::{Peer, Stream},
    settings::{self, GROUP},
    trust::Trust,
    visitor::Pending,
};
use http::{HeaderMap, StatusCode};

use crate::server;

/// A server whose only client is the peer.
async fn start() -> (ServerNode, Peer, Visitor) {
    let (trust, upstream) = (Trust::default(), Upstream::echo());
    let server = server(&trust, &upstream).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    server.has_clients(GROUP, 1).await;
    let visitor = Visitor::http1(server.entry()).await;
    (server, peer, visitor)
}

fn head(body: BodyKind) -> Reply {
    Reply::Head(ReplyHead { status: StatusCode::OK, reason: None, headers: HeaderMap::new() }, body)
}

/// Has a visitor ask, and the peer answer with what `answer` does to the stream.
async fn ask(peer: &Peer, visitor: &mut Visitor, answer: impl AsyncFnOnce(&mut Stream)) -> Pending {
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let mut stream = peer.accept().await;
    assert_eq!(stream.request().await.target, "/");
    answer(&mut stream).await;
    pending
}

/// The same, when a complete response is to come of it.
async fn exchange(peer: &Peer, visitor: &mut Visitor, answer: impl AsyncFnOnce(&mut Stream)) -> Whole {
    ask(peer, visitor, answer).await.whole().await
}

/// Checks that the next exchange on the same link works.
async fn answers_on(peer: &Peer, visitor: &mut Visitor) {
    let answer = exchange(peer, visitor, async |stream| {
        stream.answer(&head(BodyKind::Length(2)), b"\x02\x00\x02ok\x01\x01").await;
        stream.finish();
    });
    let answer = answer.await;
    assert_eq!((answer.failure(), answer.text()), ((200, ""), "ok"));
}

#[tokio::test]
async fn nonsense_instead_of_a_reply_is_a_protocol_failure() {
    let (_server, peer, mut visitor) = start().await;
    for nonsense in [b"\xff\xff\xff\x7f".as_slice(), b"\x80\x80\x80\x80", b"\x03\x07\x07\x07", b"\x04HTTP", b"\x03\x02"]
    {
        let answer = exchange(&peer, &mut visitor, async |stream| {
            stream.write(nonsense).await;
            stream.finish();
        });
        assert_eq!(answer.await.failure(), (502, "protocol"), "{nonsense:?}");
        answers_on(&peer, &mut visitor).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_a_reply_is_a_protocol_failure() {
    let (_server, peer, mut visitor) = start().await;
    let answer = exchange(&peer, &mut visitor, async |stream| stream.finish());
    assert_eq!(answer.await.failure(), (502, "protocol"));
    answers_on(&peer, &mut visitor).await;
}

#[tokio::test]
async fn a_reset_says_why_there_is_no_reply() {
    let (_server, peer, mut visitor) = start().await;
    for failure in [Failure::UpstreamRefused, Failure::Overloaded, Failure::NoRoute, Failure::Protocol] {
        let answer = exchange(&peer, &mut visitor, async |stream| stream.abandon(failure.reset_code()));
        let answer = answer.await;
        assert_eq!(answer.failure(), (failure.status(), failure.code()));
        answers_on(&peer, &mut visitor).await;
    }
}

#[tokio::test]
async fn a_reset_without_a_reason_is_a_protocol_failure() {
    let (_server, peer, mut visitor) = start().await;
    for code in [0, 4_000_000] {
        let answer = exchange(&peer, &mut visitor, async |stream| stream.abandon(code));
        assert_eq!(answer.await.failure(), (502, "protocol"));
        answers_on(&peer, &mut visitor).await;
    }
}

#[tokio::test]
async fn every_failure_reaches_the_visitor_as_what_it_is() {
    let (server, peer, mut visitor) = start().await;
    for failure in Failure::ALL {
        let answer = exchange(&peer, &mut visitor, async |stream| {
            stream.answer(&Reply::Failed(failure), b"").await;
            stream.finish();
        });
        assert_eq!(answer.await.failure(), (failure.status(), failure.code()));
        if failure == Failure::BadRequest {
            // Behind what is malformed the connection is closed.
            visitor.hung_up().await;
            visitor = Visitor::http1(server.entry()).await;
        }
    }
    answers_on(&peer, &mut visitor).await;
}

#[tokio::test]
async fn a_body_that_breaks_the_protocol_is_cut() {
    let (server, peer, _) = start().await;
    let mut visitor = Visitor::http2(server.entry()).await;
    for (what, body, nonsense) in [
        ("the stream ends early", BodyKind::Stream, b"\x02\x00\x05half!".as_slice()),
        ("the stream ends within data", BodyKind::Stream, b"\x02\x00\x09half!"),
        ("the body ends early", BodyKind::Length(9), b"\x02\x00\x05half!\x01\x01"),
        ("more data than was said", BodyKind::Length(3), b"\x02\x00\x05half!\x01\x01"),
        ("no frame", BodyKind::Stream, b"\x02\x00\x05half!\x02\x09\x09"),
        ("a length over any limit", BodyKind::Stream, b"\x02\x00\x05half!\xff\xff\xff\x7f"),
        ("bytes behind the end", BodyKind::Stream, b"\x02\x00\x05half!\x01\x01more"),
    ] {
        let answer = ask(&peer, &mut visitor, async |stream| {
            stream.answer(&head(body), nonsense).await;
            stream.finish();
        });
        let answer = answer.await.try_whole().await;
        assert!(answer.is_err(), "{what}: {answer:?}");
        answers_on(&peer, &mut visitor).await;
    }
}

#[tokio::test]
async fn a_peer_that_never_answers_runs_into_the_timeout_and_is_told() {
    let trust = Trust::default();
    let mut settings = settings::public_server(&trust);
    settings.timeouts.response_head = Duration::from_millis(300);
    let server = ServerNode::start(settings).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    server.has_clients(GROUP, 1).await;
    let mut visitor = Visitor::http1(server.entry()).await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let mut stream = peer.accept().await;
    let answer = pending.whole().await;
    assert_eq!(answer.failure(), (504, "timeout"));
    assert_eq!(stream.stopped().await, Some(Failure::Cancelled));
}

#[tokio::test]
async fn a_visitor_that_goes_away_is_told_to_the_peer_as_a_cancellation() {
    let (_server, peer, mut visitor) = start().await;
    let _pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let mut stream = peer.accept().await;
    stream.request().await;
    stream.answer(&head(BodyKind::Stream), b"\x02\x00\x05half!").await;
    visitor.hang_up();
    assert_eq!(stream.stopped().await, Some(Failure::Cancelled));
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_reset_as_a_cancellation() {
    let (_server, peer, mut visitor) = start().await;
    let (chunks, body) = by_hand();
    let _pending = visitor.start(visitor.request("POST", "/").body(body)).await;
    let mut stream = peer.accept().await;
    stream.request().await;
    chunks.cut().await;
    assert_eq!(stream.reset().await, Some(Failure::Cancelled));
}

#[tokio::test]
async fn a_link_that_is_closed_within_a_response_cuts_it() {
    let (_server, peer, mut visitor) = start().await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let mut stream = peer.accept().await;
    stream.answer(&head(BodyKind::Stream), b"\x02\x00\x05half!").await;
    let mut body = pending.body().await;
    expect(&mut body, "half!").await;
    drop((peer, stream));
    expect_cut(&mut body).await;
}
