//! Heads cross as they came, without what speaks of one connection, and with what adit adds.

use adit_tests::{
    Cell, Http, Tunnel, Upstream,
    body::empty,
    conformance,
    settings::everything_to,
    upstream::{Head, response},
    visitor::{
        HOST,
        raw::{self, Raw},
    },
};
use http::HeaderValue;

conformance! { "Heads":
    every_method_arrives_as_it_was_sent,
    the_target_arrives_byte_for_byte,
    fields_of_one_name_stay_apart_and_in_order,
    cookies_that_are_set_stay_apart,
    cookies_arrive_as_their_version_has_them [h2 to any],
    bytes_beyond_ascii_in_a_value_arrive,
    a_head_of_many_large_fields_arrives,
    what_speaks_of_one_connection_stays_behind [h1 to any],
    nobody_nominates_away_what_adit_adds [h1 to any],
    the_host_arrives_as_it_came,
    a_rule_can_set_the_host,
    hosts_that_disagree_are_refused,
    options_of_everything_arrives_as_it_is [h1 to any],
    framing_with_two_readings_is_refused_and_the_connection_closed [h1 to any],
    a_length_beside_chunked_becomes_one_request_and_a_close [h1 to any],
}

fn authority(seen: &Head) -> String {
    seen.uri.authority().map_or_else(|| seen.values("host").concat(), |authority| authority.to_string())
}

async fn every_method_arrives_as_it_was_sent(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "PURGE", "x-own"] {
        assert_eq!(visitor.ask(visitor.request(method, "/").empty()).await.status.as_u16(), 200, "{method}");
        assert_eq!(upstream.saw().last().method, method);
    }
}

async fn the_target_arrives_byte_for_byte(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    for target in ["/a%7Eb?x=%20", "/%2F//b;c=1/%zz", "/?", "/a?b=/../?&&c", "/%C3%A4", "/a/...b/"] {
        visitor.get(target).await;
        assert_eq!(upstream.saw().last().uri.path_and_query().map(|target| target.as_str()), Some(target));
    }
}

async fn fields_of_one_name_stay_apart_and_in_order(cell: Cell) {
    let fields = [("x-many", "1"), ("x-other", "a, b"), ("x-many", "2"), ("x-many", ""), ("x-many", "1")];
    let upstream = Upstream::answering(move |_| async move { response(200, &fields, empty()) });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let request = fields.iter().fold(visitor.request("GET", "/"), |request, (name, value)| request.header(name, value));
    let answer = visitor.ask(request.empty()).await;
    let seen = upstream.saw().last();
    for (many, other) in
        [(answer.values("x-many"), answer.values("x-other")), (seen.values("x-many"), seen.values("x-other"))]
    {
        assert_eq!((many, other), (vec!["1", "2", "", "1"], vec!["a, b"]));
    }
}

async fn cookies_that_are_set_stay_apart(cell: Cell) {
    let cookies = [("set-cookie", "a=1; expires=Wed, 21 Oct 2015 07:28:00 GMT"), ("set-cookie", "b=2")];
    let upstream = Upstream::answering(move |_| async move { response(200, &cookies, empty()) });
    let tunnel = cell.tunnel(&upstream).await;
    let answer = cell.visitor(&tunnel).await.get("/").await;
    assert_eq!(answer.values("set-cookie"), cookies.map(|(_, value)| value));
}

async fn cookies_arrive_as_their_version_has_them(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let request = visitor.request("GET", "/").header("cookie", "a=1").header("cookie", "b=2");
    visitor.ask(request.empty()).await;
    let expected: &[&str] = match cell.upstream {
        // RFC 9113 §8.2.3
        Http::Http1 => &["a=1; b=2"],
        Http::Http2 => &["a=1", "b=2"],
    };
    assert_eq!(upstream.saw().last().values("cookie"), expected);
}

async fn bytes_beyond_ascii_in_a_value_arrive(cell: Cell) {
    const BYTES: &[u8] = b"caf\xc3\xa9 \xff\x80\ttab";
    let upstream = Upstream::answering(async |request: http::Request<hyper::body::Incoming>| {
        let mut back = response(200, &[], empty());
        back.headers_mut().insert("x-back", request.headers()["x-bytes"].clone());
        back
    });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let mut request = visitor.request("GET", "/").empty();
    request.headers_mut().insert("x-bytes", HeaderValue::from_bytes(BYTES).unwrap());
    let answer = visitor.ask(request).await;
    assert_eq!(answer.headers["x-back"].as_bytes(), BYTES);
    assert_eq!(upstream.saw().last().headers["x-bytes"].as_bytes(), BYTES);
}

