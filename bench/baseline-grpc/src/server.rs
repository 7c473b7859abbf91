//! The public side.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Server as Grpc, server::Connected};

use crate::{
    WINDOW_BYTES, entry,
    service::Service,
    socket::{self, Congestion},
    tunnel::Tunnels,
};

/// How long a client may take over TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often HTTP/2 asks whether the client lives, and how long it waits.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Connections of clients between TLS and HTTP/2.
const QUEUE_CONNECTIONS: usize = 16;

/// A server whose sockets are bound.
#[derive(Debug)]
pub struct Server {
    entry: TcpListener,
    tunnel: TcpListener,
    tls: Arc<ServerConfig>,
}

impl Server {
    /// Binds the entry for visitors and the socket for clients.
    ///
    /// # Errors
    ///
    /// When an address cannot be had, or the kernel does not know the congestion control.
    pub fn bind(
        entry: SocketAddr,
        tunnel: SocketAddr,
        tls: Arc<ServerConfig>,
        congestion: Option<Congestion>,
    ) -> io::Result<Self> {
        Ok(Self { entry: socket::listen(entry, None)?, tunnel: socket::listen(tunnel, congestion)?, tls })
    }

    /// Returns where visitors connect.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn entry(&self) -> io::Result<SocketAddr> {
        self.entry.local_addr()
    }

    /// Returns where clients connect.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn tunnel(&self) -> io::Result<SocketAddr> {
        self.tunnel.local_addr()
    }

    /// Serves for as long as it is polled.
    ///
    /// # Errors
    ///
    /// When the system refuses to accept.
    pub async fn run(self) -> anyhow::Result<()> {
        let tunnels = Arc::new(Tunnels::default());
        let (ready, connections) = mpsc::channel(QUEUE_CONNECTIONS);
        let grpc = Grpc::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .serve_with_incoming(Service::new(Arc::clone(&tunnels)), ReceiverStream::new(connections));
        tokio::select! {
            served = grpc => served?,
            served = entry::serve(self.entry, tunnels) => served?,
            accepted = accept(self.tunnel, TlsAcceptor::from(self.tls), ready) => accepted?,
        }
        Ok(())
    }
}

async fn accept(tunnel: TcpListener, tls: TlsAcceptor, ready: mpsc::Sender<io::Result<Connection>>) -> io::Result<()> {
    let mut handshakes = JoinSet::new();
    loop {
        let (tcp, from) = tokio::select! {
            accepted = tunnel.accept() => accepted?,
            Some(_) = handshakes.join_next() => continue,
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        handshakes.spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, shake_hands(tcp, tls)).await {
                // The receiver lives as long as the server.
                Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::warn!(%from, %error, "a client was turned away"),
                Err(_) => tracing::warn!(%from, "a client was too slow"),
            }
        });
    }
}

async fn shake_hands(tcp: TcpStream, tls: TlsAcceptor) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    let congestion = socket::congestion_of(&tcp)?;
    let from = tcp.peer_addr()?;
    let connection = Connection(tls.accept(tcp).await?);
    tracing::info!(%from, congestion, "a client connected");
    Ok(connection)
}

/// A client's connection. tonic wants to know about its connections; there is nothing to say.
#[derive(Debug)]
struct Connection(TlsStream<TcpStream>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
