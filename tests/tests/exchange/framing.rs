//! Every way to say where a body ends, in every version on either side.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{by_hand, chunked, chunks_of, empty, full, noise, with_trailers},
    both_directions, eventually,
    message::{expect, expect_end},
    upstream::{echo, response},
    visitor::raw::{self, Raw},
};
use bytes::Bytes;
use http::Response;

both_directions! {
    bodies_of_every_kind_come_back_in_every_version,
    a_get_keeps_a_body_whatever_its_length,
    an_http_2_post_without_a_body_says_so_to_an_http_1_upstream,
    what_has_no_body_has_no_framing,
    a_response_that_ends_with_its_connection_arrives_whole,
    a_response_of_http_1_0_arrives_whole,
    an_http_1_0_upload_arrives_whole,
    an_http_1_0_visitor_may_keep_its_connection,
    an_empty_response_keeps_its_framing,
    chunks_of_nothing_are_no_end,
    data_of_no_length_is_no_end,
    the_first_byte_of_an_event_leaves_at_once,
    requests_that_come_together_are_answered_in_order,
    a_chunk_with_an_extension_is_a_chunk,
}

async fn bodies_of_every_kind_come_back_in_every_version(direction: Direction) {
    let upstream = Upstream::echo();
    let data = noise(100_003);
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "SEARCH", "PURGE"] {
                for (body, expected) in [
                    (empty(), Bytes::new()),
                    (full(""), Bytes::new()),
                    (chunked([]), Bytes::new()),
                    (full(data.clone()), data.clone()),
                    (chunked(chunks_of(&data, 9_001)), data.clone()),
                    (with_trailers(chunks_of(&data, 50_000), &[("x-sum", "1")]), data.clone()),
                ] {
                    let answer = visitor.ask(visitor.request(method, "/").body(body)).await;
                    assert_eq!(answer.failure(), (200, ""), "{method}");
                    assert!(answer.body == expected, "{method}: {} of {} bytes", answer.body.len(), expected.len());
                    assert_eq!(upstream.saw().last().method, method);
                }
            }
        }
    }
}

async fn a_get_keeps_a_body_whatever_its_length(direction: Direction) {
    let upstream = Upstream::echo();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for framed in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let request = format!("GET /_search HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framed}");
            let answer = raw::ask(tunnel.entry(), request).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("hello"), "{framed:?}: {answer}");
        }
        let mut visitor = tunnel.http2().await;
        let pending = visitor.start(visitor.request("GET", "/").body(chunked([Bytes::from_static(b"hello")]))).await;
        assert_eq!(pending.whole().await.text(), "hello");
    }
}

async fn an_http_2_post_without_a_body_says_so_to_an_http_1_upstream(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for (method, expected) in [("POST", vec!["0"]), ("PUT", vec!["0"]), ("DELETE", vec![]), ("GET", vec![])] {
        let mut visitor = Raw::connect(tunnel.entry()).await;
        let fields = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        visitor.send(raw::http2(&fields)).await;
        assert!(!visitor.h2_refusal().await, "{method}");
        // RFC 9110 §8.6: a server may insist on it.
        let seen = upstream.saw().last();
        assert_eq!((seen.method.as_str(), seen.values("content-length")), (method, expected));
        assert!(!seen.headers.contains_key("transfer-encoding"), "{method}");
    }
}

async fn what_has_no_body_has_no_framing(direction: Direction) {
    let upstream = Upstream::echo();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            for method in ["GET", "HEAD", "DELETE"] {
                visitor.ask(visitor.request(method, "/").empty()).await;
                let seen = upstream.saw().last();
                let framed =
                    seen.headers.contains_key("content-length") || seen.headers.contains_key("transfer-encoding");
                assert!(!framed, "{method}: {:?}", seen.headers);
            }
        }
    }
}

async fn a_response_that_ends_with_its_connection_arrives_whole(direction: Direction) {
    ends_with_its_connection(direction, "HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\n").await;
}

async fn a_response_of_http_1_0_arrives_whole(direction: Direction) {
    ends_with_its_connection(direction, "HTTP/1.0 200 OK\r\nx-a: 1\r\n\r\n").await;
}

