//! An entry: accepts connections and reads HTTP from them.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use adit_core::{http::head::Entry, wire::exchange::Scheme};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::service::Ingress;

/// How long to wait after the system refused to accept: it has no descriptors or no memory, and spinning
/// would not give it any.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How much of an upload over HTTP/2 may be ahead of its reader, per stream and per connection: hyper's 1 MiB
/// for a whole connection would let one slow upload stop all others.
const H2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// What an HTTP/2 connection starts with (RFC 9113 §3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often to look for the rest of it.
const PREFACE_LOOK_EVERY: Duration = Duration::from_millis(10);

/// How many requests one HTTP/2 connection may have in flight.
const H2_STREAMS_MAX: u32 = 256;

/// A bound entry.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
}

/// An entry that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on TCP {address}: {error}")]
pub struct BindError {
    /// The address.
    address: SocketAddr,
    /// What the system said.
    error: io::Error,
}

impl Listener {
    /// Binds a TCP address.
    ///
    /// # Errors
    ///
    /// When the address is in use or not ours.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = async {
            let tcp = TcpListener::bind(address).await?;
            let address = tcp.local_addr()?;
            Ok(Self { tcp, address })
        };
        bound.await.map_err(|error| BindError { address, error })
    }

    /// Returns the address, with the port that the system chose where it was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the socket, for who speaks something else on it.
    pub fn into_tcp(self) -> TcpListener {
        self.tcp
    }

    /// Serves visitors until `drain` is cancelled, and then until every request in flight has its response.
    ///
    /// Dropped early, it closes all connections.
    pub async fn serve(self, ingress: Arc<Ingress>, drain: CancellationToken) {
        let room = Arc::new(Semaphore::new(ingress.limits().connections_max));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.tcp, &room) => accepted,
            };
            match accepted {
                Ok((tcp, visitor, place)) => {
                    let (ingress, drain) = (Arc::clone(&ingress), drain.clone());
                    connections.spawn(async move {
                        serve_connection(tcp, visitor, ingress, drain).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(self.tcp);
        while connections.join_next().await.is_some() {}
        ingress.switched_ended().await;
    }
}

async fn accept(
    tcp: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (tcp, visitor) = tcp.accept().await?;
    tcp.set_nodelay(true)?;
    Ok((tcp, visitor, place))
}

async fn serve_connection(tcp: TcpStream, visitor: SocketAddr, ingress: Arc<Ingress>, drain: CancellationToken) {
    let request_head = ingress.timeouts().request_head;
    // hyper has no deadline of its own while it looks which version of HTTP this is.
    let spoke = tokio::select! {
        spoke = timeout(request_head, shows_version(&tcp)) => spoke.is_ok(),
        () = drain.cancelled() => false,
    };
    if !spoke {
        return;
    }
    let entry = Entry { visitor, scheme: Scheme::Http, trusted: ingress.trusts(visitor.ip()) };
    let http = builder(&ingress);
    let service = service_fn(move |request| {
        let ingress = Arc::clone(&ingress);
        async move { Ok::<_, std::convert::Infallible>(ingress.call(request, entry).await) }
    });
    let mut connection = pin!(http.serve_connection_with_upgrades(TokioIo::new(tcp), service));
    let served = tokio::select! {
        served = &mut connection => served,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%visitor, error, "connection ended");
    }
}

/// Waits until a visitor has sent enough to tell HTTP/2 from HTTP/1.1, or has gone. Cancel-safe; takes nothing.
async fn shows_version(tcp: &TcpStream) {
    let mut start = [0; H2_PREFACE.len()];
    while let Ok(length) = tcp.peek(&mut start).await {
        if length == 0 || length == start.len() || !H2_PREFACE.starts_with(&start[..length]) {
            return;
        }
        // Part of the preface: the rest is on its way, or it is not.
        sleep(PREFACE_LOOK_EVERY).await;
    }
}

fn builder(ingress: &Ingress) -> auto::Builder<TokioExecutor> {
    let limits = ingress.limits();
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(ingress.timeouts().request_head)
        // hyper answers 431 itself beyond these; a little over the limits it is us, who say more.
        .max_headers(limits.head_frame_fields_max())
        .max_buf_size(limits.head_frame_bytes_max());
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_list_bytes_max()).unwrap_or(u32::MAX))
        .max_concurrent_streams(H2_STREAMS_MAX)
        .enable_connect_protocol()
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_secs(20));
    http
}