async fn a_head_of_many_large_fields_arrives(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    // What hyper's own defaults at the test's ends let through.
    let (names, value): (Vec<_>, _) = ((0..80).map(|number| format!("x-field-{number}")).collect(), "v".repeat(150));
    let request = names.iter().fold(visitor.request("GET", "/"), |request, name| request.header(name, &value));
    assert_eq!(visitor.ask(request.empty()).await.status.as_u16(), 200);
    let seen = upstream.saw().last();
    assert!(names.iter().all(|name| seen.values(name) == [value.as_str()]));
}

async fn what_speaks_of_one_connection_stays_behind(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let request = visitor.request("GET", "/").header("connection", "keep-alive, x-hop").header("x-hop", "1");
    let request = request.header("keep-alive", "timeout=5").header("te", "gzip").header("upgrade", "h2c");
    visitor.ask(request.header("proxy-connection", "keep-alive").header("x-stays", "1").empty()).await;
    let seen = upstream.saw().last();
    for name in ["connection", "x-hop", "keep-alive", "te", "upgrade", "proxy-connection"] {
        assert_eq!(seen.values(name), [""; 0], "{name}");
    }
    assert_eq!(seen.values("x-stays"), ["1"]);
}

async fn nobody_nominates_away_what_adit_adds(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let nominated = "x-forwarded-for, forwarded, adit-hop, x-request-id, host, traceparent";
    visitor.ask(visitor.request("GET", "/").header("connection", nominated).empty()).await;
    let seen = upstream.saw().last();
    assert_eq!((authority(&seen).as_str(), seen.values("x-forwarded-for")), (HOST, vec!["127.0.0.1"]));
    for name in ["forwarded", "adit-hop", "x-request-id", "traceparent"] {
        assert_eq!(seen.values(name).len(), 1, "{name}");
    }
}

async fn the_host_arrives_as_it_came(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    for host in ["App.Test:8080", "app.test.", "[::1]:80", "127.0.0.1"] {
        let mut visitor = cell.visitor(&tunnel).await;
        let request = match cell.visitor {
            Http::Http1 => http::Request::get("/").header("host", host),
            Http::Http2 => http::Request::get(format!("http://{host}/")),
        };
        visitor.ask(request.body(empty()).unwrap()).await;
        assert_eq!(authority(&upstream.saw().last()), host);
    }
}

async fn a_rule_can_set_the_host(cell: Cell) {
    let upstream = Upstream::echo();
    let mut egress = everything_to(cell.url(&upstream));
    egress.rules[0].options.set_host = Some("inner.test".to_owned());
    let tunnel = Tunnel::with(egress).start(cell.direction).await;
    cell.visitor(&tunnel).await.get("/").await;
    let seen = upstream.saw().last();
    assert_eq!((authority(&seen).as_str(), seen.values("x-forwarded-host")), ("inner.test", vec![HOST]));
}

async fn hosts_that_disagree_are_refused(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    match cell.visitor {
        Http::Http1 => {
            for head in [
                "GET http://a.test/ HTTP/1.1\r\nHost: b.test",
                "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test",
                "GET / HTTP/1.1",
            ] {
                let answer = raw::ask(tunnel.entry(), format!("{head}\r\nConnection: close\r\n\r\n")).await;
                assert_eq!(raw::failure(&answer), (400, "bad-request"), "{head}");
            }
        }
        Http::Http2 => {
            let mut visitor = cell.visitor(&tunnel).await;
            let answer = visitor.ask(visitor.request("GET", "/").header("host", "b.test").empty()).await;
            assert_eq!(answer.failure(), (400, "bad-request"));
        }
    }
    assert_eq!(upstream.saw().requests(), 0);
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";

async fn framing_with_two_readings_is_refused_and_the_connection_closed(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    for framing in [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: +3",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n{HIDDEN}");
        let answer = raw::ask(tunnel.entry(), request).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1").count() == 1, "{framing}: {answer}");
    }
    assert_eq!(upstream.saw().requests(), 0);
}

async fn a_length_beside_chunked_becomes_one_request_and_a_close(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw::ask(tunnel.entry(), format!("{head}5\r\nhello\r\n0\r\n\r\n{HIDDEN}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    let seen = upstream.saw().last();
    assert_eq!((upstream.saw().requests(), seen.uri.path(), seen.values("content-length")), (1, "/", vec![]));
}

async fn options_of_everything_arrives_as_it_is(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert_eq!(upstream.saw().last().uri.path(), "*");
}
