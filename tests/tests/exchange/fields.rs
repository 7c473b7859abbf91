//! What of a head crosses, what does not, and what adit adds.

use adit_node::settings::UpstreamSettings;
use adit_tests::{
    Direction, Tunnel, Upstream,
    body::empty,
    both_directions,
    settings::{everything_to, pattern, to},
    upstream::response,
    visitor::{HOST, raw},
};
use http::HeaderValue;

both_directions! {
    fields_of_one_name_stay_apart_and_in_order,
    as_many_fields_as_are_allowed_arrive,
    as_large_a_head_as_is_allowed_arrives,
    a_head_is_as_large_over_http_2_as_over_http_1,
    bytes_beyond_ascii_arrive_as_they_are,
    nobody_can_nominate_away_what_adit_adds,
    a_request_for_the_server_itself_arrives_as_one,
    trace_goes_only_where_a_rule_lets_it,
    an_upstream_may_have_its_field_names_in_title_case,
    cookies_that_are_set_stay_apart,
    what_speaks_of_one_connection_does_not_cross,
    the_upstream_learns_where_the_request_came_from,
    a_strangers_word_on_where_it_came_from_is_replaced,
    a_trusted_proxys_word_is_continued,
    a_request_gets_an_id_unless_it_has_one,
    the_target_is_forwarded_byte_for_byte,
    the_host_is_forwarded_as_it_came,
    a_rule_can_set_the_host,
    no_via_is_added_to_what_upstreams_compress_for,
}

async fn fields_of_one_name_stay_apart_and_in_order(direction: Direction) {
    let fields = [("x-many", "1"), ("x-other", "a, b"), ("x-many", "2"), ("x-many", "1")];
    let upstream = Upstream::answering(move |_| async move { response(200, &fields, empty()) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let mut request = visitor.request("GET", "/");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let answer = visitor.ask(request.empty()).await;
        assert_eq!((answer.values("x-many"), answer.values("x-other")), (vec!["1", "2", "1"], vec!["a, b"]));
        let seen = upstream.saw().last();
        assert_eq!((seen.values("x-many"), seen.values("x-other")), (vec!["1", "2", "1"], vec!["a, b"]));
    }
}

async fn as_many_fields_as_are_allowed_arrive(direction: Direction) {
    let upstream = Upstream::answering(|_| async {
        let mut answer = response(200, &[], empty());
        for number in 0..253 {
            answer.headers_mut().append("x-many", number.into());
        }
        answer
    });
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1_wide().await, tunnel.http2().await] {
            let mut request = visitor.request("GET", "/").empty();
            for number in 0..255 {
                request.headers_mut().append("x-many", number.into());
            }
            let answer = visitor.ask(request).await;
            assert_eq!((answer.failure(), answer.values("x-many").len()), ((200, ""), 253));
            let seen = upstream.saw().last();
            let expected: Vec<_> = (0..255).map(|number| number.to_string()).collect();
            assert_eq!(seen.values("x-many"), expected);
            assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
        }
    }
}

async fn as_large_a_head_as_is_allowed_arrives(direction: Direction) {
    let large = HeaderValue::from_bytes(&[b'y'; 63 * 1024]).unwrap();
    let sent = large.clone();
    let upstream = Upstream::answering(move |_| {
        let mut answer = response(200, &[], empty());
        answer.headers_mut().insert("x-large", sent.clone());
        async { answer }
    });
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1_wide().await, tunnel.http2().await] {
            let mut request = visitor.request("GET", "/").empty();
            request.headers_mut().insert("x-large", large.clone());
            let answer = visitor.ask(request).await;
            assert_eq!(answer.failure(), (200, ""));
            assert!(answer.headers["x-large"] == large && upstream.saw().last().headers["x-large"] == large);
        }
    }
}

async fn a_head_is_as_large_over_http_2_as_over_http_1(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let mut request = visitor.request("GET", "/").empty();
        // Together 63 KiB of names and values in 250 fields, which HTTP/2 counts as 71.
        for _ in 0..250 {
            request.headers_mut().append("x-many", HeaderValue::from_bytes(&[b'y'; 252]).unwrap());
        }
        assert_eq!(visitor.ask(request).await.failure(), (200, ""));
    }
}

