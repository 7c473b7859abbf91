//! Upstreams: servers that fail, come back, are slow or go away, and who gets the requests then.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what these tests set up has to be there")]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use adit_core::{
    balance::policy::Policy,
    failure::Failure,
    limits::{Limits, Timeouts},
    wire::exchange::{self, BodyFrame, BodyKind, RequestHead, Scheme},
};
use adit_node::{
    body::RecvBody,
    egress::{guard::Guard, request::RequestBody, upstream::Upstream},
    settings::{HealthCheck, UpstreamSettings},
    stream::RecvStream,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpListener,
    sync::{Notify, futures::OwnedNotified},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// A backend server that counts and can be told what to do.
struct Backend {
    address: SocketAddr,
    state: Arc<State>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct State {
    connections: AtomicU32,
    requests: AtomicU32,
    checks: AtomicU32,
    /// Answers after this many milliseconds.
    delay_ms: AtomicU32,
    /// Closes connections instead of answering.
    resets: AtomicBool,
    /// Closes connections instead of answering their second request.
    fickle: AtomicBool,
    /// Answers checks with 503.
    ill: AtomicBool,
    /// Lets go of the second half of `/halves`.
    go_on: Arc<Notify>,
}

impl Backend {
    async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), None).await
    }

    async fn start_at(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let mut task = JoinSet::new();
        task.spawn(accept(listener, tls, Arc::clone(&state)));
        Self { address, state, _task: task }
    }

    fn requests(&self) -> u32 {
        self.state.requests.load(Ordering::Relaxed)
    }

    fn connections(&self) -> u32 {
        self.state.connections.load(Ordering::Relaxed)
    }

    fn checks(&self) -> u32 {
        self.state.checks.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::Relaxed);
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => serve(tcp, state).await,
                Some(tls) => {
                    if let Ok(tls) = tls.accept(tcp).await {
                        serve(tls, state).await;
                    }
                }
            }
        });
    }
}

