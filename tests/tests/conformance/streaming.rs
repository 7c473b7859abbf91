//! What is ready leaves at once, both ways at a time, and who goes away takes the exchange along.

use adit_tests::{
    Cell, Http, Upstream,
    body::{by_hand, full},
    conformance, eventually,
    message::{expect, expect_cut, expect_end, values},
    upstream::{self, response},
    visitor::raw::Raw,
};
use http::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

conformance! { "Streaming, interim responses and cancellation":
    the_head_arrives_before_the_body_is_made,
    every_event_arrives_before_the_next_is_made,
    every_chunk_of_an_upload_arrives_before_the_next_is_made,
    an_upload_is_answered_chunk_by_chunk_while_it_runs,
    a_response_that_begins_early_leaves_the_upload_running,
    a_visitor_that_waits_to_be_told_to_continue_is_told [h1 to any],
    an_upstream_that_refuses_what_it_is_asked_for_gets_no_body [h1 to h1],
    early_hints_arrive [any to any open "hyper sends no interim response of its user's: its server API has none but the 100 that it sends itself"],
    a_visitor_that_goes_away_before_the_head_cancels_the_request,
    a_visitor_that_goes_away_within_the_body_cancels_the_request,
    a_visitor_that_goes_away_within_its_upload_cancels_the_request,
    a_stream_that_is_reset_leaves_the_others_alone [h2 to any],
}

async fn the_head_arrives_before_the_body_is_made(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
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

async fn every_event_arrives_before_the_next_is_made(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
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

async fn every_chunk_of_an_upload_arrives_before_the_next_is_made(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
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

async fn an_upload_is_answered_chunk_by_chunk_while_it_runs(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
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

async fn a_response_that_begins_early_leaves_the_upload_running(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
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

async fn a_visitor_that_waits_to_be_told_to_continue_is_told(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n";
    visitor.send(format!("{head}Connection: close\r\n\r\n")).await;
    assert_eq!(visitor.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    visitor.send("body").await;
    let answer = visitor.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nbody"), "{answer}");
}

async fn an_upstream_that_refuses_what_it_is_asked_for_gets_no_body(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    let call = calls.next().await;
    assert_eq!(values(&call.head.headers, "expect"), ["100-continue"]);
    call.answer_with(response(417, &[], full("")));
    assert!(visitor.rest().await.starts_with("HTTP/1.1 417 "));
}

async fn early_hints_arrive(cell: Cell) {
    let upstream = Upstream::raw(move |mut tcp| async move {
        let answer: &[u8] = match cell.upstream {
            Http::Http1 => {
                b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            }
            // Settings, then 103, 200 and the end of stream 1 (RFC 9113 §6, RFC 7541 §6).
            Http::Http2 => b"\0\0\0\x04\0\0\0\0\0\0\0\x05\x01\x04\0\0\0\x01\x08\x03103\0\0\x01\x01\x05\0\0\0\x01\x88",
        };
        match cell.upstream {
            Http::Http1 => upstream::read_head(&mut tcp).await,
            Http::Http2 => read_http2_head(&mut tcp).await,
        }
        let _ = tcp.write_all(answer).await;
        // Until it is not wanted any more.
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let (hinted, mut hints) = tokio::sync::mpsc::unbounded_channel();
    let mut request = visitor.request("GET", "/").empty();
    hyper::ext::on_informational(&mut request, move |interim| {
        let _ = hinted.send(interim.status());
    });
    assert_eq!(visitor.send(request).await.status().as_u16(), 200);
    assert_eq!(hints.try_recv().map(|status| status.as_u16()), Ok(103));
}

/// Reads frames up to the first one with a request.
async fn read_http2_head(tcp: &mut TcpStream) {
    const HEADERS: u8 = 1;
    let _ = tcp.read_exact(&mut [0; 24]).await;
    let mut head = [0; 9];
    while tcp.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let _ = tcp.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await;
        if head[3] == HEADERS {
            break;
        }
    }
}

async fn a_visitor_that_goes_away_before_the_head_cancels_the_request(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let _pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let call = calls.next().await;
    visitor.hang_up();
    call.abandoned().await;
    if cell.upstream == Http::Http1 {
        eventually("the connection that waited to be closed", || upstream.saw().open() == 0).await;
    }
}

async fn a_visitor_that_goes_away_within_the_body_cancels_the_request(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer(body);
    chunks.send("a beginning").await;
    let mut answer = pending.body().await;
    expect(&mut answer, "a beginning").await;
    visitor.hang_up();
    chunks.unwanted().await;
}

async fn a_visitor_that_goes_away_within_its_upload_cancels_the_request(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let (chunks, body) = by_hand();
    let _pending = visitor.start(visitor.request("POST", "/").body(body)).await;
    let mut call = calls.next().await;
    chunks.send("a beginning").await;
    expect(&mut call.body, "a beginning").await;
    visitor.hang_up();
    expect_cut(&mut call.body).await;
}

async fn a_stream_that_is_reset_leaves_the_others_alone(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let given_up = visitor.start(visitor.request("GET", "/given-up").empty()).await;
    let cancelled = calls.next().await;
    let kept = visitor.start(visitor.request("GET", "/kept").empty()).await;
    let other = calls.next().await;
    drop(given_up);
    cancelled.abandoned().await;
    other.answer(full("kept"));
    assert_eq!(kept.whole().await.text(), "kept");
}
