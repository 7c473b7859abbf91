//! Readers of bodies that do not read them.

use std::time::Duration;

use adit_core::limits::Limits;
use adit_tests::{
    Direction, Http, Tunnel, Upstream,
    body::{Chunks, by_hand, full, noise},
    both_directions,
    message::expect_cut,
    upstream::{self, Calls, Connection, response},
    visitor::{
        frames::{END_HEADERS, END_STREAM, Frames, GET, POST, frame, kind},
        raw::Raw,
        websocket::{self, WebSocket},
    },
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinSet,
};

both_directions!(
    the_readers_that_are_blocked_for_longest_make_room,
    a_stream_that_is_not_read_ends_and_its_connection_goes_on,
    an_upstream_that_does_not_read_makes_room,
    http_2_streams_without_a_window_make_room_for_others,
    http_2_streams_without_a_window_make_room_whatever_was_not_uploaded,
    a_switched_connection_that_is_not_read_makes_room,
    a_switched_connection_whose_other_side_has_ended_holds_nothing,
);

/// How many exchanges a link has, where they are the question. More than the streams that it starts with, and fewer
/// than a connection of a visitor has.
const EXCHANGES: u32 = 100;

/// The setting that is how much a visitor takes of a stream before it says that it takes more (RFC 9113 §6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Asks for a body without an end. Returns what feeds it.
async fn ask(tunnel: &Tunnel, calls: &mut Calls) -> (Raw, Chunks) {
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let (chunks, body) = by_hand();
    calls.next().await.answer_with(response(200, &[], body));
    visitor.until("\r\n\r\n").await;
    (visitor, chunks)
}

/// Sends on until nobody wants any more.
async fn feed(chunks: &Chunks) {
    let chunk = noise(256 * 1024);
    within("a reader that is stopped", async { while chunks.try_send_patiently(chunk.clone()).await {} }).await;
}

async fn the_readers_that_are_blocked_for_longest_make_room(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    // Room for one that reads nothing, and not for two.
    let limits = Limits { unread_bytes_max: 10 * 1024 * 1024, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let (mut visitors, mut feeders) = (Vec::new(), JoinSet::new());
    for index in 0..3 {
        let (visitor, chunks) = ask(&tunnel, &mut calls).await;
        visitors.push(visitor);
        feeders.spawn(async move {
            feed(&chunks).await;
            index
        });
    }
    let mut stopped = Vec::new();
    for _ in 0..2 {
        stopped.push(within("a reader to be stopped", feeders.join_next()).await.unwrap().unwrap());
    }
    // The last one is still fed, and served as soon as it reads.
    let spared = (0..3).find(|index| !stopped.contains(index)).unwrap();
    assert!(visitors[spared].reads_at_least(32 * 1024 * 1024).await);
    for index in stopped {
        assert!(!visitors[index].reads_at_least(32 * 1024 * 1024).await);
    }
}

async fn a_stream_that_is_not_read_ends_and_its_connection_goes_on(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.write_idle = Duration::from_millis(500));
    let tunnel = setup.start(direction).await;
    let mut visitor = tunnel.http2().await;
    let request = visitor.request("GET", "/").empty();
    let pending = visitor.start(request).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer_with(response(200, &[], body));
    let mut unread = pending.body().await;
    feed(&chunks).await;
    let request = visitor.request("GET", "/").empty();
    let pending = visitor.start(request).await;
    calls.next().await.answer_with(response(200, &[], full("beside it")));
    assert_eq!(pending.whole().await.text(), "beside it");
    expect_cut(&mut unread).await;
}

