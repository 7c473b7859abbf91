//! HTTP/1.1 from the load to an entry, over connections that are kept.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// A connection. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(crate) async fn open(entry: SocketAddr) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(entry).await?;
        tcp.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What went wrong is what the request returns.
            let _ = connection.await;
        });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a request and returns the head of its response.
    pub(crate) async fn ask(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("bench.localhost"));
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

/// Connections that wait for a request; the one that was used last is used first, as browsers and proxies do.
#[derive(Debug)]
pub(crate) struct Pool {
    entry: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// Opens `connections` beforehand; more are opened when all are in use.
    pub(crate) async fn open(entry: SocketAddr, connections: usize) -> anyhow::Result<Self> {
        let mut opening = JoinSet::new();
        for _ in 0..connections {
            opening.spawn(Connection::open(entry));
        }
        let mut idle = Vec::with_capacity(connections);
        while let Some(opened) = opening.join_next().await {
            idle.push(opened??);
        }
        Ok(Self { entry, idle: Mutex::new(idle) })
    }

    pub(crate) async fn take(&self) -> anyhow::Result<Connection> {
        match self.pop() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.entry).await,
        }
    }

    /// Takes a connection back whose last response has been read.
    pub(crate) fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn pop(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.sender.is_closed())
    }
}
