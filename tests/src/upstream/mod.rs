//! A server whose behaviour the test decides, and that remembers what it saw.

mod call;
mod counts;
mod serve;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use adit_node::settings::ServerUrl;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use self::{call::by_hand, serve::serve};
pub use self::{
    call::{Call, Calls},
    counts::{Counts, Head},
};
use crate::{
    body::{self, Body},
    visitor::raw::Raw,
    wait::within,
};

/// A server on a port of its own on loopback. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    counts: Counts,
    _task: JoinSet<()>,
}

impl Upstream {
    /// Makes a server that answers every request with what `answer` returns, over HTTP/1.1 and h2c.
    pub fn answering<H, F>(answer: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start(|tcp, counts| serve(tcp, None, answer, counts))
    }

    /// Makes a server that answers every request with `answer`, over TLS.
    pub fn answering_over_tls<H, F>(tls: TlsAcceptor, answer: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start(|tcp, counts| serve(tcp, Some(tls), answer, counts))
    }

    /// Makes a server that sends every body back as it comes in.
    pub fn echo() -> Self {
        Self::answering(echo)
    }

    /// Makes a server that the test plays itself, call by call.
    pub fn by_hand() -> (Self, Calls) {
        let (calls, taken) = mpsc::unbounded_channel();
        (Self::answering(move |request| by_hand(request, calls.clone())), Calls(taken))
    }

    /// Makes a server that answers whatever it is asked with these very bytes, and then closes.
    pub fn saying(bytes: impl Into<Bytes>) -> Self {
        let (upstream, hand) = Self::saying_by_hand(bytes);
        // As often as anybody asks.
        hand.0.add_permits(Semaphore::MAX_PERMITS);
        upstream
    }

    /// Makes a server that answers whatever it is asked with these very bytes, and closes when it is told to.
    pub fn saying_by_hand(bytes: impl Into<Bytes>) -> (Self, Hand) {
        let (bytes, hand) = (bytes.into(), Hand(Arc::new(Semaphore::new(0))));
        let may_close = Arc::clone(&hand.0);
        let upstream = Self::raw(move |mut tcp| {
            let (bytes, may_close) = (bytes.clone(), Arc::clone(&may_close));
            async move {
                read_head(&mut tcp).await;
                // A peer that has heard enough may be gone.
                let _ = tcp.write_all(&bytes).await;
                may_close.acquire().await.expect("a semaphore that is open").forget();
            }
        });
        (upstream, hand)
    }

    /// Makes a server that resets every connection once it was asked something.
    pub fn resetting() -> Self {
        Self::raw(|mut tcp| async move {
            read_head(&mut tcp).await;
            tcp.set_zero_linger().expect("a socket that can be reset");
        })
    }

    /// Makes a server that does with every connection what `converse` does.
    pub fn raw<H, F>(converse: H) -> Self
    where
        H: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start(|tcp, counts| serve::raw(tcp, converse, counts))
    }

    /// Makes a server whose connections the test speaks on itself, byte by byte.
    pub fn raw_by_hand() -> (Self, Connections) {
        let (connections, taken) = mpsc::unbounded_channel();
        let upstream = Self::raw(move |tcp| {
            // A test that is over takes no more of them.
            let _ = connections.send(Raw::new(tcp));
            std::future::ready(())
        });
        (upstream, Connections(taken))
    }

    fn start<F>(run: impl FnOnce(TcpListener, Counts) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let tcp = TcpListener::from_std(tcp).unwrap();
        let (address, counts) = (tcp.local_addr().unwrap(), Counts::default());
        let mut task = JoinSet::new();
        task.spawn(run(tcp, counts.clone()));
        Self { address, counts, _task: task }
    }

    /// Returns the URL that makes a node speak HTTP/1.1 to it.
    pub fn http(&self) -> ServerUrl {
        self.url("http")
    }

    /// Returns the URL that makes a node speak HTTP/2 to it.
    pub fn h2c(&self) -> ServerUrl {
        self.url("h2c")
    }

    /// Returns the URL that makes a node speak TLS to it.
    pub fn https(&self) -> ServerUrl {
        self.url("https")
    }

    fn url(&self, scheme: &str) -> ServerUrl {
        format!("{scheme}://{}", self.address).parse().unwrap()
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what it saw.
    pub fn saw(&self) -> &Counts {
        &self.counts
    }
}

/// The connections to a server whose test speaks on them.
#[derive(Debug)]
pub struct Connections(mpsc::UnboundedReceiver<Raw>);

impl Connections {
    /// Waits for the next connection.
    pub async fn next(&mut self) -> Raw {
        within("a connection to the upstream", self.0.recv()).await.expect("an upstream that runs")
    }

    /// Returns whether nobody has connected that the test does not know of.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Closes the connections of a server that has said everything.
#[derive(Debug)]
pub struct Hand(Arc<Semaphore>);

impl Hand {
    /// Closes one connection.
    pub fn close(&self) {
        self.0.add_permits(1);
    }
}

/// Takes a TCP port on which every connection is refused.
pub fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // Bound and not listening.
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Makes a response of this status with these fields.
pub fn response(status: u16, fields: &[(&'static str, &'static str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().expect("a status");
    *response.headers_mut() = body::fields(fields);
    response
}

/// Answers a request with its own body.
pub async fn echo(request: Request<Incoming>) -> Response<Body> {
    Response::new(body::received(request.into_body()))
}

async fn read_head(tcp: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match tcp.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
