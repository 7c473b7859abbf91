//! One connection to one backend server.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use adit_core::{dial::Refused, failure::Failure, http::proxy_protocol};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{InvalidDnsNameError, ServerName},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    forgiving::Forgiving,
    request::RequestBody,
    tcp::{DialError, Dialer},
};
use crate::{
    credentials::{ALPN_HTTP1, ALPN_HTTP2},
    settings::{Protocol, ServerUrl},
};

/// How much of a response over HTTP/2 may be ahead of its reader: hyper's 64 KiB and 1 MiB would slow down a fast
/// download.
const H2_STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;

/// How much of a response over HTTP/1.1 is read ahead, and the longest head: hyper's 400 KiB for each connection would
/// be most of what a node holds while many visitors read slowly.
const READ_AHEAD_BYTES_MAX: usize = 128 * 1024;

/// The largest response head that is read, in fields and, as HTTP/2 counts, in bytes. What crosses is bounded by the
/// node's limits; hyper's own 100 fields and 16 KiB would be less than those.
const HEAD_FIELDS_MAX: usize = 256;
const H2_HEAD_BYTES_MAX: u32 = 256 * 1024;

/// How often an HTTP/2 connection with requests on it is pinged, and how long the answer may take.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long a server may refuse an upload over HTTP/2 before its body is sent: hyper keeps the 100 that asks for it to
/// itself.
const H2_CONTINUE_TIMEOUT: Duration = Duration::from_millis(100);

/// How many streams may be opened before the server has said how many: a number that no server says, because hyper
/// tells what the server's settings are and not that they have come.
const H2_STREAMS_UNTIL_SETTINGS: usize = 97;

/// When to look for the settings, which come first and wake nobody; then after twice as long, and so on.
const H2_SETTINGS_LOOK_AFTER: Duration = Duration::from_millis(2);

/// The right to send requests on a connection.
#[derive(Debug)]
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// As many as the server allows.
    Http2(Http2),
}

/// The right to send requests on an HTTP/2 connection, to be shared.
#[derive(Clone, Debug)]
pub struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    /// Whether the server takes extended CONNECT; `None` until its settings have come.
    extended_connect: watch::Receiver<Option<bool>>,
}

/// The future that drives a connection; it ends when the connection does.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How to reach one backend server.
#[derive(Debug)]
pub struct Connector {
    url: ServerUrl,
    dialer: Dialer,
    speech: Speech,
    proxy_protocol: Option<proxy_protocol::Version>,
    title_case_headers: bool,
}

/// What is spoken on a new connection.
#[derive(Debug)]
enum Speech {
    Http1,
    H2c,
    Tls(Tls),
}

/// TLS with this name in the certificate, and then what ALPN says.
#[derive(Debug)]
struct Tls {
    name: ServerName<'static>,
    any: Arc<ClientConfig>,
    /// For what the server does not do over HTTP/2.
    http1: Arc<ClientConfig>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("its name does not resolve: {0}")]
    Unresolved(io::Error),
    /// It was refused, or there is no way.
    #[error("cannot connect: {0}")]
    Refused(io::Error),
    /// It may not be dialled.
    #[error("may not connect: {0}")]
    Forbidden(Refused),
    /// It took too long.
    #[error("cannot connect within {0:?}")]
    Late(Duration),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    /// HTTP cannot be started.
    #[error("cannot speak HTTP: {0}")]
    Http(hyper::Error),
}

impl ConnectError {
    /// Returns what it means for whoever asked.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Unresolved(_) => Failure::UpstreamUnresolved,
            Self::Refused(_) => Failure::UpstreamRefused,
            Self::Forbidden(Refused::Own { .. }) => Failure::Loop,
            Self::Forbidden(Refused::Denied { .. } | Refused::Special { .. } | Refused::NotAllowed { .. }) => {
                Failure::UpstreamForbidden
            }
            Self::Late(_) => Failure::UpstreamRefused,
            Self::Tls(_) => Failure::UpstreamTls,
            Self::Http(_) => Failure::UpstreamReset,
        }
    }
}

