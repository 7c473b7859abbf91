//! A named set of backend servers, and the connections to them.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use adit_core::{failure::Failure, limits::Timeouts, wire::exchange::RequestHead};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri, Version, header,
    uri::{self, PathAndQuery, Scheme},
};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::connection::{self, Connector, Sender, Sent};
use crate::{
    body::RecvBody,
    settings::{Protocol, ServerUrl, UpstreamSettings},
};

/// The most connections kept without use, per server.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// A named set of backend servers.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    servers: Box<[Arc<Server>]>,
}

/// Why an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It has no servers.
    #[error("the upstream {0:?} has no servers")]
    Empty(String),
    /// A server's name cannot stand in a certificate.
    #[error("the upstream {upstream:?}: {url} has no host that TLS can verify")]
    Name {
        /// The upstream.
        upstream: String,
        /// The server.
        url: ServerUrl,
    },
    /// TLS cannot be set up.
    #[error("TLS to upstreams: {0}")]
    Tls(#[from] rustls::Error),
}

/// One backend server with its connections.
#[derive(Debug)]
struct Server {
    connector: Connector,
    connect_timeout: Duration,
    idle_timeout: Duration,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    /// Connections that nobody uses, the most recently used last.
    idle: VecDeque<Idle>,
    /// The one HTTP/2 connection, shared by all who use it.
    shared: Option<hyper::client::conn::http2::SendRequest<RecvBody>>,
    /// What drives the connections. Dropping the server ends them.
    drivers: JoinSet<()>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Upstream {
    /// Prepares the servers; connects to none.
    ///
    /// # Errors
    ///
    /// When there are no servers, or one of them cannot be verified.
    pub fn new(name: String, settings: UpstreamSettings, timeouts: &Timeouts) -> Result<Self, UpstreamError> {
        if settings.servers.is_empty() {
            return Err(UpstreamError::Empty(name));
        }
        let tls = Arc::new(connection::tls_config(settings.roots)?);
        let mut servers = Vec::new();
        for url in settings.servers {
            let connector =
                Connector::new(url.clone(), &tls).map_err(|_| UpstreamError::Name { upstream: name.clone(), url })?;
            servers.push(Arc::new(Server {
                connector,
                connect_timeout: timeouts.connect,
                idle_timeout: timeouts.upstream_idle,
                connections: Mutex::default(),
            }));
        }
        Ok(Self { name, servers: servers.into() })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a request to one of the servers and returns the head of its response.
    ///
    /// # Errors
    ///
    /// What stands between us and the server.
    pub async fn send(&self, head: RequestHead, body: RecvBody) -> Result<Response<UpstreamBody>, Failure> {
        let server = &self.servers[fastrand::usize(..self.servers.len())];
        server.send(head, body).await
    }
}

impl Server {
    async fn send(self: &Arc<Self>, head: RequestHead, body: RecvBody) -> Result<Response<UpstreamBody>, Failure> {
        let (address, mut request) = Address::split(head, body, self.connector.url())?;
        // A connection that was closed while idle gives the request back; a fresh one that does so belongs to
        // a server that closes at once.
        loop {
            let (mut sender, reused) = self.checkout().await?;
            address.write(&mut request, sender.is_http2())?;
            match sender.send(request).await {
                Sent::Answered(response) => return Ok(self.answered(response, sender)),
                Sent::Returned(returned) if reused => request = *returned,
                Sent::Returned(_) => return Err(Failure::UpstreamReset),
                Sent::Failed(failure) => return Err(failure),
            }
        }
    }

    fn answered(self: &Arc<Self>, response: Response<Incoming>, sender: Sender) -> Response<UpstreamBody> {
        response.map(|body| {
            let mut body = UpstreamBody { body, lease: Some((sender, Arc::clone(self))) };
            body.give_back_at_end();
            body
        })
    }

    /// Takes a connection that is there, or makes one. Returns whether it was there.
    async fn checkout(&self) -> Result<(Sender, bool), Failure> {
        if let Some(sender) = self.lock().take(self.idle_timeout) {
            return Ok((sender, true));
        }
        // Boxed: with TLS in it, it would make the future of every exchange many times as large.
        let connected = timeout(self.connect_timeout, Box::pin(self.connector.connect())).await;
        let (sender, driver) = connected.unwrap_or_else(|_| {
            tracing::warn!(upstream = %self.connector.url(), after = ?self.connect_timeout, "cannot connect in time");
            Err(Failure::UpstreamRefused)
        })?;
        let mut connections = self.lock();
        while connections.drivers.try_join_next().is_some() {}
        connections.drivers.spawn(driver);
        if let Sender::Http2(sender) = &sender {
            connections.shared = Some(sender.clone());
        }
        Ok((sender, false))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        // What a panic left behind is still a list of connections.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    fn take(&mut self, idle_timeout: Duration) -> Option<Sender> {
        self.shared.take_if(|shared| shared.is_closed());
        if let Some(shared) = &self.shared {
            return Some(Sender::Http2(shared.clone()));
        }
        while self.idle.front().is_some_and(|idle| idle.since.elapsed() > idle_timeout) {
            self.idle.pop_front();
        }
        for index in (0..self.idle.len()).rev() {
            let sender = &self.idle.get(index)?.sender;
            // One that is neither closed nor ready is still busy with the request body of its last exchange.
            if sender.is_closed() {
                self.idle.remove(index);
            } else if sender.is_ready() {
                return self.idle.remove(index).map(|idle| idle.sender);
            }
        }
        None
    }

    fn give_back(&mut self, sender: Sender) {
        if sender.is_http2() || sender.is_closed() {
            return;
        }
        if self.idle.len() >= IDLE_CONNECTIONS_MAX {
            self.idle.pop_front();
        }
        self.idle.push_back(Idle { sender, since: Instant::now() });
    }
}

/// The body of a response, and with it the connection that it comes from.
///
/// At its end the connection is given back; dropped before that, the connection is closed.
#[derive(Debug)]
pub struct UpstreamBody {
    body: Incoming,
    lease: Option<(Sender, Arc<Server>)>,
}

impl UpstreamBody {
    fn give_back_at_end(&mut self) {
        if !self.body.is_end_stream() {
            return;
        }
        if let Some((sender, server)) = self.lease.take() {
            server.lock().give_back(sender);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.give_back_at_end();
        Poll::Ready(frame.map(|frame| frame.map_err(|error| connection::failure(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a request is addressed to, apart from its other fields: it stands in another place in each version of
/// HTTP, and a request that was given back may go out in another version.
struct Address {
    scheme: Scheme,
    authority: HeaderValue,
    target: PathAndQuery,
}

impl Address {
    fn split(head: RequestHead, body: RecvBody, url: &ServerUrl) -> Result<(Self, Request<RecvBody>), Failure> {
        let authority = if head.authority.is_empty() { url.address.to_string() } else { head.authority };
        let authority = HeaderValue::try_from(authority).map_err(|_| Failure::BadRequest)?;
        let scheme = if url.protocol == Protocol::Https { Scheme::HTTPS } else { Scheme::HTTP };
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.headers_mut() = head.headers;
        Ok((Self { scheme, authority, target: head.target }, request))
    }

    /// Writes `Host` and the origin-form for HTTP/1.1, `:authority` for HTTP/2.
    fn write(&self, request: &mut Request<RecvBody>, http2: bool) -> Result<(), Failure> {
        let mut parts = uri::Parts::default();
        parts.path_and_query = Some(self.target.clone());
        if http2 {
            request.headers_mut().remove(header::HOST);
            parts.scheme = Some(self.scheme.clone());
            parts.authority = Some(self.authority.as_bytes().try_into().map_err(|_| Failure::BadRequest)?);
        } else {
            request.headers_mut().insert(header::HOST, self.authority.clone());
        }
        *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Failure::BadRequest)?;
        Ok(())
    }
}
