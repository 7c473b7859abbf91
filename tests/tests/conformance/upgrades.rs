//! Switches of protocol: WebSocket between all versions, CONNECT, and what is never switched to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adit_core::balance::policy::Policy;
use adit_node::settings::UpstreamSettings;
use adit_tests::{
    Cell, Direction, Http, Tunnel, Upstream,
    body::{empty, full, noise},
    conformance, eventually,
    message::whole,
    settings::{everything_to, pattern, to},
    upstream::{self, Connection, response},
    visitor::{
        raw::{self, Raw},
        websocket::{self, WebSocket},
    },
    within,
};
use http::{Method, Version};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::TcpStream,
    sync::mpsc,
};

conformance! { "Upgrades":
    a_websocket_is_switched_to_as_each_version_words_it,
    bytes_go_both_ways_after_a_switch,
    one_way_may_end_before_the_other,
    a_visitor_that_hangs_up_hangs_up_on_the_upstream,
    an_upstream_that_hangs_up_hangs_up_on_the_visitor,
    a_switched_connection_that_is_not_read_stops_its_writer,
    a_switched_connection_on_which_nothing_moves_is_cut,
    a_switched_connection_counts_as_in_flight,
    an_upstream_may_decline_a_websocket,
    an_upstream_that_declines_with_success_has_not_switched [h1 to h1] [h2 to h1],
    bytes_after_a_declined_upgrade_are_the_next_request [h1 to any],
    bytes_before_the_switch_do_not_reach_the_upstream [h1 to any],
    an_upstream_that_does_not_take_extended_connect_is_named [any to h2],
    an_upgrade_to_h2c_is_a_plain_request [h1 to any],
    an_upgrade_that_a_rule_names_is_switched_to [h1 to h1],
    an_upgrade_that_no_rule_names_is_a_plain_request [h1 to any],
    an_upstream_that_switches_to_something_else_is_at_fault [h1 to h1],
    connect_goes_where_a_rule_lets_it,
    connect_is_refused_where_no_rule_lets_it,
    a_connect_that_breaks_does_not_look_complete,
    an_unknown_protocol_of_extended_connect_is_refused [h2 to any],
}

/// Says everything again until it has heard it all, and then says goodbye.
async fn parrot(connection: Connection) {
    let (mut read, mut write) = split(connection);
    // What breaks, the visitor sees.
    let _ = copy(&mut read, &mut write).await;
    let _ = write.write_all(b"goodbye").await;
    let _ = write.shutdown().await;
}

async fn switched(cell: Cell, tunnel: &Tunnel) -> WebSocket {
    websocket::ask(tunnel.entry(), cell.visitor, "/chat", &[]).await.switched(cell.visitor).await
}

async fn a_websocket_is_switched_to_as_each_version_words_it(cell: Cell) {
    let upstream = Upstream::switching(upstream::echo, parrot);
    let tunnel = cell.tunnel(&upstream).await;
    let fields = [("sec-websocket-protocol", "chat, superchat"), ("origin", "http://app.test")];
    let asked = websocket::ask(tunnel.entry(), cell.visitor, "/chat?room=1", &fields).await;
    asked.switched(cell.visitor).await;
    let seen = upstream.saw().last();
    assert_eq!(seen.uri.path_and_query().map(|target| target.as_str()), Some("/chat?room=1"));
    for (name, value) in [("sec-websocket-protocol", "chat, superchat"), ("sec-websocket-version", "13")] {
        assert_eq!(seen.values(name), [value]);
    }
    match cell.upstream {
        Http::Http1 => {
            assert_eq!((&seen.method, seen.version), (&Method::GET, Version::HTTP_11));
            assert_eq!(seen.values("sec-websocket-key").len(), 1);
            assert_eq!((seen.values("upgrade"), seen.values("connection")), (vec!["websocket"], vec!["upgrade"]));
        }
        Http::Http2 => {
            assert_eq!((&seen.method, seen.version), (&Method::CONNECT, Version::HTTP_2));
            for name in ["sec-websocket-key", "upgrade", "connection"] {
                assert_eq!(seen.values(name), [""; 0], "{name}");
            }
        }
    }
}

