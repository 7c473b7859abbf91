//! Passwords and tokens.

use adit_core::gate::Credentials;
use adit_tests::{
    Http, Visitor,
    body::full,
    visitor::{
        raw::{self, Raw},
        websocket,
    },
};

use crate::guarded::{ALICE, Guarded, credentials, identified, settings};

const DENIED: (u16, &str) = (401, "unauthorized");

#[tokio::test]
async fn a_right_password_or_token_opens_and_nothing_else_does() {
    let guarded = Guarded::by(identified(credentials())).await;
    for (authorization, expected) in [
        (Some(ALICE), (200, "")),
        (Some("Bearer t0ken"), (200, "")),
        (Some("basic YWxpY2U6cGFzc3dvcmQ="), (200, "")),
        (None, DENIED),
        (Some("Basic YWxpY2U6UGFzc3dvcmQ="), DENIED),
        (Some("Basic Ym9iOnBhc3N3b3Jk"), DENIED),
        (Some("Bearer T0ken"), DENIED),
        (Some("Bearer YWxpY2U6cGFzc3dvcmQ="), DENIED),
        (Some("Negotiate t0ken"), DENIED),
    ] {
        let fields: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let before = guarded.upstream.saw().requests();
        let answer = guarded.get("/", &fields).await;
        assert_eq!(answer.failure(), expected, "{authorization:?}");
        let challenges = answer.values("www-authenticate");
        assert_eq!(challenges.len(), usize::from(expected == DENIED), "{challenges:?}");
        assert!(challenges.iter().all(|it| it.contains("Basic realm=") && it.contains("Bearer realm=")));
        assert_eq!(guarded.upstream.saw().requests() - before, usize::from(expected.0 == 200), "{authorization:?}");
    }
}

#[tokio::test]
async fn every_kind_of_request_is_asked() {
    let guarded = Guarded::by(identified(credentials())).await;
    let entry = guarded.server.entry();
    for mut visitor in [Visitor::http1(entry).await, Visitor::http2(entry).await] {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "CONNECTED", "TRACE"] {
            let request = visitor.request(method, "/").empty();
            assert_eq!(visitor.ask(request).await.failure(), DENIED, "{method}");
        }
        let upload = visitor.request("PUT", "/").body(full("body"));
        assert_eq!(visitor.ask(upload).await.failure(), DENIED);
    }
    for version in [Http::Http1, Http::Http2] {
        let asked = websocket::ask(entry, version, "/", &[]).await;
        assert_eq!(asked.response.status(), 401, "{version:?}");
    }
    let mut visitor = Raw::connect(entry).await;
    visitor.send("CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\n\r\n").await;
    assert_eq!(raw::failure(&visitor.until("\r\n\r\n").await), DENIED);
    assert_eq!(guarded.upstream.saw().requests(), 0);
}