impl Connector {
    /// Prepares to connect to `url` by way of `dialer`.
    ///
    /// `tls` is for `https://`, and so is `server_name`, which stands in for the host in the handshake;
    /// `title_case_headers` is how field names are written in HTTP/1.1.
    ///
    /// # Errors
    ///
    /// When the host of an `https://` URL is no name that a certificate can have.
    pub fn new(
        url: ServerUrl,
        dialer: Dialer,
        tls: &Arc<ClientConfig>,
        server_name: Option<&ServerName<'static>>,
        proxy_protocol: Option<proxy_protocol::Version>,
        title_case_headers: bool,
    ) -> Result<Self, InvalidDnsNameError> {
        let speech = match (url.protocol, server_name) {
            (Protocol::Http1, _) => Speech::Http1,
            (Protocol::H2c, _) => Speech::H2c,
            (Protocol::Https, Some(name)) => Speech::Tls(Tls::new(tls, name.clone())),
            (Protocol::Https, None) => Speech::Tls(Tls::new(tls, ServerName::try_from(url.address.host.clone())?)),
        };
        Ok(Self { url, dialer, speech, proxy_protocol, title_case_headers })
    }

    /// Returns where it leads.
    pub fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Returns whether a connection names the visitor that it is for, so that it can be for no other.
    pub fn names_visitors(&self) -> bool {
        self.proxy_protocol.is_some()
    }

    /// Connects for a visitor, or for ourselves, without a word of HTTP or TLS.
    ///
    /// # Errors
    ///
    /// What stands between us and the server.
    pub async fn connect_tcp(&self, visitor: Option<SocketAddr>) -> Result<TcpStream, ConnectError> {
        let mut tcp = self.dialer.connect().await.map_err(|error| match error {
            DialError::Unresolved(error) => ConnectError::Unresolved(error),
            DialError::Refused(error) => ConnectError::Refused(error),
            DialError::Forbidden(refused) => ConnectError::Forbidden(refused),
        })?;
        if let Some(version) = self.proxy_protocol {
            let written = async {
                let header = proxy_protocol::encode(version, visitor, tcp.peer_addr()?);
                tcp.write_all(&header).await
            };
            written.await.map_err(ConnectError::Refused)?;
        }
        Ok(tcp)
    }

    /// Connects likewise. The returned driver has to be polled for anything to happen.
    ///
    /// # Errors
    ///
    /// What stands between us and the server.
    pub async fn connect(&self, visitor: Option<SocketAddr>) -> Result<(Sender, Driver), ConnectError> {
        let tcp = self.connect_tcp(visitor).await?;
        let connected = match &self.speech {
            Speech::Http1 => http1(tcp, self.title_case_headers).await,
            Speech::H2c => http2(tcp).await,
            Speech::Tls(tls) => {
                let tls = tls.connect(&tls.any, tcp).await?;
                if tls.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
                    http2(tls).await
                } else {
                    http1(tls, self.title_case_headers).await
                }
            }
        };
        connected.map_err(ConnectError::Http)
    }

    /// Returns whether a server that speaks HTTP/2 may speak HTTP/1.1 as well.
    pub fn offers_http1(&self) -> bool {
        match self.speech {
            Speech::Http1 => true,
            Speech::H2c => false,
            Speech::Tls(_) => true,
        }
    }

    /// Connects for HTTP/1.1, where it is offered.
    ///
    /// # Errors
    ///
    /// What stands between us and the server.
    pub async fn connect_http1(&self, visitor: Option<SocketAddr>) -> Result<(Sender, Driver), ConnectError> {
        let tcp = self.connect_tcp(visitor).await?;
        let connected = match &self.speech {
            Speech::Http1 | Speech::H2c => http1(tcp, self.title_case_headers).await,
            Speech::Tls(tls) => http1(tls.connect(&tls.http1, tcp).await?, self.title_case_headers).await,
        };
        connected.map_err(ConnectError::Http)
    }
}

impl Tls {
    fn new(tls: &Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        let mut http1 = ClientConfig::clone(tls);
        http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        Self { name, any: Arc::clone(tls), http1: Arc::new(http1) }
    }

    async fn connect(&self, tls: &Arc<ClientConfig>, tcp: TcpStream) -> Result<TlsStream<TcpStream>, ConnectError> {
        let connected = TlsConnector::from(Arc::clone(tls)).connect(self.name.clone(), tcp).await;
        connected.map_err(ConnectError::Tls)
    }
}

