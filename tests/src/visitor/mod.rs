//! HTTP clients: one that keeps to the rules, and one that sends what it is told.

pub mod frames;
pub mod raw;
pub mod steady;
pub mod tls;
pub mod websocket;

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr},
    pin::Pin,
};

use http::{Request, Response, request};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    body::{self, Body},
    message::{Http, Whole, read, whole},
    wait::within,
};

/// The host that a visitor asks for unless told otherwise.
pub const HOST: &str = "app.test";

/// More than adit lets through.
const HEAD_FIELDS_MAX: usize = 512;
const HEAD_BYTES_MAX: u32 = 1024 * 1024;

/// One connection to an entry.
#[derive(Debug)]
pub struct Visitor {
    sender: Sender,
    /// The same socket once more: hyper's own tasks keep an HTTP/2 connection open when ours are gone.
    socket: std::net::TcpStream,
    connection: JoinSet<()>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A response that has not come yet. Dropping it over HTTP/2 resets the stream.
#[must_use]
pub struct Pending(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>);

impl Pending {
    /// Waits for the head.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn head(self) -> Response<Incoming> {
        within("the head of a response", self.0).await.expect("the head of a response")
    }

    /// Waits for the head, and returns the body that follows it.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn body(self) -> Incoming {
        self.head().await.into_body()
    }

    /// Waits for all of it.
    ///
    /// # Panics
    ///
    /// When it breaks off.
    pub async fn whole(self) -> Whole {
        whole(self.head().await).await
    }

    /// Waits for all of it, however long that takes.
    ///
    /// # Panics
    ///
    /// When it breaks off.
    pub async fn patiently(self) -> Whole {
        whole(self.0.await.expect("the head of a response")).await
    }

    /// Waits for all of it.
    ///
    /// # Errors
    ///
    /// When it breaks off, be it before or after the head.
    pub async fn try_whole(self) -> hyper::Result<Whole> {
        read(within("the head of a response", self.0).await?).await
    }
}

impl Visitor {
    /// Connects and speaks HTTP/1.1.
    pub async fn http1(entry: SocketAddr) -> Self {
        Self::http1_as(entry, &http1::Builder::new()).await
    }

    /// Connects and speaks HTTP/1.1, with room for as many fields as adit has.
    pub async fn http1_wide(entry: SocketAddr) -> Self {
        Self::http1_as(entry, http1::Builder::new().max_headers(HEAD_FIELDS_MAX)).await
    }

    async fn http1_as(entry: SocketAddr, builder: &http1::Builder) -> Self {
        let (tcp, socket) = dial(entry).await;
        Self::http1_on(tcp, socket, builder).await
    }

    async fn http1_on(tcp: TokioIo<TcpStream>, socket: std::net::TcpStream, builder: &http1::Builder) -> Self {
        let (sender, connection) = within("an HTTP/1.1 connection", builder.handshake(tcp)).await.unwrap();
        Self { sender: Sender::Http1(sender), connection: run(connection, &socket), socket }
    }

    /// Speaks HTTP/1.1 or HTTP/2 on a connection that is there.
    pub async fn on(tcp: TcpStream, version: Http) -> Self {
        let (tcp, socket) = prepared(tcp);
        match version {
            Http::Http1 => Self::http1_on(tcp, socket, &http1::Builder::new()).await,
            Http::Http2 => Self::http2_on(tcp, socket).await,
        }
    }

    /// Connects and speaks HTTP/2 without asking first.
    pub async fn http2(entry: SocketAddr) -> Self {
        let (tcp, socket) = dial(entry).await;
        Self::http2_on(tcp, socket).await
    }

