//! The admin interface of whole nodes.

use std::{
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use adit_node::expiry::Dated;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::tunnel::{Authority, Tunnel, ask, push, pushing};

/// Returns status and body of `GET path`.
async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    request(admin, "GET", path, &format!("host: {admin}")).await
}

async fn request(admin: SocketAddr, method: &str, path: &str, fields: &str) -> (u16, String) {
    let request = format!("{method} {path} HTTP/1.1\r\n{fields}\r\nconnection: close\r\n\r\n");
    let answer = ask(admin, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn json(admin: SocketAddr, path: &str) -> Value {
    let (status, body) = get(admin, path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Looks until `look` sees something.
async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), seen).await.unwrap()
}

async fn visit(tunnel: &Tunnel, path: &str) -> String {
    ask(tunnel.entry, &format!("GET {path} HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn both_nodes_are_healthy_and_ready_once_they_are_connected() {
    let tunnel = Tunnel::start().await;
    for admin in [tunnel.server_admin, tunnel.client_admin] {
        assert_eq!(get(admin, "/healthz").await, (200, "ok".to_owned()));
        eventually(async || (get(admin, "/readyz").await.0 == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn a_client_without_a_link_is_healthy_but_not_ready() {
    let authority = Authority::new();
    // Nobody listens there.
    let nowhere = ([127, 0, 0, 1], 1).into();
    let client = adit_node::Client::bind(authority.client_settings(nowhere, nowhere)).await.unwrap();
    let admin = client.admin_address().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(client.run(tokio_util::sync::CancellationToken::new()));
    assert_eq!(get(admin, "/healthz").await.0, 200);
    assert_eq!(get(admin, "/readyz").await, (503, "no link to a server".to_owned()));
}

#[tokio::test]
async fn strangers_are_not_heard() {
    let tunnel = Tunnel::start().await;
    let admin = tunnel.server_admin;
    assert_eq!(request(admin, "GET", "/api/v1/links", "host: evil.example").await.0, 403);
    assert_eq!(request(admin, "GET", "/nowhere", "host: evil.example").await.0, 403);
    let elsewhere = format!("host: {admin}\r\norigin: https://evil.example");
    assert_eq!(request(admin, "POST", "/api/v1/drain", &elsewhere).await.0, 403);
    assert!(!tunnel.stop.is_cancelled());
    assert_eq!(get(admin, "/nowhere").await.0, 404);
    assert_eq!(get(admin, "/api/v1/drain").await.0, 405);
}

#[tokio::test]
async fn the_api_shows_links_groups_rules_and_configuration() {
    let tunnel = Tunnel::start().await;
    let links = json(tunnel.server_admin, "/api/v1/links").await;
    let link = &links[0];
    assert_eq!(links.as_array().unwrap().len(), 1);
    assert_eq!(
        (&link["group"], &link["identity"], &link["health"]),
        (&"web".into(), &"client".into(), &"healthy".into())
    );
    assert!(link["client_id"].as_str().unwrap().starts_with("client-"));
    assert!(link["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    for number in ["session", "rtt_ms", "cwnd_bytes", "sent_bytes", "received_bytes", "sent_packets", "since_unix_ms"] {
        assert!(link[number].as_f64().unwrap() > 0.0, "{number} in {link}");
    }
    assert_eq!(link["lost_packets"], 0);

    let groups = json(tunnel.server_admin, "/api/v1/groups").await;
    assert_eq!(
        groups,
        serde_json::json!([{ "group": "web", "links": 1, "healthy": 1, "in_flight": 0, "waiting": 0, "retries_left": 100.0 }])
    );
    let rules = json(tunnel.server_admin, "/api/v1/rules").await;
    assert_eq!(
        rules,
        serde_json::json!({ "ingress": [{ "pattern": "*/", "group": "web", "set_host": null, "gate": [] }], "egress": [] })
    );
    let rules = json(tunnel.client_admin, "/api/v1/rules").await;
    let rule =
        serde_json::json!({ "pattern": "*/", "groups": null, "upstream": "app", "set_host": null, "origin": "own" });
    assert_eq!(rules["egress"], serde_json::json!([rule]));

    let config = json(tunnel.server_admin, "/api/v1/config").await;
    assert_eq!(config["role"], "server");
    assert_eq!(config["http"], tunnel.entry.to_string());
    assert_eq!(config["timeouts"]["response_head"], "30s");
    assert_eq!(config["limits"]["head_fields_max"], 256);
    let config = json(tunnel.client_admin, "/api/v1/config").await;
    assert_eq!(config["role"], "client");
    assert_eq!(config["connect"].as_array().unwrap().len(), 1);
}

/// Waits until a node shows what became of a push, and returns it.
async fn config_ack(admin: SocketAddr) -> Value {
    eventually(async || {
        let config = json(admin, "/api/v1/links").await[0]["config"].clone();
        config.is_object().then_some(config)
    })
    .await
}

#[tokio::test]
async fn a_refused_push_is_shown_on_either_side_with_why() {
    let pushed = push(([127, 0, 0, 1], 22).into());
    let version = pushed.version.to_string();
    let tunnel = Tunnel::start_with(|server, _| pushing(server, pushed), |_, _| {}).await;
    let why = "upstreams.shared: 127.0.0.1:22 is not in the client's tunnel.allow";
    for admin in [tunnel.server_admin, tunnel.client_admin] {
        let ack = config_ack(admin).await;
        assert_eq!(ack, serde_json::json!({ "version": version, "applied": false, "why": why }));
    }
    assert_eq!(json(tunnel.client_admin, "/api/v1/rules").await["egress"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_applied_push_is_shown_beside_the_rules_and_upstreams_of_the_client() {
    let tunnel = Tunnel::start_with(
        |server, backend| pushing(server, push(backend)),
        |client, backend| client.tunnel.allow.add(&backend.to_string()).unwrap(),
    )
    .await;
    for admin in [tunnel.server_admin, tunnel.client_admin] {
        let ack = config_ack(admin).await;
        assert_eq!((&ack["applied"], &ack["why"]), (&true.into(), &Value::Null));
    }
    assert!(visit(&tunnel, "/").await.ends_with("hello"));
    let rules = json(tunnel.client_admin, "/api/v1/rules").await;
    let shown: Vec<_> = [0, 1].map(|n| (&rules["egress"][n]["pattern"], &rules["egress"][n]["origin"])).into();
    assert_eq!(shown, [(&Value::from("*/"), &Value::from("own")), (&"*/pushed".into(), &"pushed".into())]);
    let upstreams = json(tunnel.client_admin, "/api/v1/upstreams").await;
    assert_eq!(upstreams.as_array().unwrap().len(), 2);
    assert_eq!((&upstreams[0]["upstream"], &upstreams[0]["origin"]), (&"app".into(), &"own".into()));
    assert!(upstreams[0]["servers"][0]["latency_ms"].as_f64().unwrap() > 0.0);
    let server = serde_json::json!({
        "url": format!("http://{}", tunnel.backend), "healthy": true, "in_flight": 0, "latency_ms": null
    });
    assert_eq!(upstreams[1], serde_json::json!({ "upstream": "shared", "origin": "pushed", "servers": [server] }));
}

#[tokio::test]
async fn a_push_cannot_make_a_client_dial_its_own_admin_interface() {
    let tunnel = Tunnel::start().await;
    let mut client = tunnel.authority.client_settings(tunnel.tunnel, tunnel.backend);
    client.tunnel.allow.add(&tunnel.client_admin.to_string()).unwrap();
    tunnel.client_control.reload(client).unwrap();
    let mut server = tunnel.authority.server_settings();
    pushing(&mut server, push(tunnel.client_admin));
    tunnel.server_control.reload(server).unwrap();
    let ack = config_ack(tunnel.server_admin).await;
    let own = tunnel.client_admin;
    assert_eq!(ack["why"], format!("upstreams.shared: {own} is this node itself, which listens on {own}"));
}

#[tokio::test]
async fn what_is_shown_follows_a_reload() {
    let tunnel = Tunnel::start().await;
    let before = json(tunnel.server_admin, "/api/v1/config").await;
    let mut server = tunnel.authority.server_settings();
    server.ingress[0].options.set_host = Some("other.example".to_owned());
    server.limits.connections_max = 7;
    assert_eq!(tunnel.server_control.reload(server).unwrap(), ["limits.connections_max"]);
    let after = json(tunnel.server_admin, "/api/v1/config").await;
    assert_eq!((&after["limits"]["connections_max"], &after["http"]), (&7.into(), &before["http"]));
    assert_eq!(json(tunnel.server_admin, "/api/v1/rules").await["ingress"][0]["set_host"], "other.example");

    let mut client = tunnel.authority.client_settings(tunnel.tunnel, tunnel.backend);
    client.egress.rules.clear();
    client.timeouts.connect = Duration::from_secs(9);
    client.admin = None;
    assert_eq!(tunnel.client_control.reload(client).unwrap(), ["admin.listen"]);
    assert_eq!(json(tunnel.client_admin, "/api/v1/config").await["timeouts"]["connect"], "9s");
    assert_eq!(json(tunnel.client_admin, "/api/v1/rules").await["egress"], serde_json::json!([]));
    assert_eq!(json(tunnel.client_admin, "/api/v1/upstreams").await, serde_json::json!([]));
}

#[tokio::test]
async fn an_exchange_in_flight_is_shown_on_either_side_until_it_is_over() {
    let tunnel = Tunnel::start().await;
    let mut visitor = TcpStream::connect(tunnel.entry).await.unwrap();
    visitor.write_all(b"GET /wait HTTP/1.1\r\nhost: app.example\r\nx-request-id: slow\r\n\r\n").await.unwrap();
    let admins = [(tunnel.server_admin, "asked"), (tunnel.client_admin, "answered")];
    for (admin, side) in admins {
        let exchanges = eventually(async || {
            let exchanges = json(admin, "/api/v1/exchanges").await;
            (!exchanges.as_array().unwrap().is_empty()).then_some(exchanges)
        })
        .await;
        let shown = &exchanges[0];
        assert_eq!((&shown["id"], &shown["side"]), (&"slow".into(), &side.into()));
        assert_eq!((&shown["method"], &shown["host"]), (&"GET".into(), &"app.example".into()));
        assert!(shown["age_ms"].is_u64());
    }
    drop(visitor);
    for (admin, _) in admins {
        eventually(async || json(admin, "/api/v1/exchanges").await.as_array().unwrap().is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn metrics_count_what_went_through_and_what_did_not() {
    let tunnel = Tunnel::start().await;
    assert!(visit(&tunnel, "/").await.ends_with("hello"));
    ask(tunnel.entry, "GET / HTTP/1.1\r\nhost: a@b\r\nconnection: close\r\n\r\n").await;
    let has = async |admin, line: &str| {
        eventually(async || {
            let (status, text) = get(admin, "/metrics").await;
            assert_eq!(status, 200);
            assert!(text.ends_with("# EOF\n"));
            text.lines().any(|have| have.starts_with(line)).then_some(())
        })
        .await;
    };
    for line in [
        r#"adit_exchanges_total{side="asked",group="web",outcome="2xx",code=""} 1"#,
        r#"adit_exchanges_total{side="asked",group="",outcome="failed",code="bad-request"} 1"#,
        r#"adit_exchanges_in_flight{side="asked",group="web"} 0"#,
        r#"adit_response_body_bytes_total{side="asked",group="web"} 5"#,
        r#"adit_response_head_seconds_count{side="asked",group="web"} 1"#,
        r#"adit_response_head_seconds_bucket{le="+Inf",side="asked",group="web"} 1"#,
        r#"adit_links{group="web",health="healthy"} 1"#,
        r#"adit_link_rtt_seconds{group="web",stat="max"} "#,
        r#"adit_link_lost_packets_total{group="web"} 0"#,
        "adit_handshakes_half_open{address=\"validated\"} 0",
        "adit_handshakes_total{outcome=\"joined\"} 1",
        "adit_tasks ",
    ] {
        has(tunnel.server_admin, line).await;
    }
    has(tunnel.client_admin, r#"adit_exchanges_total{side="answered",group="web",outcome="2xx",code=""} 1"#).await;
    has(tunnel.client_admin, r#"adit_links{group="servers",health="healthy"} 1"#).await;
}

#[tokio::test]
async fn asked_to_drain_a_node_answers_stops_and_is_done() {
    let mut tunnel = Tunnel::start().await;
    let admin = tunnel.server_admin;
    let (status, body) = request(admin, "POST", "/api/v1/drain", &format!("host: {admin}")).await;
    assert_eq!((status, body.as_str()), (202, r#"{"draining":true}"#));
    assert!(tunnel.stop.is_cancelled());
    // The server and the client, which share the token.
    for _ in 0..2 {
        timeout(Duration::from_secs(10), tunnel.tasks.join_next()).await.unwrap().unwrap().unwrap();
    }
    assert!(TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn an_idle_admin_connection_is_answered_once_more_by_a_node_that_drains() {
    let tunnel = Tunnel::start().await;
    let mut kept = TcpStream::connect(tunnel.server_admin).await.unwrap();
    let ready = format!("GET /readyz HTTP/1.1\r\nhost: {}\r\n\r\n", tunnel.server_admin);
    kept.write_all(ready.as_bytes()).await.unwrap();
    let mut first = [0; 15];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    // Keeps the node from being done.
    let mut visitor = TcpStream::connect(tunnel.entry).await.unwrap();
    visitor.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let in_flight = async || {
        let exchanges = json(tunnel.server_admin, "/api/v1/exchanges").await;
        exchanges.as_array().is_some_and(|exchanges| !exchanges.is_empty()).then_some(())
    };
    eventually(in_flight).await;
    tunnel.stop.cancel();
    kept.write_all(ready.as_bytes()).await.unwrap();
    let mut rest = String::new();
    timeout(Duration::from_secs(10), kept.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.contains("HTTP/1.1 503") && rest.contains("connection: close"), "{rest}");
}

#[tokio::test]
async fn metrics_say_when_certificates_end() {
    let tunnel = Tunnel::start().await;
    let end = UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let dated = Dated { file: "certs/server.pem".to_owned(), end };
    tunnel.server_control.watch_certificates(vec![dated.clone()]);
    tunnel.client_control.watch_certificates(vec![dated]);
    for admin in [tunnel.server_admin, tunnel.client_admin] {
        let (_, metrics) = get(admin, "/metrics").await;
        let line = "adit_certificate_expiry_timestamp_seconds{file=\"certs/server.pem\"} 1900000000";
        assert!(metrics.lines().any(|seen| seen == line), "{metrics}");
    }
}