async fn ends_with_its_connection(direction: Direction, head: &str) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let pending = visitor.start(visitor.request("GET", "/").empty()).await;
        let mut server = connections.next().await;
        server.until("\r\n\r\n").await;
        server.send(format!("{head}first ")).await;
        let mut body = pending.body().await;
        expect(&mut body, "first ").await;
        server.send("last").await;
        drop(server);
        expect(&mut body, "last").await;
        expect_end(&mut body).await;
    }
}

async fn an_http_1_0_upload_arrives_whole(direction: Direction) {
    let upstream = Upstream::echo();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let answer = raw::ask(tunnel.entry(), "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello").await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    }
}

async fn an_http_1_0_visitor_may_keep_its_connection(direction: Direction) {
    let upstream = Upstream::answering(|_| async { Response::new(full("hello")) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    for _ in 0..3 {
        visitor.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let answer = visitor.until("hello").await;
        assert!(
            answer.contains("\r\ncontent-length: 5\r\n") && answer.contains("\r\nconnection: keep-alive\r\n"),
            "{answer}"
        );
    }
    visitor.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(visitor.rest().await.ends_with("hello"));
}

async fn an_empty_response_keeps_its_framing(direction: Direction) {
    for (framed, expected) in [
        ("content-length: 0\r\n\r\n", "\r\ncontent-length: 0\r\n"),
        ("transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n"),
    ] {
        let upstream = Upstream::saying(format!("HTTP/1.1 200 OK\r\n{framed}"));
        let tunnel = Tunnel::to(upstream.http()).start(direction).await;
        let answer = raw::ask(tunnel.entry(), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(expected), "{answer}");
        let whole = tunnel.http2().await.get("/").await;
        assert_eq!((whole.failure(), whole.text()), ((200, ""), ""));
    }
}

async fn chunks_of_nothing_are_no_end(direction: Direction) {
    let upstream = Upstream::answering(|_| async {
        let chunks = ["", "one", "", "", "two", ""].map(|chunk| Bytes::from_static(chunk.as_bytes()));
        response(200, &[], chunked(chunks))
    });
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            assert_eq!(visitor.get("/").await.text(), "onetwo");
        }
    }
}

async fn data_of_no_length_is_no_end(direction: Direction) {
    let upstream = Upstream::answering(echo);
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let mut visitor = tunnel.http2().await;
        let (chunks, body) = by_hand();
        let pending = visitor.start(visitor.request("POST", "/").body(body)).await;
        let mut answer = pending.body().await;
        for word in ["one", "two"] {
            chunks.send("").await;
            chunks.send(word).await;
            chunks.send("").await;
            expect(&mut answer, word).await;
        }
        drop(chunks);
        expect_end(&mut answer).await;
    }
}

async fn the_first_byte_of_an_event_leaves_at_once(direction: Direction) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let pending = visitor.start(visitor.request("GET", "/").empty()).await;
        let mut server = connections.next().await;
        server.until("\r\n\r\n").await;
        server.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let mut events = pending.body().await;
        // Not even the chunk is complete when its first bytes are here.
        server.send("e\r\nd").await;
        expect(&mut events, "d").await;
        server.send("ata: ").await;
        expect(&mut events, "ata: ").await;
        server.send("event\r\n").await;
        server.send("\n\r\n0\r\n\r\n").await;
        expect(&mut events, "event\r\n\n").await;
        expect_end(&mut events).await;
    }
}

async fn requests_that_come_together_are_answered_in_order(direction: Direction) {
    let upstream = Upstream::answering(|request| async move { Response::new(full(request.uri().path().to_owned())) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let requests: String = (0..10)
        .map(|number| match number % 3 {
            0 => format!("GET /{number}; HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{number}; HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
            _ => format!("PUT /{number}; HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        })
        .collect();
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(requests).await;
    for number in 0..10 {
        let answer = visitor.until(";").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&format!("/{number};")), "{answer}");
    }
    eventually("all to be seen", || upstream.saw().requests() == 10).await;
}

async fn a_chunk_with_an_extension_is_a_chunk(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    for chunks in [
        "5;name=value\r\nhello\r\n0;last\r\n\r\n",
        "05 ; a=\"b\"\r\nhello\r\n000\r\n\r\n",
        "5\r\nhello\r\n0\r\nx-left: 1\r\n\r\n",
    ] {
        let answer = raw::ask(tunnel.entry(), format!("{head}{chunks}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nhello\r\n"), "{chunks:?}: {answer}");
    }
}