async fn bytes_go_both_ways_after_a_switch(cell: Cell) {
    let upstream = Upstream::switching(upstream::echo, parrot);
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = switched(cell, &tunnel).await;
    for number in 0..100 {
        let message = format!("message {number}\0");
        visitor.send(&message).await;
        visitor.expect(message).await;
    }
}

async fn one_way_may_end_before_the_other(cell: Cell) {
    let upstream = Upstream::switching(upstream::echo, parrot);
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = switched(cell, &tunnel).await;
    visitor.send("last words ").await;
    visitor.end().await;
    assert_eq!(visitor.rest().await, b"last words goodbye");
}

/// Makes an upstream that tells when what comes over a switched connection has ended.
fn listener() -> (Upstream, mpsc::UnboundedReceiver<()>) {
    let (ended, heard) = mpsc::unbounded_channel();
    let upstream = Upstream::switching(upstream::echo, move |mut connection: Connection| {
        let ended = ended.clone();
        async move {
            let _ = connection.read_to_end(&mut Vec::new()).await;
            let _ = ended.send(());
        }
    });
    (upstream, heard)
}

async fn a_visitor_that_hangs_up_hangs_up_on_the_upstream(cell: Cell) {
    let (upstream, mut heard) = listener();
    let tunnel = cell.tunnel(&upstream).await;
    drop(switched(cell, &tunnel).await);
    within("the upstream to hear the end", heard.recv()).await;
}

async fn an_upstream_that_hangs_up_hangs_up_on_the_visitor(cell: Cell) {
    let upstream = Upstream::switching(upstream::echo, async |mut connection: Connection| {
        let _ = connection.write_all(b"and that is that").await;
        let _ = connection.flush().await;
    });
    let tunnel = cell.tunnel(&upstream).await;
    assert_eq!(switched(cell, &tunnel).await.rest().await, b"and that is that");
}

async fn a_switched_connection_that_is_not_read_stops_its_writer(cell: Cell) {
    // More than all windows on the way together.
    const FLOOD_BYTES: usize = 256 * 1024 * 1024;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let upstream = Upstream::switching(upstream::echo, move |mut connection: Connection| {
        let written = Arc::clone(&counter);
        async move {
            let chunk = noise(64 * 1024);
            while written.load(Ordering::Relaxed) < FLOOD_BYTES {
                if connection.write_all(&chunk).await.is_err() {
                    break;
                }
                written.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        }
    });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = switched(cell, &tunnel).await;
    let written = move || written.load(Ordering::Relaxed);
    // Stopped is what has not moved while other exchanges on the same link came and went.
    let mut bystander = cell.visitor(&tunnel).await;
    let mut still = 0;
    let mut last = written();
    while still < 20 {
        assert_eq!(bystander.post("/", full("a body")).await.text(), "a body");
        still = if written() == last { still + 1 } else { 0 };
        last = written();
        assert!(last < FLOOD_BYTES, "nothing stopped it");
    }
    assert!(last > 0);
    let chunk = noise(64 * 1024);
    visitor.expect(&chunk).await;
    for _ in 1..last / chunk.len() + 16 {
        visitor.expect(&chunk).await;
    }
    eventually("the writer to go on", || written() > last).await;
}

async fn a_switched_connection_on_which_nothing_moves_is_cut(cell: Cell) {
    let (upstream, mut heard) = listener();
    let setup = Tunnel::to(cell.url(&upstream)).timeouts(|timeouts| timeouts.switched_idle = Duration::from_millis(10));
    let tunnel = setup.start(cell.direction).await;
    let visitor = switched(cell, &tunnel).await;
    visitor.broken_off().await;
    within("the upstream to hear the end", heard.recv()).await;
}

async fn a_switched_connection_counts_as_in_flight(cell: Cell) {
    let upstreams = [(); 2].map(|()| Upstream::switching(upstream::echo, parrot));
    let mut settings = UpstreamSettings::new(upstreams.iter().map(|upstream| cell.url(upstream)).collect());
    settings.policy = Policy::LeastRequests;
    let tunnel = Tunnel::with(to(pattern(None, None), settings)).start(cell.direction).await;
    let busy = switched(cell, &tunnel).await;
    let served = || upstreams.each_ref().map(|upstream| upstream.saw().requests());
    let other = if served() == [1, 0] { 1 } else { 0 };
    let mut visitor = cell.visitor(&tunnel).await;
    for number in 1..=10 {
        visitor.get("/").await;
        assert_eq!(served()[other], number);
    }
    drop(busy);
    within("the first one to be as good as the other", async {
        while served()[1 - other] == 1 {
            visitor.get("/").await;
        }
    })
    .await;
}

async fn an_upstream_may_decline_a_websocket(cell: Cell) {
    let upstream = Upstream::answering(|_| async { response(426, &[("x-why", "no")], full("not here")) });
    let tunnel = cell.tunnel(&upstream).await;
    let asked = websocket::ask(tunnel.entry(), cell.visitor, "/chat", &[]).await;
    let declined = whole(asked.response).await;
    assert_eq!((declined.failure(), declined.text()), ((426, ""), "not here"));
    assert_eq!(declined.values("x-why"), ["no"]);
}

async fn an_upstream_that_declines_with_success_has_not_switched(cell: Cell) {
    let upstream = Upstream::answering(|_| async { response(200, &[], full("a page")) });
    let tunnel = cell.tunnel(&upstream).await;
    let asked = websocket::ask(tunnel.entry(), cell.visitor, "/chat", &[]).await;
    let answer = whole(asked.response).await;
    match cell.visitor {
        Http::Http1 => assert_eq!((answer.failure(), answer.text()), ((200, ""), "a page")),
        // There it would mean that it has agreed.
        Http::Http2 => assert_eq!(answer.failure(), (502, "upstream-protocol")),
    }
}

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

async fn bytes_after_a_declined_upgrade_are_the_next_request(cell: Cell) {
    let upstream = Upstream::answering(|_| async { response(403, &[], empty()) });
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(format!("{ASK}GET /next HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")).await;
    let answers = visitor.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 403").count(), 2, "{answers}");
    let seen = upstream.saw().last();
    assert_eq!((upstream.saw().requests(), seen.uri.path()), (2, "/next"));
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
}

async fn bytes_before_the_switch_do_not_reach_the_upstream(cell: Cell) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(format!("{ASK}too early")).await;
    let call = calls.next().await;
    call.answer_with(response(403, &[], empty()));
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 403"));
    // What is no request is refused, and by nobody but the entry.
    visitor.send("\r\n\r\n").await;
    assert!(visitor.rest().await.starts_with("HTTP/1.1 400"));
    assert_eq!((upstream.saw().requests(), calls.is_empty()), (1, true));
}