    async fn http2_on(tcp: TokioIo<TcpStream>, socket: std::net::TcpStream) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let handshake = builder.max_header_list_size(HEAD_BYTES_MAX).handshake(tcp);
        let (sender, connection) = within("an HTTP/2 connection", handshake).await.unwrap();
        Self { sender: Sender::Http2(sender), connection: run_http2(connection), socket }
    }

    /// Connects from another address of this machine, and speaks HTTP/2.
    pub async fn http2_from(address: Ipv4Addr, entry: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let tcp = within("a TCP connection", socket.connect(entry)).await.expect("an entry that accepts");
        let (tcp, socket) = prepared(tcp);
        Self::http2_on(tcp, socket).await
    }

    /// Connects to `name` with TLS, and speaks what the entry chooses out of `alpn`.
    pub async fn tls(entry: SocketAddr, name: &str, roots: RootCertStore, alpn: &[&str]) -> Self {
        let (tcp, socket) = dial(entry).await;
        let tls = tls::handshake(tcp.into_inner(), name, roots, alpn).await.expect("a TLS handshake");
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let tls = TokioIo::new(tls);
        if http2 {
            let (sender, connection) = within("HTTP/2", http2::handshake(TokioExecutor::new(), tls)).await.unwrap();
            return Self { sender: Sender::Http2(sender), connection: run_http2(connection), socket };
        }
        let (sender, connection) = within("HTTP/1.1", http1::handshake(tls)).await.unwrap();
        Self { sender: Sender::Http1(sender), connection: run(connection, &socket), socket }
    }

    /// Returns the address that the entry sees.
    ///
    /// # Panics
    ///
    /// When the connection is gone.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a connection")
    }

    /// Returns whether it speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Returns whether it speaks HTTP/1.1.
    pub fn is_http1(&self) -> bool {
        matches!(self.sender, Sender::Http1(_))
    }

    /// Starts a request to [`HOST`] in the form that the version of HTTP wants.
    pub fn request(&self, method: &str, path: &str) -> Asked {
        let request = Request::builder().method(method);
        Asked(match &self.sender {
            Sender::Http1(_) => request.uri(path).header("host", HOST),
            Sender::Http2(_) => request.uri(format!("http://{HOST}{path}")),
        })
    }

    /// Sends a request, and returns at once.
    ///
    /// # Panics
    ///
    /// When the connection is closed.
    pub async fn start(&mut self, request: Request<Body>) -> Pending {
        match &mut self.sender {
            Sender::Http1(sender) => {
                within("the connection to be free", sender.ready()).await.expect("an open connection");
                Pending(Box::pin(sender.send_request(request)))
            }
            Sender::Http2(sender) => {
                within("the connection to be free", sender.ready()).await.expect("an open connection");
                Pending(Box::pin(sender.send_request(request)))
            }
        }
    }

    /// Sends a request, and waits for the head of its response.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.start(request).await.head().await
    }

    /// Sends a request, and waits for all of its response.
    ///
    /// # Panics
    ///
    /// When it breaks off.
    pub async fn ask(&mut self, request: Request<Body>) -> Whole {
        self.start(request).await.whole().await
    }

    /// Sends a request, and waits for all of its response. Returns `None` where the request may be sent on another
    /// connection: this one was closed or took no more before anything was sent, or said so (RFC 9113 §6.8).
    pub async fn try_ask(&mut self, request: Request<Body>) -> Option<hyper::Result<Whole>> {
        let answered = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.ok()?;
                within("the head of a response", sender.try_send_request(request)).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.ok()?;
                within("the head of a response", sender.try_send_request(request)).await
            }
        };
        match answered {
            Ok(response) => Some(read(response).await),
            Err(mut error) => match error.take_message() {
                Some(_) => None,
                None => Some(error.into_error()).filter(|error| !is_untaken(error)).map(Err),
            },
        }
    }

    /// Asks for `path`.
    pub async fn get(&mut self, path: &str) -> Whole {
        self.ask(self.request("GET", path).empty()).await
    }

    /// Posts `body` to `path`.
    pub async fn post(&mut self, path: &str, body: Body) -> Whole {
        self.ask(self.request("POST", path).body(body)).await
    }

    /// Closes the connection, whatever is in flight.
    pub fn hang_up(self) {
        // The other end may have been first.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Waits until the other end has closed the connection.
    pub async fn hung_up(&mut self) {
        within("the entry to close the connection", self.connection.join_next()).await;
    }
}

/// A request that is being made.
#[derive(Debug)]
pub struct Asked(request::Builder);

impl Asked {
    /// Adds a field.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    /// Gives it a body.
    ///
    /// # Panics
    ///
    /// When something of it cannot be in a request.
    pub fn body(self, body: Body) -> Request<Body> {
        self.0.body(body).expect("a request")
    }

    /// Gives it no body.
    pub fn empty(self) -> Request<Body> {
        self.body(body::empty())
    }
}

/// Returns whether an error means that the other end went away without a look at the request.
fn is_untaken(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR))
}

async fn dial(entry: SocketAddr) -> (TokioIo<TcpStream>, std::net::TcpStream) {
    prepared(within("a TCP connection", TcpStream::connect(entry)).await.expect("an entry that accepts"))
}

fn prepared(tcp: TcpStream) -> (TokioIo<TcpStream>, std::net::TcpStream) {
    tcp.set_nodelay(true).unwrap();
    let socket = tcp.into_std().unwrap();
    let tcp = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
    (TokioIo::new(tcp), socket)
}

/// What is in flight goes on in a task of hyper's when this one is told that the other end goes away.
fn run_http2(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async move {
        let _ = connection.await;
    });
    task
}

fn run(
    connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    socket: &std::net::TcpStream,
) -> JoinSet<()> {
    let socket = socket.try_clone().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        // How it ended, the requests on it tell; that the other end has closed it already is one way.
        let _ = connection.await;
        let _ = socket.shutdown(Shutdown::Both);
    });
    task
}
