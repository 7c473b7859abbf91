//! Through the whole baseline: entry, tunnel, upstream.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use baseline_grpc::{
    client::Client,
    server::Server,
    socket::{self, Congestion},
    tls,
    upstream::Upstream,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{client::legacy, rt::TokioExecutor, rt::TokioIo};
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

#[tokio::test]
async fn a_request_goes_through_with_its_fields_and_both_bodies() {
    let mut tunnel = Tunnel::start(Some(Congestion::Cubic)).await;
    let body = Bytes::from((0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());

    let (status, fields, answer) = tunnel.eventually_ask("/echo?a=b", body.clone()).await;

    assert_eq!(status, StatusCode::OK);
    assert_eq!(fields["x-target"], "POST /echo?a=b");
    assert_eq!(fields["x-asked-with"], "once");
    assert_eq!(answer, body);
    tunnel.tasks.shutdown().await;
}

#[tokio::test]
async fn requests_at_the_same_time_get_their_own_responses() {
    let tunnel = Tunnel::start(None).await;
    tunnel.eventually_ask("/echo", Bytes::new()).await;
    let mut asking = JoinSet::new();
    for n in 0..50_u8 {
        let (visitor, entry) = (tunnel.visitor.clone(), tunnel.entry);
        asking.spawn(async move { (n, ask(&visitor, entry, "/echo", Bytes::from(vec![n; 10_000])).await.2) });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.len(), 50);
    for (n, answer) in answers {
        assert_eq!(answer, vec![n; 10_000]);
    }
}

#[tokio::test]
async fn a_tunnel_that_is_lost_fails_its_requests_at_once_and_the_next_ones_too() {
    let tunnel = Tunnel::start(None).await;
    tunnel.eventually_ask("/echo", Bytes::new()).await;
    let asked = {
        let (visitor, entry) = (tunnel.visitor.clone(), tunnel.entry);
        tokio::task::JoinSet::from_iter([async move { ask(&visitor, entry, "/never", Bytes::new()).await.0 }])
    };
    tunnel.reached.notified().await;

    tunnel.client.abort();

    assert_eq!(asked.join_all().await, [StatusCode::BAD_GATEWAY]);
    let (status, ..) = ask(&tunnel.visitor, tunnel.entry, "/echo", Bytes::new()).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn without_a_client_a_request_is_refused() {
    let mut tunnel = Tunnel::start(None).await;
    tunnel.client.abort();
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(&tunnel.visitor, tunnel.entry, "/echo", Bytes::new()).await.0 != StatusCode::BAD_GATEWAY {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    tunnel.tasks.shutdown().await;
}

#[tokio::test]
async fn a_failing_upstream_is_a_502() {
    let tunnel = Tunnel::start(None).await;
    tunnel.eventually_ask("/echo", Bytes::new()).await;
    let (status, ..) = ask(&tunnel.visitor, tunnel.entry, "/break", Bytes::new()).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn both_ends_of_a_connection_have_the_congestion_control_that_was_asked_for() {
    let listener = socket::listen(SocketAddr::from(([127, 0, 0, 1], 0)), Some(Congestion::Cubic)).unwrap();
    let connected = socket::connect(listener.local_addr().unwrap(), Some(Congestion::Cubic)).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    assert_eq!(socket::congestion_of(&connected).unwrap(), "cubic");
    assert_eq!(socket::congestion_of(&accepted).unwrap(), "cubic");
    assert!(connected.nodelay().unwrap());
}

type Visitor = legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>;

struct Tunnel {
    entry: SocketAddr,
    visitor: Visitor,
    client: AbortHandle,
    reached: Arc<Notify>,
    tasks: JoinSet<()>,
    _certs: tempfile::TempDir,
}

impl Tunnel {
    async fn start(congestion: Option<Congestion>) -> Self {
        let certs = tempfile::tempdir().unwrap();
        adit::certs::write_all(certs.path(), &[], &[], false).unwrap();
        let file = |name: &str| certs.path().join(name);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server_tls = tls::server(&file("server.pem"), &file("server.key"), &file("ca.pem")).unwrap();
        let server = Server::bind(any, any, server_tls, congestion).unwrap();
        let (entry, connect) = (server.entry().unwrap(), server.tunnel().unwrap());
        let (reached, mut tasks) = (Arc::new(Notify::new()), JoinSet::new());
        let client = Client {
            connect,
            server_name: ServerName::try_from("localhost").unwrap(),
            tls: client_tls(certs.path()),
            congestion,
            upstream: Upstream::new(backend(&mut tasks, Arc::clone(&reached)).await),
        };
        tasks.spawn(async move { server.run().await.unwrap() });
        let client = tasks.spawn(async move { client.run().await });
        let visitor = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { entry, visitor, client, reached, tasks, _certs: certs }
    }

    /// Asks until the client has connected.
    async fn eventually_ask(&self, target: &str, body: Bytes) -> (StatusCode, http::HeaderMap, Bytes) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = ask(&self.visitor, self.entry, target, body.clone()).await;
            if answer.0 != StatusCode::BAD_GATEWAY {
                return answer;
            }
            assert!(Instant::now() < deadline, "the client did not connect");
            tokio::task::yield_now().await;
        }
    }
}

fn client_tls(certs: &Path) -> Arc<rustls::ClientConfig> {
    tls::client(&certs.join("ca.pem"), &certs.join("client.pem"), &certs.join("client.key")).unwrap()
}

async fn ask(visitor: &Visitor, entry: SocketAddr, target: &str, body: Bytes) -> (StatusCode, http::HeaderMap, Bytes) {
    let request =
        Request::post(format!("http://{entry}{target}")).header("x-asked", "once").body(Full::new(body)).unwrap();
    let (head, body) = visitor.request(request).await.unwrap().into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes())
}

async fn backend(tasks: &mut JoinSet<()>, reached: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let reached = Arc::clone(&reached);
            let answer = service_fn(move |request| answer(request, Arc::clone(&reached)));
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
        }
    });
    address
}

async fn answer(request: Request<Incoming>, reached: Arc<Notify>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    match head.uri.path() {
        "/break" => return Err(std::io::Error::other("broken on purpose")),
        "/never" => {
            reached.notify_one();
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let response = Response::builder()
        .header("x-target", format!("{} {}", head.method, head.uri.path_and_query().unwrap()))
        .header("x-asked-with", head.headers.get("x-asked").cloned().unwrap());
    Ok(response.body(Full::new(body)).unwrap())
}
