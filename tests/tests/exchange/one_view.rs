//! What could be read in two ways is refused and the connection closed, or goes on as exactly one request, written anew.

use adit_core::limits::Limits;
use adit_node::settings::{EgressSettings, UpstreamSettings};
use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{chunked, chunks_of, full, noise},
    both_directions, eventually,
    message::{expect, expect_cut, next_chunk},
    settings::{everything_to, pattern, to},
    upstream::response,
    visitor::raw::{self, Raw},
};
use http::Response;

both_directions! {
    a_head_that_means_two_things_is_refused_and_the_connection_closed,
    a_length_beside_chunked_becomes_one_request_and_the_connection_is_closed,
    lengths_that_repeat_become_one,
    line_feeds_alone_become_one_request,
    a_chunk_whose_size_is_none_is_refused,
    a_chunk_whose_size_is_none_breaks_off_what_has_begun,
    a_body_behind_an_early_refusal_is_not_read_as_requests,
    a_body_behind_a_late_refusal_is_not_read_as_requests,
    an_answer_over_http_2_leaves_the_upload_its_end,
    a_request_behind_a_refused_one_without_a_body_is_served,
    a_line_break_in_a_value_over_http_2_loses_its_stream,
    an_authority_that_is_none_or_two_over_http_2_reaches_nobody,
    a_body_over_the_limit_is_refused_before_it_is_read,
    a_body_of_unknown_length_is_refused_when_it_gets_over_the_limit,
    fields_that_have_no_place_in_trailers_stay_behind,
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Sends a request with another one behind it, and returns all that comes back until the connection is closed.
async fn followed(tunnel: &Tunnel, request: impl AsRef<[u8]>) -> String {
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send([request.as_ref(), HIDDEN.as_bytes()].concat()).await;
    visitor.rest().await
}

async fn a_head_that_means_two_things_is_refused_and_the_connection_closed(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let heads = [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /../a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / \r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    let mut wrong = Vec::new();
    for head in heads {
        let answer = followed(&tunnel, head).await;
        // One answer that says that it is the last, or none.
        let is_one = raw::failure(&answer).0 == 400 && answer.matches("HTTP/1.").count() == 1;
        if !is_one || !answer.contains("\r\nconnection: close\r\n") {
            wrong.push((head, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(upstream.saw().requests(), 0);
}

async fn a_length_beside_chunked_becomes_one_request_and_the_connection_is_closed(direction: Direction) {
    let upstream = Upstream::echo();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let before = upstream.saw().requests();
        for fields in
            ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 300"]
        {
            let request = format!("POST /seen HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
            let answer = followed(&tunnel, request).await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nconnection: close\r\n"),
                "{answer}"
            );
            assert!(answer.contains("hello") && !answer.contains("HTTP/1.1 404"), "{answer}");
            let seen = upstream.saw().last();
            assert_eq!(seen.uri.path(), "/seen");
            assert!(!seen.headers.contains_key("content-length"), "{:?}", seen.headers);
        }
        assert_eq!(upstream.saw().requests(), before + 2);
    }
}

async fn lengths_that_repeat_become_one(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let request =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let answer = followed(&tunnel, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert_eq!(upstream.saw().last().values("content-length"), ["5"]);
    assert_eq!(upstream.saw().requests(), 1);
}

async fn line_feeds_alone_become_one_request(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = raw::ask(tunnel.entry(), "GET /a HTTP/1.1\nHost: a\nX-A: 1\nConnection: close\n\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(upstream.saw().connections(), 1);
}

const BAD_CHUNKS: [&str; 10] = [
    "x\r\nhello\r\n",
    "+5\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    "5\nhello\r\n",
    "5;a\nb\r\nhello\r\n",
    "5\r\nhelloX\r\n",
    "5\r\nhello\n",
    "11111111111111111\r\nh",
    "-1\r\nh",
    "\r\nhello\r\n",
];

async fn a_chunk_whose_size_is_none_is_refused(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for chunk in BAD_CHUNKS {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
        let answer = followed(&tunnel, request).await;
        // The part before the nonsense may have been answered: then it is an answer that breaks off.
        let is_refused = raw::failure(&answer) == (400, "bad-request") && answer.contains("\r\nconnection: close\r\n");
        let is_one = answer.matches("HTTP/1.1 ").count() <= 1;
        let has_begun = chunk.starts_with("5\r\n") && !answer.ends_with("0\r\n\r\n");
        assert!(is_one && (is_refused || has_begun), "{chunk:?}: {answer}");
    }
    assert!(upstream.saw().requests() == 0 || upstream.saw().last().uri.path() == "/");
}

async fn a_chunk_whose_size_is_none_breaks_off_what_has_begun(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for chunk in BAD_CHUNKS {
            let mut visitor = Raw::connect(tunnel.entry()).await;
            visitor.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
            let mut call = calls.next().await;
            expect(&mut call.body, "first").await;
            visitor.send(format!("{chunk}0\r\n\r\n{HIDDEN}")).await;
            expect_cut(&mut call.body).await;
            drop(call);
            let answer = visitor.rest().await;
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{chunk:?}: {answer}");
        }
    }
    assert!(calls.is_empty());
}

/// Sends a request with a body that never ends, and returns all that comes back.
async fn endless(tunnel: &Tunnel, head: &str, body: &str) -> String {
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n{body}")).await;
    let answer = visitor.until("\r\n\r\n").await;
    visitor.end().await;
    answer + &visitor.rest().await
}

async fn a_body_behind_an_early_refusal_is_not_read_as_requests(direction: Direction) {
    let tunnel = Tunnel::with(EgressSettings::default()).start(direction).await;
    for times in [1, 3, 10_000] {
        let body = HIDDEN.repeat(times);
        let length = body.len();
        for (head, body) in [
            (format!("Content-Length: {}", length * 2), body.clone()),
            ("Transfer-Encoding: chunked".to_owned(), format!("{length:x}\r\n{body}")),
        ] {
            let answer = endless(&tunnel, &head, &body).await;
            assert_eq!(raw::failure(&answer), (404, "no-route"));
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{times}: {answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
    }
}

async fn a_body_behind_a_late_refusal_is_not_read_as_requests(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for times in [1, 10_000] {
        let body = HIDDEN.repeat(times);
        let answer = endless(&tunnel, &format!("Content-Length: {}", body.len() + 1), &body).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{times}: {answer}");
    }
    eventually("the connections to end", || upstream.saw().open() == 0).await;
    assert_eq!(upstream.saw().connections(), 2);
}

async fn an_answer_over_http_2_leaves_the_upload_its_end(direction: Direction) {
    const PONG: (u8, u32) = (6, 0);
    const RST_STREAM: (u8, u32) = (3, 1);
    let upstream =
        Upstream::saying("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    for egress in [EgressSettings::default(), everything_to(upstream.http())] {
        let tunnel = Tunnel::with(egress).start(direction).await;
        let mut visitor = Raw::connect(tunnel.entry()).await;
        let head = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        visitor.send(raw::http2_upload(&head)).await;
        visitor.send(raw::http2_data(b"half of ", false)).await;
        while !visitor.h2_frame().await.ends_stream {}
        // curl takes a reset that comes now for an error in place of the answer.
        visitor.send(raw::http2_data(b"it", true)).await;
        visitor.send(raw::http2_ping()).await;
        loop {
            let frame = visitor.h2_frame().await;
            assert_ne!((frame.kind, frame.stream), RST_STREAM);
            if (frame.kind, frame.stream) == PONG {
                break;
            }
        }
    }
}

async fn a_request_behind_a_refused_one_without_a_body_is_served(direction: Direction) {
    let upstream = Upstream::echo();
    let servers = UpstreamSettings::new(vec![upstream.http()]);
    let tunnel = Tunnel::with(to(pattern(None, Some("/only")), servers)).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("GET /no HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
    visitor.send("GET /only HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(visitor.rest().await.contains("HTTP/1.1 200 OK\r\n"));
}

async fn a_line_break_in_a_value_over_http_2_loses_its_stream(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let good = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    for bad in [
        ("x-a", "a\r\nx-b: c"),
        ("x-a", "a\nb"),
        ("x-a", "a\0b"),
        ("x-a\r\nx-b", "c"),
        ("X-A", "c"),
        (":path", "/\r\nx: y"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        (":path", "/twice"),
        ("te", "gzip"),
    ] {
        let mut visitor = Raw::connect(tunnel.entry()).await;
        visitor.send(raw::http2(&[good.as_slice(), &[bad]].concat())).await;
        assert!(visitor.h2_refusal().await, "{bad:?} was answered");
    }
    assert_eq!(upstream.saw().requests(), 0);
}

async fn an_authority_that_is_none_or_two_over_http_2_reaches_nobody(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for (path, authority) in [
        ("/", &[][..]),
        ("/", &[("host", "a"), ("host", "a")]),
        ("/", &[(":authority", "a"), ("host", "b")]),
        ("/", &[(":authority", "a"), ("host", "a"), ("host", "a")]),
        ("/", &[(":authority", "user@a")]),
        ("/", &[(":authority", "a/b")]),
        ("/", &[("host", "a, b")]),
        ("*", &[(":authority", "a")]),
        ("", &[(":authority", "a")]),
        ("a", &[(":authority", "a")]),
        ("/../a", &[(":authority", "a")]),
        ("http://a/", &[(":authority", "b")]),
    ] {
        let head = [(":method", "GET"), (":scheme", "http"), (":path", path)];
        let mut visitor = Raw::connect(tunnel.entry()).await;
        visitor.send(raw::http2(&[head.as_slice(), authority].concat())).await;
        // Either it is malformed to the library, or it is a 400.
        visitor.h2_refusal().await;
    }
    assert_eq!(upstream.saw().requests(), 0);
}

fn limited(upstream: &Upstream) -> adit_tests::tunnel::Setup {
    Tunnel::to(upstream.http()).limits(Limits { request_body_bytes_max: Some(1_000), ..Limits::default() })
}

async fn a_body_over_the_limit_is_refused_before_it_is_read(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = limited(&upstream).start(direction).await;
    for size in [1_001, 1_000_000] {
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            assert_eq!(visitor.post("/", full(noise(size))).await.failure(), (413, "too-large"), "{size}");
        }
    }
    assert_eq!(upstream.saw().requests(), 0);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n";
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(head).await;
    assert_eq!(raw::failure(&visitor.rest().await), (413, "too-large"));
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        assert_eq!(visitor.post("/", full(noise(1_000))).await.failure(), (200, ""));
    }
}

async fn a_body_of_unknown_length_is_refused_when_it_gets_over_the_limit(direction: Direction) {
    let upstream = Upstream::answering(async |request| {
        let mut body = request.into_body();
        while let Ok(Some(_)) = next_chunk(&mut body).await {}
        Response::new(full("thanks"))
    });
    let tunnel = limited(&upstream).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let fits = visitor.post("/", chunked(chunks_of(&noise(1_000), 100))).await;
        assert_eq!((fits.failure(), fits.text()), ((200, ""), "thanks"));
    }
    for size in [1_001, 100_000] {
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let answer = visitor.post("/", chunked(chunks_of(&noise(size), 100))).await;
            assert_eq!(answer.failure(), (413, "too-large"), "{size}");
        }
    }
}

async fn fields_that_have_no_place_in_trailers_stay_behind(direction: Direction) {
    let upstream = Upstream::answering(async |request| {
        let collected = http_body_util::BodyExt::collect(request.into_body()).await;
        let trailers = collected.map(|body| body.trailers().cloned().unwrap_or_default()).unwrap_or_default();
        let mut names: Vec<_> = trailers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        response(200, &[], full(names.join(" ")))
    });
    let trailers = "content-length: 3\r\ntransfer-encoding: chunked\r\nhost: b\r\nadit-error: loop\r\nadit-hop: x\r\n\
                    te: trailers\r\nconnection: close\r\ntrailer: x\r\nx-sum: 6\r\nauthorization: x\r\nset-cookie: a\r\n\
                    content-encoding: gzip\r\nexpect: 100-continue\r\ncontent-type: x\r\n";
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let announced = "Trailer: x-sum, host, content-length, transfer-encoding, adit-error, authorization, set-cookie, \
                         content-encoding, expect, content-type, te, connection, trailer, adit-hop";
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{announced}\r\nConnection: close\r\n\r\n\
             1\r\na\r\n0\r\n{trailers}\r\n{HIDDEN}"
        );
        let answer = raw::ask(tunnel.entry(), request).await;
        assert!(answer.ends_with("\r\n\r\nx-sum"), "{answer}");
    }
}