async fn http1<T>(io: T, title_case_headers: bool) -> Result<(Sender, Driver), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(title_case_headers)
        .max_headers(HEAD_FIELDS_MAX)
        .max_buf_size(READ_AHEAD_BYTES_MAX)
        .handshake(TokioIo::new(Forgiving::new(io)))
        .await?;
    let driver = async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    };
    Ok((Sender::Http1(sender), Box::pin(driver)))
}

async fn http2<T>(io: T) -> Result<(Sender, Driver), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(H2_HEAD_BYTES_MAX)
        .keep_alive_interval(H2_KEEP_ALIVE)
        .initial_max_send_streams(H2_STREAMS_UNTIL_SETTINGS)
        .handshake(TokioIo::new(io))
        .await?;
    let (announce, extended_connect) = watch::channel(None);
    let driver = async move {
        let mut connection = pin!(connection);
        let mut look_after = H2_SETTINGS_LOOK_AFTER;
        let ended = loop {
            if let Ok(ended) = timeout(look_after, connection.as_mut()).await {
                break ended;
            }
            look_after *= 2;
            let extended = connection.is_extended_connect_protocol_enabled();
            if extended || connection.current_max_send_streams() != H2_STREAMS_UNTIL_SETTINGS {
                announce.send_replace(Some(extended));
                break connection.await;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "upstream connection ended");
        }
    };
    Ok((Sender::Http2(Http2 { sender, extended_connect }), Box::pin(driver)))
}

/// What came of a try to send a request.
#[derive(Debug)]
pub enum Sent {
    /// The server answered.
    Answered(Response<Incoming>),
    /// The connection was closed before anything of the request went out: here it is again.
    Returned(Box<Request<RequestBody>>),
    /// The request may have had an effect.
    Failed(hyper::Error),
}

impl Sender {
    /// Sends a request and waits for the head of its response.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Sent {
        let result = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(http2) => {
                let wanted = request.body().wanted();
                let mut sent = pin!(http2.sender.try_send_request(request));
                match wanted {
                    None => sent.await,
                    Some(wanted) => match timeout(H2_CONTINUE_TIMEOUT, &mut sent).await {
                        Ok(answered) => answered,
                        Err(_) => {
                            wanted.notify_one();
                            sent.await
                        }
                    },
                }
            }
        };
        result.map_or_else(not_sent, Sent::Answered)
    }

    /// Returns whether requests are framed as HTTP/2.
    pub fn is_http2(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(_) => true,
        }
    }

    /// Returns whether a request to switch protocols can be sent, once that is known. Cancel-safe.
    pub async fn can_switch(&mut self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(http2) => {
                let announced = http2.extended_connect.wait_for(Option::is_some).await;
                announced.is_ok_and(|announced| *announced == Some(true))
            }
        }
    }

    /// Returns whether a request can be sent at once.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_ready(),
            Self::Http2(http2) => http2.sender.is_ready(),
        }
    }

    /// Returns whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(http2) => http2.is_closed(),
        }
    }

    /// Waits until a request can be sent.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        match self {
            Self::Http1(sender) => sender.poll_ready(cx),
            Self::Http2(http2) => http2.sender.poll_ready(cx),
        }
    }
}

impl Http2 {
    /// Returns whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

fn not_sent(mut error: TrySendError<Request<RequestBody>>) -> Sent {
    match error.take_message() {
        Some(request) => Sent::Returned(Box::new(request)),
        None => Sent::Failed(error.into_error()),
    }
}

/// What an error of hyper's client means for the asker.
pub fn failure(error: &hyper::Error) -> Failure {
    tracing::debug!(%error, "upstream failed");
    if error.is_parse() { Failure::UpstreamProtocol } else { Failure::UpstreamReset }
}

/// Returns the TLS settings towards servers: HTTP/2 or HTTP/1.1, and whom to trust.
///
/// Without `roots` it trusts whom the system trusts, or Mozilla's list on a system without one.
///
/// # Errors
///
/// When the versions of TLS we speak are not available.
pub fn tls_config(roots: Option<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let verified = match roots {
        Some(roots) => builder()?.with_root_certificates(roots),
        None => match builder()?.with_platform_verifier() {
            Ok(verified) => verified,
            Err(error) => {
                tracing::debug!(%error, "no certificate authorities in the system; using Mozilla's");
                builder()?.with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
            }
        },
    };
    let mut tls = verified.with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(tls)
}