async fn an_upstream_that_does_not_take_extended_connect_is_named(cell: Cell) {
    let upstream = Upstream::raw(async |tcp: TcpStream| {
        let served = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new()).serve_connection(
            hyper_util::rt::TokioIo::new(tcp),
            hyper::service::service_fn(async |_| Ok::<_, std::convert::Infallible>(response(200, &[], full("plain")))),
        );
        let _ = served.await;
    });
    let tunnel = cell.tunnel(&upstream).await;
    let asked = websocket::ask(tunnel.entry(), cell.visitor, "/chat", &[]).await;
    let answer = whole(asked.response).await;
    assert_eq!(answer.failure(), (502, "upstream-unswitchable"));
    // It is asked other things over the same connection.
    assert_eq!(cell.visitor(&tunnel).await.get("/").await.text(), "plain");
    assert_eq!(upstream.saw().connections(), 1);
}

async fn an_upgrade_to_h2c_is_a_plain_request(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(ASK.replace("websocket\r\n", "h2c\r\nHTTP2-Settings: AAA\r\n")).await;
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    for name in ["upgrade", "http2-settings", "connection"] {
        assert_eq!(upstream.saw().last().values(name), [""; 0], "{name}");
    }
}

const ATTACH: &str = "POST /attach HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// Starts a tunnel to an upstream that switches to `token`, and lets through what asks for `tcp`.
async fn attaching(cell: Cell, token: &'static str) -> (Upstream, Tunnel) {
    let upstream = Upstream::raw(move |mut tcp: TcpStream| async move {
        upstream::read_head(&mut tcp).await;
        let agreed = format!("HTTP/1.1 101 UPGRADED\r\nconnection: upgrade\r\nupgrade: {token}\r\n\r\n");
        let _ = tcp.write_all(agreed.as_bytes()).await;
        let (mut read, mut write) = tcp.split();
        let _ = copy(&mut read, &mut write).await;
    });
    let mut egress = everything_to(cell.url(&upstream));
    egress.rules[0].options.upgrades = vec!["TCP".to_owned()];
    let tunnel = Tunnel::with(egress).start(cell.direction).await;
    (upstream, tunnel)
}

