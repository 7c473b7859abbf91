//! Nonsense instead of a request loses its stream and nothing else.

use std::time::Duration;

use adit_core::{failure::Failure, limits::Timeouts, wire::exchange::Reply};
use adit_tests::{
    Upstream,
    body::{by_hand, empty, noise},
    message::{expect, next_chunk},
    node::ServerNode,
    peer::{Peer, Stream, request, upload},
    trust::Trust,
    upstream::{Call, response},
    within,
};
use http::StatusCode;

use crate::{server, server_with};

/// Checks that the next exchange on the same link works.
async fn asks_on(peer: &Peer) {
    let reply = peer.get("/").await;
    assert!(matches!(&reply, Reply::Head(head, _) if head.status == StatusCode::OK), "{reply:?}");
}

/// Sends bytes as the whole of a request, and checks that only their stream is lost.
async fn loses_its_stream(bytes: &[u8], finish: bool) {
    let (trust, upstream) = (Trust::default(), Upstream::echo());
    let server = server(&trust, &upstream).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    asks_on(&peer).await;
    for _ in 0..3 {
        let mut stream = peer.open().await;
        stream.write(bytes).await;
        if finish {
            stream.finish();
        } else {
            assert_eq!(stream.stopped().await, Some(Failure::Protocol));
        }
        assert_eq!(stream.reset().await, Some(Failure::Protocol));
        asks_on(&peer).await;
    }
    assert_eq!(upstream.saw().requests(), 4, "nonsense reaches nobody");
}

#[tokio::test]
async fn a_length_over_any_limit_loses_its_stream_before_anything_follows() {
    loses_its_stream(b"\xff\xff\xff\x7f", false).await;
}

#[tokio::test]
async fn a_length_that_never_ends_loses_its_stream() {
    loses_its_stream(b"\x80\x80\x80\x80\x80\x80\x80\x80", false).await;
}

#[tokio::test]
async fn bytes_that_are_no_request_lose_their_stream() {
    loses_its_stream(b"\x10GET / HTTP/1.1\r\n", false).await;
}

#[tokio::test]
async fn a_stream_that_ends_without_a_request_is_lost() {
    loses_its_stream(b"", true).await;
}

#[tokio::test]
async fn a_stream_that_ends_within_a_request_is_lost() {
    let whole = request("/");
    loses_its_stream(&whole[..whole.len() / 2], true).await;
}

#[tokio::test]
async fn a_request_whose_target_is_none_loses_its_stream() {
    let whole = request("/path");
    let at = whole.windows(5).position(|bytes| bytes == b"/path").unwrap_or_default();
    let mut bent = whole.to_vec();
    bent[at] = b'p';
    loses_its_stream(&bent, false).await;
    bent[at] = b'/';
    bent[at + 1] = b'\n';
    loses_its_stream(&bent, false).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_before_its_request_is_forgotten() {
    let (trust, upstream) = (Trust::default(), Upstream::echo());
    let server = server(&trust, &upstream).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    for code in [0, Failure::Cancelled.reset_code(), 4_000_000] {
        let mut stream = peer.open().await;
        stream.write(b"\x7f").await;
        stream.abandon(code);
        stream.reset().await;
        asks_on(&peer).await;
    }
}

#[tokio::test]
async fn an_asker_that_goes_away_cancels_the_request() {
    let (upstream, mut calls) = Upstream::by_hand();
    let trust = Trust::default();
    let server = server(&trust, &upstream).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    let mut stream = peer.open().await;
    stream.write(request("/")).await;
    stream.finish();
    let call = calls.next().await;
    stream.unwant(Failure::Cancelled.reset_code());
    call.abandoned().await;
    let asking = peer.open_with(request("/")).await;
    calls.next().await.answer(empty());
    asks(asking).await;
}

async fn asks(mut stream: Stream) {
    let reply = stream.reply().await;
    assert!(matches!(&reply, Reply::Head(head, _) if head.status == StatusCode::OK), "{reply:?}");
}

#[tokio::test]
async fn a_link_that_is_lost_within_a_request_cancels_it() {
    let (upstream, mut calls) = Upstream::by_hand();
    let trust = Trust::default();
    let server = server(&trust, &upstream).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    let _stream = peer.open_with(request("/")).await;
    let call = calls.next().await;
    drop(peer);
    call.abandoned().await;
    let next = Peer::join(server.tunnel, &trust).await;
    let asking = next.open_with(request("/")).await;
    calls.next().await.answer(empty());
    asks(asking).await;
}

/// A request whose body has stopped half way.
struct HalfWay {
    _upstream: Upstream,
    _server: ServerNode,
    _peer: Peer,
    stream: Stream,
    call: Call,
}

/// Asks it of a server where a body may not stop for long.
async fn half_way() -> HalfWay {
    let (upstream, mut calls) = Upstream::by_hand();
    let trust = Trust::default();
    let timeouts = Timeouts { body_idle: Duration::from_millis(20), ..Timeouts::default() };
    let server = server_with(&trust, &upstream, timeouts).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    let mut stream = peer.open().await;
    stream.write(upload("/")).await;
    stream.write(b"\x02\x00\x05half!").await;
    let mut call = calls.next().await;
    expect(&mut call.body, "half!").await;
    HalfWay { _upstream: upstream, _server: server, _peer: peer, stream, call }
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_given_up() {
    let mut asked = half_way().await;
    assert!(next_chunk(&mut asked.call.body).await.is_err());
    assert_eq!(asked.stream.reply().await, Reply::Failed(Failure::RequestTimeout));
}

#[tokio::test]
async fn a_response_that_nobody_takes_is_given_up() {
    let (upstream, mut calls) = Upstream::by_hand();
    let trust = Trust::default();
    let timeouts = Timeouts { write_idle: Duration::from_millis(20), ..Timeouts::default() };
    let server = server_with(&trust, &upstream, timeouts).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    let _stream = peer.open_with(request("/")).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer_with(response(200, &[], body));
    let chunk = noise(256 * 1024);
    within("it to be given up", async { while chunks.try_send(chunk.clone()).await {} }).await;
    let asking = peer.open_with(request("/")).await;
    calls.next().await.answer(empty());
    asks(asking).await;
}

#[tokio::test]
async fn a_body_that_is_answered_may_rest() {
    let HalfWay { _upstream, _server, _peer, mut stream, call } = half_way().await;
    let (_answers, body) = by_hand();
    let mut upload = call.answer_early(response(200, &[], body));
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write(b"\x02\x00\x05whole").await;
    expect(&mut upload, "whole").await;
}

#[tokio::test]
async fn a_body_that_is_no_body_breaks_off_at_the_upstream() {
    let (upstream, mut calls) = Upstream::by_hand();
    let trust = Trust::default();
    let server = server(&trust, &upstream).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    for nonsense in [b"\xff\xff\xff\x7f".as_slice(), b"\x02\x09\x09", b"\x02\x00\x05ab", b""] {
        let mut stream = peer.open().await;
        stream.write(upload("/")).await;
        stream.write(b"\x02\x00\x05half!").await;
        let mut call = calls.next().await;
        expect(&mut call.body, "half!").await;
        stream.write(nonsense).await;
        stream.finish();
        let mut end = next_chunk(&mut call.body).await;
        if let Ok(Some(_)) = end {
            end = next_chunk(&mut call.body).await;
        }
        assert!(end.is_err(), "{nonsense:?}: {end:?}");
    }
    let asking = peer.open_with(request("/")).await;
    calls.next().await.answer(empty());
    asks(asking).await;
}