async fn an_upstream_that_does_not_read_makes_room(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let limits = Limits { unread_bytes_max: 1024 * 1024, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let (chunks, body) = by_hand();
    let request = visitor.request("POST", "/").body(body);
    let pending = visitor.start(request).await;
    let _call = calls.next().await;
    feed(&chunks).await;
    assert_eq!(pending.whole().await.failure(), (504, "slow-reader"));
}

async fn http_2_streams_without_a_window_make_room_for_others(direction: Direction) {
    without_a_window(direction, END_HEADERS | END_STREAM, GET).await;
}

async fn http_2_streams_without_a_window_make_room_whatever_was_not_uploaded(direction: Direction) {
    // It is answered without having been asked for its body.
    let expects = [POST, b"\x00\x06expect\x0c100-continue"].concat();
    without_a_window(direction, END_HEADERS, &expects).await;
}

/// Takes every exchange of a link with requests whose answers nobody takes, twice over.
async fn without_a_window(direction: Direction, flags: u8, request: &[u8]) {
    let upstream = Upstream::answering(async |_| response(404, &[], full("nothing here")));
    let limits = Limits { exchanges_per_link_max: EXCHANGES, ..Limits::default() };
    let setup = Tunnel::to(upstream.http()).limits(limits);
    let setup = setup.timeouts(|timeouts| timeouts.write_idle = Duration::from_millis(500));
    let tunnel = setup.start(direction).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut visitor = Frames::connect(tunnel.entry(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
        for index in 0..EXCHANGES {
            visitor.send(&frame(kind::HEADERS, flags, 2 * index + 1, request)).await;
        }
        let mut answers = 0;
        while answers < EXCHANGES {
            answers += u32::from(visitor.next().await.unwrap().kind == kind::HEADERS);
        }
        held.push(visitor);
    }
    assert_eq!(tunnel.http1().await.get("/").await.failure(), (404, ""));
    for mut visitor in held {
        assert!(visitor.settled().await, "a connection was closed");
    }
}

/// Switches a connection, and says what the upstream shall do with it.
async fn switch(tunnel: &Tunnel, version: Http, order: &[u8; 1]) -> WebSocket {
    let mut visitor = websocket::ask(tunnel.entry(), version, "/chat", &[]).await.switched(version).await;
    visitor.send(order).await;
    visitor
}

/// Sends without an end to those that send a digit first, and tells which when nobody wants any more. Ends its side for
/// others, and tells what they send.
fn talkative() -> (Upstream, mpsc::UnboundedReceiver<u8>) {
    let (tell, told) = mpsc::unbounded_channel();
    let upstream = Upstream::switching(upstream::echo, move |mut connection: Connection| {
        let tell = tell.clone();
        async move {
            let Ok(order) = connection.read_u8().await else { return };
            if order.is_ascii_digit() {
                while connection.write_all(&noise(256 * 1024)).await.is_ok() {}
                let _ = tell.send(order);
                return;
            }
            let _ = connection.shutdown().await;
            while let Ok(said) = connection.read_u8().await {
                let _ = tell.send(said);
            }
        }
    });
    (upstream, told)
}

async fn a_switched_connection_that_is_not_read_makes_room(direction: Direction) {
    let (upstream, mut told) = talkative();
    let limits = Limits { unread_bytes_max: 1024 * 1024, exchanges_per_link_max: 1, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    for version in [Http::Http1, Http::Http2] {
        let _visitor = switch(&tunnel, version, b"1").await;
        assert_eq!(within("it to be stopped", told.recv()).await, Some(b'1'), "{version:?}");
        assert_eq!(tunnel.http1().await.get("/").await.failure(), (200, ""), "{version:?}");
    }
}

async fn a_switched_connection_whose_other_side_has_ended_holds_nothing(direction: Direction) {
    let (upstream, mut told) = talkative();
    // Room for one that reads nothing, and not for two.
    let limits = Limits { unread_bytes_max: 10 * 1024 * 1024, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let mut ended = switch(&tunnel, Http::Http1, b"e").await;
    ended.send("a").await;
    assert_eq!(within("what it says", told.recv()).await, Some(b'a'));
    let _unread = (switch(&tunnel, Http::Http1, b"1").await, switch(&tunnel, Http::Http1, b"2").await);
    assert!(within("one to be stopped", told.recv()).await.is_some_and(|stopped| stopped.is_ascii_digit()));
    ended.send("b").await;
    assert_eq!(within("what it says", told.recv()).await, Some(b'b'));
}
