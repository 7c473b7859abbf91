//! The side behind NAT.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::sleep};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::{
    QUEUE_MESSAGES, WINDOW_BYTES,
    message::FromClient,
    service,
    socket::{self, Congestion},
    upstream::Upstream,
};

/// How long to wait before the server is dialled again.
const RECONNECT_AFTER: Duration = Duration::from_millis(250);

/// How long TCP and TLS may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often HTTP/2 asks whether the server lives, and how long it waits.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A client and what it needs to reach its server.
#[derive(Debug)]
pub struct Client {
    /// Where the server listens for clients.
    pub connect: SocketAddr,
    /// The name in the server's certificate.
    pub server_name: ServerName<'static>,
    /// Whom to trust, and who we are.
    pub tls: Arc<ClientConfig>,
    /// TCP's congestion control; left out for the system's.
    pub congestion: Option<Congestion>,
    /// What answers the requests.
    pub upstream: Upstream,
}

impl Client {
    /// Serves for as long as it is polled; reconnects without end.
    pub async fn run(&self) {
        loop {
            match self.serve().await {
                Ok(()) => tracing::warn!("the server ended the stream"),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "the tunnel failed"),
            }
            sleep(RECONNECT_AFTER).await;
        }
    }

    async fn serve(&self) -> anyhow::Result<()> {
        let (responses, outbound) = mpsc::channel(QUEUE_MESSAGES);
        // The first message goes out before the server answers with its head.
        responses.send(FromClient::default()).await?;
        let mut requests = service::open(self.dial().await?, outbound).await?;
        let mut in_flight = JoinSet::new();
        loop {
            let request = tokio::select! {
                request = requests.message() => request?,
                Some(_) = in_flight.join_next() => continue,
            };
            let Some(request) = request else { return Ok(()) };
            let (upstream, responses) = (self.upstream.clone(), responses.clone());
            in_flight.spawn(async move {
                let response = upstream.ask(request).await;
                // The stream may have ended meanwhile; the server knows.
                let _ = responses.send(response).await;
            });
        }
    }

    async fn dial(&self) -> anyhow::Result<Channel> {
        let dialler = Dialler {
            connect: self.connect,
            server_name: self.server_name.clone(),
            tls: TlsConnector::from(Arc::clone(&self.tls)),
            congestion: self.congestion,
        };
        // `http`, since TLS is the dialler's; the name only fills `:authority`.
        let channel = Endpoint::from_static("http://tunnel")
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .connect_timeout(CONNECT_TIMEOUT)
            .connect_with_connector(dialler)
            .await?;
        Ok(channel)
    }
}

#[derive(Clone)]
struct Dialler {
    connect: SocketAddr,
    server_name: ServerName<'static>,
    tls: TlsConnector,
    congestion: Option<Congestion>,
}

impl Service<http::Uri> for Dialler {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dialler = self.clone();
        Box::pin(async move {
            let tcp = socket::connect(dialler.connect, dialler.congestion).await?;
            tracing::info!(congestion = socket::congestion_of(&tcp)?, "connected");
            Ok(TokioIo::new(dialler.tls.connect(dialler.server_name, tcp).await?))
        })
    }
}