async fn bytes_beyond_ascii_arrive_as_they_are(direction: Direction) {
    let value = HeaderValue::from_bytes(b"caf\xe9 \xf0\x9f\x98\x80\t\xff\x80").unwrap();
    let sent = value.clone();
    let upstream = Upstream::answering(move |_| {
        let mut answer = response(200, &[], empty());
        answer.headers_mut().insert("x-beyond", sent.clone());
        async { answer }
    });
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let mut request = visitor.request("GET", "/").empty();
            request.headers_mut().insert("x-beyond", value.clone());
            assert_eq!(visitor.ask(request).await.headers["x-beyond"], value);
            assert_eq!(upstream.saw().last().headers["x-beyond"], value);
        }
    }
}

async fn nobody_can_nominate_away_what_adit_adds(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let nominated = "x-forwarded-for, x-forwarded-host, x-forwarded-proto, forwarded, x-request-id, traceparent, adit-hop, host, \
                     content-length, transfer-encoding, close";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nX-Forwarded-For: 1.1.1.1\r\nConnection: {nominated}\r\n\r\nbody"
    );
    let answer = raw::ask(tunnel.entry(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("body"), "{answer}");
    let seen = upstream.saw().last();
    assert_eq!((seen.values("x-forwarded-for"), seen.values("host")), (vec!["127.0.0.1"], vec![HOST]));
    for name in [
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "x-request-id",
        "traceparent",
        "adit-hop",
        "content-length",
    ] {
        assert_eq!(seen.values(name).len(), 1, "{name}");
    }
}

async fn a_request_for_the_server_itself_arrives_as_one(direction: Direction) {
    let upstream = Upstream::echo();
    for (url, target) in [(upstream.http(), "*"), (upstream.h2c(), "*")] {
        let tunnel = Tunnel::to(url).start(direction).await;
        let answer = raw::ask(tunnel.entry(), "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let seen = upstream.saw().last();
        assert_eq!((seen.method.as_str(), seen.uri.path()), ("OPTIONS", target));
    }
    assert_eq!(upstream.saw().requests(), 2);
}

async fn trace_goes_only_where_a_rule_lets_it(direction: Direction) {
    let upstream = Upstream::echo();
    for allowed in [false, true] {
        let mut egress = everything_to(upstream.http());
        egress.rules[0].options.trace = allowed;
        let tunnel = Tunnel::with(egress).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let answer = visitor.ask(visitor.request("TRACE", "/").empty()).await;
            assert_eq!(answer.failure(), if allowed { (200, "") } else { (404, "no-route") });
        }
    }
    assert_eq!(upstream.saw().requests(), 2);
}

async fn an_upstream_may_have_its_field_names_in_title_case(direction: Direction) {
    let (upstream, mut connections) = Upstream::raw_by_hand();
    for (title_case_headers, expected) in
        [(false, "\r\nx-own-field: Of Mine\r\n"), (true, "\r\nX-Own-Field: Of Mine\r\n")]
    {
        let servers = UpstreamSettings { title_case_headers, ..UpstreamSettings::new(vec![upstream.http()]) };
        let tunnel = Tunnel::with(to(pattern(None, None), servers)).start(direction).await;
        let mut visitor = tunnel.http1().await;
        let pending = visitor.start(visitor.request("GET", "/").header("x-own-field", "Of Mine").empty()).await;
        let mut server = connections.next().await;
        let head = server.until("\r\n\r\n").await;
        assert!(head.contains(expected), "{head}");
        server.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(pending.whole().await.status, 204);
    }
}

