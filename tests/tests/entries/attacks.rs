//! Attacks over HTTP/2: the attacker's connection ends, and nobody else notices.

use std::time::Duration;

use adit_tests::{
    Direction, Tunnel, Upstream, both_directions,
    visitor::frames::{END_HEADERS, END_STREAM, Frames, GET, POST, frame, get, kind, reset},
};

both_directions!(
    requests_that_are_taken_back_at_once_end_the_connection,
    requests_that_are_taken_back_one_by_one_end_the_connection,
    mistakes_that_make_us_take_requests_back_end_the_connection,
    fields_without_an_end_end_the_connection,
    fields_that_grow_when_they_are_unpacked_are_refused,
    settings_without_a_request_end_the_connection,
    pings_without_a_request_end_the_connection,
    answers_that_nobody_reads_end_the_connection,
    empty_pieces_of_a_body_end_the_connection,
);

/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u32 = 11;

/// Streams of a visitor have odd numbers.
fn stream(round: u32) -> u32 {
    2 * round + 1
}

/// Waits for the end of an attack, during which another visitor is served as ever.
async fn unnoticed<T>(tunnel: &Tunnel, attack: impl Future<Output = T>) -> T {
    let mut canary = tunnel.http1().await;
    let mut attack = std::pin::pin!(attack);
    loop {
        tokio::select! {
            biased;
            outcome = &mut attack => {
                assert_eq!(tunnel.http1().await.get("/").await.failure(), (200, ""));
                return outcome;
            }
            answer = canary.get("/") => assert_eq!(answer.failure(), (200, "")),
        }
    }
}

async fn requests_that_are_taken_back_at_once_end_the_connection(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let attacker = Frames::connect(tunnel.entry(), &[]).await;
    let attack = attacker.flood(|round| {
        let streams = (round * 100..round * 100 + 100).map(stream);
        streams.flat_map(|stream| [get(stream), reset(stream)]).flatten().collect()
    });
    assert_eq!(unnoticed(&tunnel, attack).await, Some(ENHANCE_YOUR_CALM));
}

async fn requests_that_are_taken_back_one_by_one_end_the_connection(direction: Direction) {
    let (upstream, _calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut attacker = Frames::connect(tunnel.entry(), &[]).await;
    let mut taken_back = 0;
    while attacker.send(&get(stream(taken_back))).await && attacker.settled().await {
        if !attacker.send(&reset(stream(taken_back))).await {
            break;
        }
        taken_back += 1;
        assert!(taken_back < 5_000, "it goes on");
    }
    assert!(taken_back > 256, "a browser that leaves a page takes back as many: {taken_back}");
}

async fn mistakes_that_make_us_take_requests_back_end_the_connection(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let attacker = Frames::connect(tunnel.entry(), &[]).await;
    // A window that grows too large is a mistake on its stream (RFC 9113 §6.9.1).
    let attack = attacker.flood(|round| {
        let stream = stream(round);
        [
            frame(kind::HEADERS, END_HEADERS, stream, POST),
            frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
        ]
        .concat()
    });
    assert_eq!(unnoticed(&tunnel, attack).await, Some(ENHANCE_YOUR_CALM));
}

async fn fields_without_an_end_end_the_connection(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for continuation in [&b""[..], &[&b"\x00\x01x\x7f\x80\x7e"[..], &[b'y'; 16_255]].concat()] {
        let mut attacker = Frames::connect(tunnel.entry(), &[]).await;
        attacker.send(&frame(kind::HEADERS, END_STREAM, 1, GET)).await;
        let code = unnoticed(&tunnel, attacker.flood(|_| frame(kind::CONTINUATION, 0, 1, continuation))).await;
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
    }
}

async fn fields_that_grow_when_they_are_unpacked_are_refused(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut attacker = Frames::connect(tunnel.entry(), &[]).await;
    // A field of 4,000 bytes goes into the table, and is then asked for with one byte each.
    let planted = [GET, b"\x40\x01x\x7f\xa1\x1e", &[b'y'; 4_000]].concat();
    let bomb = [GET, &[0xbe; 8_000]].concat();
    let attack = async {
        attacker.send(&frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &planted)).await;
        attacker.send(&frame(kind::HEADERS, END_STREAM | END_HEADERS, 3, &bomb)).await;
        let mut of_the_bomb = Vec::new();
        while let Some(received) = attacker.next().await {
            match (received.kind, received.stream) {
                (kind::HEADERS | kind::RST_STREAM, 3) => break,
                (kind::GOAWAY, _) => break,
                _ => of_the_bomb.push(received.kind),
            }
        }
    };
    unnoticed(&tunnel, attack).await;
    assert!(upstream.saw().last().values("x").len() <= 1);
}

async fn settings_without_a_request_end_the_connection(direction: Direction) {
    without_a_request(direction, |_| frame(kind::SETTINGS, 0, 0, b"\0\x04\0\x01\0\0").repeat(100)).await;
}

async fn pings_without_a_request_end_the_connection(direction: Direction) {
    without_a_request(direction, |_| frame(kind::PING, 0, 0, b"12345678").repeat(100)).await;
}

async fn without_a_request(direction: Direction, more: impl FnMut(u32) -> Vec<u8>) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| {
        timeouts.visitor_idle = Duration::from_millis(300);
    });
    let tunnel = setup.start(direction).await;
    let attacker = Frames::connect(tunnel.entry(), &[]).await;
    unnoticed(&tunnel, attacker.flood(more)).await;
}

async fn answers_that_nobody_reads_end_the_connection(direction: Direction) {
    let upstream = Upstream::echo();
    let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.write_idle = Duration::from_millis(300));
    let tunnel = setup.start(direction).await;
    let mut attacker = Frames::connect(tunnel.entry(), &[]).await;
    let pings = frame(kind::PING, 0, 0, b"12345678").repeat(1_000);
    // Nothing of the answers is read: they fill every buffer, and then nothing more of ours is taken.
    unnoticed(&tunnel, async { while attacker.send(&pings).await {} }).await;
}

async fn empty_pieces_of_a_body_end_the_connection(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut attacker = Frames::connect(tunnel.entry(), &[]).await;
    attacker.send(&frame(kind::HEADERS, END_HEADERS, 1, POST)).await;
    let code = unnoticed(&tunnel, attacker.flood(|_| frame(kind::DATA, 0, 1, b"").repeat(100))).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
}