async fn an_upgrade_that_a_rule_names_is_switched_to(cell: Cell) {
    let (_upstream, tunnel) = attaching(cell, "tcp").await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(ATTACH).await;
    let answer = visitor.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("\r\nupgrade: tcp\r\n"), "{answer}");
    visitor.send("not HTTP\0").await;
    assert_eq!(visitor.until("\0").await, "not HTTP\0");
}

async fn an_upgrade_that_no_rule_names_is_a_plain_request(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(ATTACH).await;
    assert!(visitor.until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    let seen = upstream.saw().last();
    assert_eq!((seen.method, seen.headers.contains_key("upgrade")), (Method::POST, false));
}

async fn an_upstream_that_switches_to_something_else_is_at_fault(cell: Cell) {
    let (_upstream, tunnel) = attaching(cell, "udp").await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    visitor.send(ATTACH).await;
    let answer = visitor.until("\r\n\r\n").await;
    assert_eq!(raw::failure(&answer), (502, "upstream-protocol"));
}

async fn connect_goes_where_a_rule_lets_it(cell: Cell) {
    let upstream = Upstream::raw(async |mut tcp: TcpStream| {
        let (mut read, mut write) = tcp.split();
        let _ = copy(&mut read, &mut write).await;
        let _ = write.write_all(b"goodbye").await;
    });
    let mut egress = everything_to(cell.url(&upstream));
    egress.rules[0].pattern = pattern(Some("raw.example"), None);
    egress.rules[0].options.connect = true;
    let tunnel = Tunnel::with(egress).start(cell.direction).await;
    let mut visitor = websocket::connect(tunnel.entry(), cell.visitor, "raw.example:7").await;
    visitor.send("not HTTP at all\0").await;
    visitor.expect("not HTTP at all\0").await;
    visitor.end().await;
    assert_eq!(visitor.rest().await, b"goodbye");
}

async fn connect_is_refused_where_no_rule_lets_it(cell: Cell) {
    let upstream = Upstream::echo();
    let tunnel = cell.tunnel(&upstream).await;
    let mut visitor = cell.visitor(&tunnel).await;
    let mut request = http::Request::connect("raw.example:7");
    if cell.visitor == Http::Http1 {
        request = request.header("host", "raw.example:7");
    }
    let answer = visitor.ask(request.body(empty()).unwrap()).await;
    assert_eq!(answer.failure(), (404, "no-route"));
    assert_eq!(upstream.saw().connections(), 0);
}

async fn a_connect_that_breaks_does_not_look_complete(cell: Cell) {
    let (ended, mut heard) = mpsc::unbounded_channel();
    let upstream = Upstream::raw(move |mut tcp: TcpStream| {
        let ended = ended.clone();
        async move {
            let read = tcp.read_to_end(&mut Vec::new()).await;
            let _ = ended.send(read.is_ok());
        }
    });
    let mut egress = everything_to(cell.url(&upstream));
    egress.rules[0].options.connect = true;
    let tunnel = Tunnel::with(egress).start(cell.direction).await;
    let mut visitor = websocket::connect(tunnel.entry(), cell.visitor, "raw.example:7").await;
    visitor.send("half of someth").await;
    eventually("the upstream to be connected to", || upstream.saw().connections() == 1).await;
    match cell.direction {
        Direction::Reverse => drop(tunnel.server),
        Direction::Forward => drop(tunnel.client),
    }
    assert_eq!(within("the upstream to hear of it", heard.recv()).await, Some(false), "it looks complete");
}

async fn an_unknown_protocol_of_extended_connect_is_refused(cell: Cell) {
    let upstream = Upstream::switching(upstream::echo, parrot);
    let tunnel = cell.tunnel(&upstream).await;
    let answer = websocket::ask_for("connect-udp", tunnel.entry(), cell.visitor, "/", &[]).await;
    let refused = whole(answer.response).await;
    assert_eq!(refused.failure(), (400, "bad-request"));
    assert_eq!(upstream.saw().requests(), 0);
}