async fn serve<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(mut io: T, state: Arc<State>) {
    if state.resets.load(Ordering::Relaxed) {
        state.requests.fetch_add(1, Ordering::Relaxed);
        let _ = io.read(&mut [0; 1024]).await;
        return;
    }
    let served = AtomicU32::new(0);
    let service = service_fn(move |request| {
        let second = served.fetch_add(1, Ordering::Relaxed) > 0;
        let (lost, state) = (second && state.fickle.load(Ordering::Relaxed), Arc::clone(&state));
        async move { if lost { Err(io::ErrorKind::ConnectionReset.into()) } else { answer(request, state).await } }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, io::Error> {
    let mut response = Response::new(text("ok"));
    match request.uri().path() {
        "/healthz" => {
            state.checks.fetch_add(1, Ordering::Relaxed);
            if state.ill.load(Ordering::Relaxed) {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            return Ok(response);
        }
        "/halves" => {
            let go_on = Box::pin(Arc::clone(&state.go_on).notified_owned());
            *response.body_mut() = Halves { sent: 0, go_on }.boxed();
        }
        _ => {}
    }
    state.requests.fetch_add(1, Ordering::Relaxed);
    request.into_body().collect().await.map_err(io::Error::other)?;
    sleep(Duration::from_millis(state.delay_ms.load(Ordering::Relaxed).into())).await;
    Ok(response)
}

fn text(text: &'static str) -> BoxBody<Bytes, io::Error> {
    http_body_util::Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed()
}

/// A body of unknown length, whose second half waits.
struct Halves {
    sent: u8,
    go_on: Pin<Box<OwnedNotified>>,
}

impl Body for Halves {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.sent == 1 {
            ready!(self.go_on.as_mut().poll(cx));
        }
        self.sent += 1;
        Poll::Ready((self.sent <= 2).then(|| Ok(Frame::data(Bytes::from_static(b"half")))))
    }
}

/// A stream on a QUIC connection, from whoever asks to whoever answers.
struct Link {
    send: quinn::SendStream,
    recv: RecvStream,
    _ends: [(quinn::Endpoint, quinn::Connection); 2],
}

impl Link {
    async fn open() -> Self {
        let (certificate, key) = certificate("localhost");
        let config = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key).unwrap();
        let answerer = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let asker = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let config = quinn::ClientConfig::with_root_certificates(Arc::new(roots(certificate))).unwrap();
        let connecting = asker.connect_with(config, answerer.local_addr().unwrap(), "localhost").unwrap();
        let (near, far) = tokio::join!(connecting, async { answerer.accept().await.unwrap().await.unwrap() });
        let near = near.unwrap();
        let mut send = near.open_uni().await.unwrap();
        let mut head = BytesMut::new();
        exchange::encode_body_frame(&BodyFrame::Data(10), &Limits::default(), &mut head).unwrap();
        send.write_all(&head).await.unwrap();
        let recv = RecvStream::new(far.accept_uni().await.unwrap());
        Self { send, recv, _ends: [(asker, near), (answerer, far)] }
    }
}

fn certificate(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

fn roots(certificate: CertificateDer<'static>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    roots
}

fn post() -> RequestHead {
    RequestHead { method: Method::POST, body: BodyKind::Length(10), ..get("/") }
}

fn settings(backends: &[&Backend]) -> UpstreamSettings {
    urls(backends.iter().map(|backend| format!("http://{}", backend.address)))
}

fn urls(urls: impl IntoIterator<Item = String>) -> UpstreamSettings {
    UpstreamSettings::new(urls.into_iter().map(|url| url.parse().unwrap()).collect())
}

fn upstream(settings: UpstreamSettings) -> Upstream {
    Upstream::new("test".into(), settings, &Guard::default(), &Timeouts::default()).unwrap()
}

fn get(path: &str) -> RequestHead {
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: "app.example".into(),
        target: path.parse().unwrap(),
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        upgrade: None,
        body: BodyKind::None,
        visitor: "192.0.2.1:1".parse().unwrap(),
        remaining_ms: 30_000,
    }
}

async fn send(upstream: &Upstream) -> Result<Bytes, Failure> {
    let response = upstream.send(get("/"), RequestBody::empty()).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

/// An address at which nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), met).await.expect("in time");
}

#[tokio::test]
async fn round_robin_takes_turns() {
    let (a, b) = (Backend::start().await, Backend::start().await);
    let upstream = upstream(UpstreamSettings { policy: Policy::RoundRobin, ..settings(&[&a, &b]) });
    for _ in 0..10 {
        send(&upstream).await.unwrap();
    }
    assert_eq!((a.requests(), b.requests()), (5, 5));
    assert_eq!((a.connections(), b.connections()), (1, 1), "connections are kept");
}

#[tokio::test]
async fn p2c_prefers_the_faster_server() {
    let (slow, fast) = (Backend::start().await, Backend::start().await);
    slow.state.delay_ms.store(100, Ordering::Relaxed);
    let upstream = upstream(settings(&[&slow, &fast]));
    for _ in 0..50 {
        send(&upstream).await.unwrap();
    }
    assert!(slow.requests() <= 2 && fast.requests() >= 48, "{} {}", slow.requests(), fast.requests());
    let latency: Vec<_> = upstream.snapshot().iter().map(|server| server.latency_ms.unwrap()).collect();
    assert!(latency[0] > 50.0 && latency[1] < 50.0, "{latency:?}");
}

#[tokio::test]
async fn a_request_that_nobody_took_goes_to_the_next_server() {
    let backend = Backend::start().await;
    let dead = format!("http://{}", nowhere().await);
    let unknown = "http://does-not-exist.invalid:80".to_owned();
    let upstream = upstream(UpstreamSettings {
        policy: Policy::RoundRobin,
        ..urls([dead, unknown, format!("http://{}", backend.address)])
    });
    for _ in 0..6 {
        assert_eq!(send(&upstream).await.unwrap(), "ok");
    }
    let healthy: Vec<_> = upstream.snapshot().iter().map(|server| server.healthy).collect();
    assert_eq!(healthy, [false, false, true]);
}

#[tokio::test]
async fn when_all_are_set_aside_they_are_tried_anyway() {
    let address = nowhere().await;
    let upstream = upstream(urls([format!("http://{}", nowhere().await), format!("http://{address}")]));
    for _ in 0..3 {
        assert_eq!(send(&upstream).await.unwrap_err(), Failure::UpstreamRefused);
    }
    assert!(upstream.snapshot().iter().all(|server| !server.healthy));
    let _back = Backend::start_at(address, None).await;
    assert_eq!(send(&upstream).await.unwrap(), "ok", "it need not wait for the back-off");
    assert!(upstream.snapshot()[1].healthy, "a success clears it");
}

#[tokio::test]
async fn a_server_that_resets_is_set_aside_and_probed_by_one_request() {
    let (bad, good) = (Backend::start().await, Backend::start().await);
    bad.state.resets.store(true, Ordering::Relaxed);
    let upstream = upstream(UpstreamSettings { policy: Policy::RoundRobin, ..settings(&[&bad, &good]) });
    assert_eq!(send(&upstream).await.unwrap_err(), Failure::UpstreamReset, "it may have had an effect");
    for _ in 0..10 {
        send(&upstream).await.unwrap();
    }
    assert_eq!((bad.requests(), good.requests()), (1, 10));
    bad.state.resets.store(false, Ordering::Relaxed);
    // The first back-off is at most one second.
    let recovered = async {
        while !upstream.snapshot()[0].healthy {
            send(&upstream).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), recovered).await.expect("in time");
    assert_eq!(bad.requests(), 2, "one probe");
}

#[tokio::test]
async fn a_response_is_in_flight_until_its_end_or_until_it_is_dropped() {
    let backend = Backend::start().await;
    let upstream = upstream(settings(&[&backend]));
    let in_flight = || upstream.snapshot()[0].in_flight;
    let response = upstream.send(get("/halves"), RequestBody::empty()).await.unwrap();
    assert_eq!(in_flight(), 1);
    backend.state.go_on.notify_one();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    assert_eq!(in_flight(), 0);
    drop(body);
    let response = upstream.send(get("/halves"), RequestBody::empty()).await.unwrap();
    assert_eq!((in_flight(), backend.connections()), (1, 1), "a body of unknown length gives its connection back");
    drop(response);
    assert_eq!(in_flight(), 0);
}

#[tokio::test]
async fn a_visitor_that_breaks_off_does_not_make_a_server_unhealthy() {
    let backend = Backend::start().await;
    let upstream = upstream(settings(&[&backend]));
    let Link { mut send, recv, _ends } = Link::open().await;
    let body = RecvBody::new(recv, BodyKind::Length(10), Limits::default());
    let (sent, ()) = tokio::join!(upstream.send(post(), body), async {
        send.write_all(b"abc").await.unwrap();
        eventually(|| backend.requests() == 1).await;
        send.reset(Failure::Cancelled.reset_code().into()).unwrap();
    });
    assert_eq!(sent.unwrap_err(), Failure::Cancelled);
    let server = &upstream.snapshot()[0];
    assert_eq!((server.healthy, server.in_flight), (true, 0));
}

#[tokio::test]
async fn a_slow_visitor_does_not_make_a_slow_server() {
    let backend = Backend::start().await;
    let upstream = upstream(settings(&[&backend]));
    let Link { mut send, recv, _ends } = Link::open().await;
    let body = RecvBody::new(recv, BodyKind::Length(10), Limits::default());
    let slowly = Duration::from_millis(500);
    let (sent, ()) = tokio::join!(upstream.send(post(), body), async {
        send.write_all(b"abc").await.unwrap();
        sleep(slowly).await;
        send.write_all(b"defghij").await.unwrap();
    });
    sent.unwrap();
    let latency_ms = upstream.snapshot()[0].latency_ms.unwrap();
    assert!(latency_ms < slowly.as_secs_f64() * 1e3 / 2.0, "{latency_ms}");
}

#[tokio::test]
async fn no_more_connections_are_kept_than_allowed() {
    let backend = Backend::start().await;
    backend.state.delay_ms.store(50, Ordering::Relaxed);
    let upstream = upstream(UpstreamSettings { idle_connections_max: 1, ..settings(&[&backend]) });
    for connections in [2, 3] {
        let (a, b) = tokio::join!(send(&upstream), send(&upstream));
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(backend.connections(), connections);
    }
}

#[tokio::test]
async fn a_failing_check_sets_aside_until_one_passes() {
    let (a, b) = (Backend::start().await, Backend::start().await);
    let interval = Duration::from_millis(20);
    let check = HealthCheck { path: "/healthz".parse().unwrap(), interval, timeout: Duration::from_secs(2) };
    let upstream = upstream(UpstreamSettings { check: Some(check), ..settings(&[&a, &b]) });
    eventually(|| a.checks() > 1 && b.checks() > 1).await;
    assert_eq!(a.connections(), 1, "checks use kept connections");
    a.state.ill.store(true, Ordering::Relaxed);
    eventually(|| !upstream.snapshot()[0].healthy).await;
    for _ in 0..20 {
        send(&upstream).await.unwrap();
    }
    assert_eq!((a.requests(), b.requests()), (0, 20));
    a.state.ill.store(false, Ordering::Relaxed);
    eventually(|| upstream.snapshot()[0].healthy).await;
    drop(upstream);
    // One check may be on its way; there is no second one.
    let before = a.checks();
    sleep(interval * 10).await;
    assert!(a.checks() <= before + 1, "checks stop with the upstream");
}

#[tokio::test]
async fn a_kept_connection_that_is_closed_says_nothing_of_the_server() {
    let backend = Backend::start().await;
    backend.state.fickle.store(true, Ordering::Relaxed);
    let interval = Duration::from_millis(5);
    let check = HealthCheck { path: "/healthz".parse().unwrap(), interval, timeout: Duration::from_secs(2) };
    let checked = upstream(UpstreamSettings { check: Some(check), ..settings(&[&backend]) });
    eventually(|| {
        assert!(checked.snapshot()[0].healthy);
        backend.checks() > 5
    })
    .await;
    drop(checked);
    let unchecked = upstream(settings(&[&backend]));
    send(&unchecked).await.unwrap();
    assert_eq!(send(&unchecked).await.unwrap_err(), Failure::UpstreamReset);
    assert!(unchecked.snapshot()[0].healthy);
}

#[tokio::test]
async fn the_server_name_stands_in_for_the_host() {
    let (certificate, key) = certificate("backend.example");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let tls = Some(TlsAcceptor::from(Arc::new(tls)));
    let backend = Backend::start_at("127.0.0.1:0".parse().unwrap(), tls).await;
    let roots = Some(roots(certificate));
    let settings = UpstreamSettings { roots, ..urls([format!("https://{}", backend.address)]) };
    let without = upstream(settings.clone());
    assert_eq!(send(&without).await.unwrap_err(), Failure::UpstreamTls);
    assert!(!without.snapshot()[0].healthy);
    let server_name = Some("backend.example".try_into().unwrap());
    assert_eq!(send(&upstream(UpstreamSettings { server_name, ..settings })).await.unwrap(), "ok");
}

#[tokio::test]
async fn the_addresses_of_a_name_are_tried_in_turn() {
    // `localhost` is ::1 and 127.0.0.1 on most systems; this one listens at one of them only.
    let backend = Backend::start().await;
    let upstream = upstream(UpstreamSettings {
        idle_connections_max: 0,
        ..urls([format!("http://localhost:{}", backend.address.port())])
    });
    for connections in 1..=4 {
        assert_eq!(send(&upstream).await.unwrap(), "ok");
        assert_eq!(backend.connections(), connections);
    }
}