async fn cookies_that_are_set_stay_apart(direction: Direction) {
    let cookies = [("set-cookie", "a=1; expires=Wed, 21 Oct 2015 07:28:00 GMT"), ("set-cookie", "b=2")];
    let upstream = Upstream::answering(move |_| async move { response(200, &cookies, empty()) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = tunnel.http1().await.get("/").await;
    assert_eq!(answer.values("set-cookie"), cookies.map(|(_, value)| value));
}

async fn what_speaks_of_one_connection_does_not_cross(direction: Direction) {
    let upstream = Upstream::answering(|_| async {
        let fields =
            [("connection", "x-back"), ("x-back", "1"), ("keep-alive", "timeout=5"), ("proxy-connection", "x")];
        response(200, &fields, empty())
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = visitor.request("GET", "/").header("connection", "keep-alive, x-hop").header("x-hop", "1");
    let request = request.header("keep-alive", "timeout=5").header("te", "gzip").header("upgrade", "h2c");
    let answer = visitor.ask(request.header("proxy-connection", "keep-alive").header("x-stays", "1").empty()).await;
    let seen = upstream.saw().last();
    for name in ["connection", "x-hop", "keep-alive", "te", "upgrade", "proxy-connection"] {
        assert!(!seen.headers.contains_key(name), "the upstream got {name}");
    }
    assert_eq!(seen.values("x-stays"), ["1"]);
    for name in ["connection", "x-back", "keep-alive", "proxy-connection"] {
        assert!(!answer.headers.contains_key(name), "the visitor got {name}");
    }
}

async fn the_upstream_learns_where_the_request_came_from(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    tunnel.http1().await.get("/").await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), [HOST]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("forwarded"), [format!("for=127.0.0.1;host=\"{HOST}\";proto=http")]);
}

const CLAIMS: [(&str, &str); 5] = [
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-for", "192.0.2.2"),
    ("x-forwarded-host", "front.test"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=192.0.2.1"),
];

async fn a_strangers_word_on_where_it_came_from_is_replaced(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = CLAIMS.iter().fold(visitor.request("GET", "/"), |request, (name, value)| request.header(name, value));
    visitor.ask(request.empty()).await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), [HOST]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("forwarded"), [format!("for=127.0.0.1;host=\"{HOST}\";proto=http")]);
}

async fn a_trusted_proxys_word_is_continued(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).trusting("127.0.0.0/8").start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = CLAIMS.iter().fold(visitor.request("GET", "/"), |request, (name, value)| request.header(name, value));
    visitor.ask(request.empty()).await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("x-forwarded-for"), ["192.0.2.1, 192.0.2.2, 127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), ["front.test"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.values("forwarded"), [format!("for=192.0.2.1, for=127.0.0.1;host=\"{HOST}\";proto=http")]);
}

async fn a_request_gets_an_id_unless_it_has_one(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let mut ids = Vec::new();
    for given in [None, None, Some("mine-1"), Some("not sane")] {
        let request = visitor.request("GET", "/");
        let request = given.into_iter().fold(request, |request, id| request.header("x-request-id", id));
        visitor.ask(request.empty()).await;
        ids.extend(upstream.saw().last().values("x-request-id").iter().map(|id| (*id).to_owned()));
    }
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert_eq!(ids[2], "mine-1");
    assert!(ids[0] != ids[1] && ids[0].len() == 36, "{ids:?}");
    assert!(ids[3] != "not sane" && ids[3].len() == 36, "{ids:?}");
}

async fn the_target_is_forwarded_byte_for_byte(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        for target in ["/a%7Eb?x=%20", "/%2F//b;c=1/%zz", "/?", "/a?b=/../?&&c", "/%C3%A4", "/a/...b/"] {
            visitor.get(target).await;
            assert_eq!(upstream.saw().last().uri.to_string(), target);
        }
    }
}

async fn the_host_is_forwarded_as_it_came(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for host in ["App.Test:8080", "app.test.", "[::1]:80", "127.0.0.1"] {
        raw::ask(tunnel.entry(), format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(upstream.saw().last().values("host"), [host]);
    }
}

async fn a_rule_can_set_the_host(direction: Direction) {
    let upstream = Upstream::echo();
    let mut egress = everything_to(upstream.http());
    egress.rules[0].options.set_host = Some("inner.test".to_owned());
    let tunnel = Tunnel::with(egress).start(direction).await;
    tunnel.http1().await.get("/").await;
    let seen = upstream.saw().last();
    assert_eq!((seen.values("host"), seen.values("x-forwarded-host")), (vec!["inner.test"], vec![HOST]));
}

async fn no_via_is_added_to_what_upstreams_compress_for(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = visitor.request("GET", "/").header("accept-encoding", "gzip, br");
    let answer = visitor.ask(request.empty()).await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("accept-encoding"), ["gzip, br"]);
    assert!(!seen.headers.contains_key("via") && !answer.headers.contains_key("via"));
}