#[tokio::test]
async fn a_body_is_not_asked_for_before_its_visitor_is_let_in() {
    let guarded = Guarded::by(identified(credentials())).await;
    let mut visitor = Raw::connect(guarded.server.entry()).await;
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    let answer = visitor.rest().await;
    assert_eq!(raw::failure(&answer), DENIED, "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
    assert_eq!(guarded.upstream.saw().requests(), 0);
}

#[tokio::test]
async fn several_credentials_are_refused() {
    let guarded = Guarded::by(identified(credentials())).await;
    let fields = [("authorization", ALICE), ("authorization", "Bearer other")];
    assert_eq!(guarded.get("/", &fields).await.failure(), (400, "bad-request"));
    // Taken away as one connection's own, they are not there.
    let nominated = [("authorization", ALICE), ("connection", "authorization")];
    assert_eq!(guarded.get("/", &nominated).await.failure(), DENIED);
    assert_eq!(guarded.upstream.saw().requests(), 0);
}

#[tokio::test]
async fn what_the_gate_took_is_not_shown_to_the_upstream_unless_it_is_to_be() {
    for pass_authorization in [false, true] {
        let guarded = Guarded::by(identified(Credentials { pass_authorization, ..credentials() })).await;
        guarded.get("/", &[("authorization", ALICE)]).await;
        let seen = guarded.upstream.saw().last();
        let expected = if pass_authorization { vec![ALICE] } else { vec![] };
        assert_eq!(seen.values("authorization"), expected);
    }
}

#[tokio::test]
async fn a_rule_without_a_gate_takes_no_credentials_away() {
    let guarded = Guarded::at("/admin", identified(credentials()), &[]).await;
    assert_eq!(guarded.get("/", &[("authorization", ALICE)]).await.failure(), (200, ""));
    assert_eq!(guarded.upstream.saw().last().values("authorization"), [ALICE]);
}

#[tokio::test]
async fn a_preflight_needs_credentials_unless_the_rule_lets_it_in() {
    for (allow_preflight, expected) in [(false, DENIED), (true, (200, ""))] {
        let guarded = Guarded::by(identified(Credentials { allow_preflight, ..credentials() })).await;
        let mut visitor = Visitor::http2(guarded.server.entry()).await;
        let preflight = |method| visitor.request(method, "/").header("origin", "https://a.example");
        let asked = preflight("OPTIONS").header("access-control-request-method", "PUT").empty();
        let (plain, other) = (preflight("OPTIONS").empty(), preflight("GET"));
        let other = other.header("access-control-request-method", "PUT").empty();
        assert_eq!(visitor.ask(asked).await.failure(), expected);
        assert_eq!(visitor.ask(plain).await.failure(), DENIED);
        assert_eq!(visitor.ask(other).await.failure(), DENIED);
    }
}

#[tokio::test]
async fn a_path_that_may_be_read_as_a_guarded_one_is_refused() {
    let guarded = Guarded::at("/admin", identified(credentials()), &[]).await;
    assert_eq!(guarded.get("/admin/users", &[]).await.failure(), DENIED);
    assert_eq!(guarded.get("/%61dmin", &[]).await.failure(), DENIED);
    for path in ["//admin", "/admin;x", "/ADMIN", "/x/..%2Fadmin", "/admin%2Fusers", "/%2561dmin"] {
        assert_eq!(guarded.get(path, &[]).await.failure(), (400, "bad-request"), "{path}");
        assert_eq!(guarded.get(path, &[("authorization", ALICE)]).await.failure(), (400, "bad-request"), "{path}");
    }
    assert_eq!(guarded.upstream.saw().requests(), 0);
    assert_eq!(guarded.get("//other", &[]).await.failure(), (200, ""));
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_who_knows_has_not() {
    let guarded = Guarded::by(identified(credentials())).await;
    let mut statuses = Vec::new();
    assert_eq!(guarded.get("/", &[("authorization", ALICE)]).await.failure(), (200, ""));
    for _ in 0..14 {
        let answer = guarded.get("/", &[("authorization", "Basic YWxpY2U6d3Jvbmc=")]).await;
        if answer.status == 429 {
            let wait: u64 = answer.values("retry-after")[0].parse().unwrap();
            assert!((1..=3).contains(&wait), "{wait}");
        }
        statuses.push(answer.failure().1.to_owned());
    }
    assert!(statuses[..9].iter().all(|code| code == "unauthorized"), "{statuses:?}");
    assert!(statuses.iter().any(|code| code == "rate-limited"), "{statuses:?}");
    let guess = guarded.get("/", &[("authorization", "Bearer guess")]).await;
    assert_eq!(guess.failure(), (429, "rate-limited"));
    assert_eq!(guarded.get("/", &[("authorization", ALICE)]).await.failure(), (200, ""));
}

#[tokio::test]
async fn a_browser_that_asks_for_many_things_at_once_is_let_in() {
    let guarded = Guarded::by(identified(credentials())).await;
    let mut visitor = Visitor::http2(guarded.server.entry()).await;
    let mut pending = Vec::new();
    for _ in 0..40 {
        let request = visitor.request("GET", "/").header("authorization", ALICE).empty();
        pending.push(visitor.start(request).await);
    }
    for pending in pending {
        assert_eq!(pending.whole().await.failure(), (200, ""));
    }
}

#[tokio::test]
async fn a_gate_that_is_put_up_is_there_for_the_next_request() {
    let guarded = Guarded::by(Default::default()).await;
    let mut visitor = Visitor::http1(guarded.server.entry()).await;
    assert_eq!(visitor.get("/").await.failure(), (200, ""));
    guarded.server.reload(settings(&guarded.trust, "/", identified(credentials()), &[]));
    assert_eq!(visitor.get("/").await.failure(), DENIED);
}
