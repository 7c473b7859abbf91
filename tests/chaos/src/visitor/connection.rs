//! HTTP/1.1 connections of visitors to an entry.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpSocket, task::JoinSet, time::Instant};

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A connection without use is not used any more after this: the entry is about to close it.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// How many addresses visitors come from: an entry bounds the connections of each.
const VISITORS: u8 = 16;

/// A connection. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<Body>,
    used: Instant,
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects as one of many visitors.
    pub(super) async fn open(entry: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        let visitor = Ipv4Addr::new(127, 66, 0, fastrand::u8(1..=VISITORS));
        socket.bind((IpAddr::from(visitor), 0).into())?;
        let tcp = socket.connect(entry).await?;
        tcp.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What went wrong is what the request returns.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, used: Instant::now(), _driver: driver })
    }

    /// Sends a request and returns the head of its response.
    pub(super) async fn ask(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

/// Connections to one entry that wait for a request; the one that was used last is used first.
#[derive(Debug)]
pub(super) struct Pool {
    entry: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(entry: SocketAddr) -> Self {
        Self { entry, idle: Mutex::default() }
    }

    /// Returns a connection: one that was used before, or a fresh one.
    pub(super) async fn take(&self, fresh: bool) -> anyhow::Result<Connection> {
        match self.kept().filter(|_| !fresh) {
            Some(connection) => Ok(connection),
            None => Connection::open(self.entry).await,
        }
    }

    /// Takes a connection back whose last response has been read.
    pub(super) fn give_back(&self, mut connection: Connection) {
        connection.used = Instant::now();
        self.idle().push(connection);
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|connection| !connection.sender.is_closed() && connection.used.elapsed() < IDLE_MAX);
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
