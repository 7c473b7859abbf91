//! The admin interface where others than this machine may reach it: a token, over TLS.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use adit_core::gate::TokenHash;
use adit_node::{
    Server,
    ingress::handed::Handed,
    settings::{AdminEntry, ServerSettings},
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::tunnel::{ANY, Authority, Tunnel, ask};

const EVERYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Has the admin interface listen at `listen` and ask for a token, over TLS.
fn guarded(settings: &mut ServerSettings, authority: &Authority, listen: SocketAddr, token: &str) {
    let token = TokenHash::of(token.as_bytes());
    settings.admin = Some(AdminEntry::new(listen, Some(token), Some(authority.credentials("localhost"))).unwrap());
}

/// A server whose admin interface is on every address, and where it is from here.
async fn tunnel() -> (Tunnel, SocketAddr) {
    let authority = Authority::new();
    let guard = |server: &mut _, authority: &_, _| guarded(server, authority, EVERYWHERE, TOKEN);
    let tunnel = Tunnel::start_signed_by(authority, guard, |_, _| {}).await;
    assert!(tunnel.server_admin.ip().is_unspecified());
    let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), tunnel.server_admin.port());
    (tunnel, here)
}

async fn handshake(tunnel: &Tunnel, admin: SocketAddr, alpn: &str) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(tunnel.authority.roots())
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let tcp = TcpStream::connect(admin).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap()
}

/// A connection that asks one thing after another.
struct Caller {
    sender: Sender,
    certificate: CertificateDer<'static>,
    _connection: JoinSet<()>,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: String,
}

impl Caller {
    async fn new(tunnel: &Tunnel, admin: SocketAddr, alpn: &str) -> Self {
        let tls = handshake(tunnel, admin, alpn).await;
        let session = tls.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(alpn.as_bytes()));
        let certificate = session.peer_certificates().unwrap()[0].clone().into_owned();
        let mut tasks = JoinSet::new();
        let io = TokioIo::new(tls);
        let sender = if alpn == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tasks.spawn(async { drop(connection.await) });
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tasks.spawn(async { drop(connection.await) });
            Sender::Http1(sender)
        };
        Self { sender, certificate, _connection: tasks }
    }

    async fn get(&mut self, path: &str, token: Option<&str>) -> Answer {
        let request = Request::get(format!("https://adit.example{path}")).header(header::HOST, "adit.example");
        let request = match token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(Empty::new()).unwrap();
        let response = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await.unwrap(),
            Sender::Http2(sender) => sender.send_request(request).await.unwrap(),
        };
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, body }
    }
}

#[tokio::test]
async fn whoever_shows_the_token_is_answered_by_any_name_over_tls_and_nobody_else_is() {
    let (tunnel, admin) = tunnel().await;
    for alpn in ["http/1.1", "h2"] {
        let mut caller = Caller::new(&tunnel, admin, alpn).await;
        let answer = caller.get("/metrics", Some(TOKEN)).await;
        assert_eq!(answer.status, 200, "{alpn}: {}", answer.body);
        assert!(answer.body.contains("adit_links{group=\"web\",health=\"healthy\"} 1"), "{alpn}: {}", answer.body);
        assert_eq!(caller.get("/api/v1/links", Some(TOKEN)).await.status, 200, "{alpn}");
        for (path, token) in [("/metrics", None), ("/api/v1/config", Some("wrong")), ("/nowhere", None), ("/", None)] {
            let answer = caller.get(path, token).await;
            assert_eq!(answer.status, 401, "{alpn} {path}");
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"admin\"");
            assert!(!answer.body.contains("web"), "{}", answer.body);
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(caller.get(path, None).await.status, 200, "{alpn} {path}: load balancers have no token");
        }
    }
    let plain = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    assert!(!ask(admin, &plain).await.contains("HTTP/1.1"));
}

#[tokio::test]
async fn who_guesses_tokens_is_told_to_wait_and_the_right_one_is_no_use_then() {
    let (tunnel, admin) = tunnel().await;
    let mut caller = Caller::new(&tunnel, admin, "h2").await;
    let mut guesses = 0;
    let answer = loop {
        let answer = caller.get("/metrics", Some(&format!("guess {guesses}"))).await;
        if answer.status != 401 {
            break answer;
        }
        guesses += 1;
        assert!(guesses < 1_000, "nobody counts them");
    };
    assert_eq!(answer.status, 429);
    assert!(answer.headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert!(guesses >= 10, "{guesses}");
    assert_eq!(caller.get("/metrics", None).await.status, 401, "that is no guess");
    assert_eq!(caller.get("/healthz", None).await.status, 200);
}

#[tokio::test]
async fn a_new_token_and_a_new_certificate_need_no_restart() {
    let (tunnel, admin) = tunnel().await;
    let mut caller = Caller::new(&tunnel, admin, "http/1.1").await;
    assert_eq!(caller.get("/metrics", Some(TOKEN)).await.status, 200);
    let renewed = "fedcba9876543210fedcba9876543210";
    let mut settings = tunnel.authority.server_settings();
    guarded(&mut settings, &tunnel.authority, EVERYWHERE, renewed);
    let certificate = settings.admin.as_ref().unwrap().credentials().unwrap().chain()[0].clone();
    assert_eq!(tunnel.server_control.reload(settings).unwrap(), [""; 0]);
    for (token, status) in [(TOKEN, 401), (renewed, 200)] {
        assert_eq!(caller.get("/metrics", Some(token)).await.status, status, "on a connection from before");
    }
    let mut next = Caller::new(&tunnel, admin, "http/1.1").await;
    assert!(next.certificate == certificate && caller.certificate != certificate);
    assert_eq!(next.get("/metrics", Some(renewed)).await.status, 200);
}

#[tokio::test]
async fn a_reload_does_not_open_what_others_reach() {
    let (tunnel, admin) = tunnel().await;
    let mut settings = tunnel.authority.server_settings();
    settings.admin = Some(AdminEntry::open(ANY).unwrap());
    assert_eq!(tunnel.server_control.reload(settings).unwrap(), ["admin.listen"]);
    let mut caller = Caller::new(&tunnel, admin, "http/1.1").await;
    assert_eq!(caller.get("/metrics", None).await.status, 401);
    assert_eq!(caller.get("/metrics", Some(TOKEN)).await.status, 200);
}

#[tokio::test]
async fn a_socket_that_was_handed_over_is_not_open_to_others_either() {
    let socket = TcpListener::bind(EVERYWHERE).unwrap();
    let address = socket.local_addr().unwrap();
    let mut handed = Handed::default();
    handed.add(3, "admin", socket).unwrap();
    let refused = Server::bind_with(Authority::new().server_settings(), handed).await.unwrap_err().to_string();
    assert!(refused.starts_with(&format!("admin: {address} is not a loopback address")), "{refused}");
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let tunnel = Tunnel::start().await;
    let mut kept = Vec::new();
    let last = loop {
        let mut tcp = TcpStream::connect(tunnel.server_admin).await.unwrap();
        let asked = tcp.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let mut answer = [0; 15];
        if asked.is_err() || tcp.read_exact(&mut answer).await.is_err() {
            break kept.len();
        }
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        kept.push(tcp);
        assert!(kept.len() < 200, "nobody counts them");
    };
    assert!(last >= 64, "{last}");
}
