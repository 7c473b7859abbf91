//! One connection to the admin interface: TLS where it is asked for, and HTTP on it.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::guard::Caller;
use crate::{
    credentials::ALPN_HTTP2,
    ingress::{activity::Activity, stall::Impatient, turns::Turns, visitors::Admitted},
};

/// How long a caller has for its TLS handshake, then for each request head, and how long a connection is kept without a
/// request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a caller may read nothing of what is sent to it.
const WRITE_IDLE: Duration = Duration::from_secs(10);

/// How long a connection lasts: whoever reads an answer byte by byte does not have it for ever.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// How long an idle HTTP/1.1 connection is kept when the node stops: whoever looks regularly learns with its next answer
/// that the connection ends.
const STOP_IDLE: Duration = Duration::from_millis(500);

/// How many requests one HTTP/2 connection may have in flight, and how many of those taken back may wait to be looked at.
const H2_STREAMS_MAX: u32 = 32;
const H2_RESETS_PENDING_MAX: usize = 20;

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) tls: Option<tokio_rustls::TlsAcceptor>,
    pub(super) router: TowerToHyperService<Router>,
    /// Cancelled once the node stops.
    pub(super) stop: CancellationToken,
    /// Cancelled once it has done so, but for this.
    pub(super) done: CancellationToken,
    /// Counts among those from one address.
    pub(super) _admitted: Admitted,
}

impl Connection {
    /// Serves until the caller leaves or is too slow, or until the node is done.
    pub(super) async fn serve(self) {
        let peer = self.peer;
        if let Err(error) = self.try_serve().await {
            tracing::debug!(%peer, %error, "admin connection ended");
        }
    }

    async fn try_serve(self) -> io::Result<()> {
        let Self { tcp, peer, tls, router, stop, done, _admitted } = self;
        let tcp = Impatient::new(tcp, WRITE_IDLE);
        let caller = |scheme| Caller { address: peer.ip().to_canonical(), scheme };
        let Some(tls) = tls else {
            let http = Http { router, caller: caller("http"), stop, done };
            return http.serve_http1(tcp).await.map_err(io::Error::other);
        };
        let tls = tokio::select! {
            accepted = timeout(PATIENCE, tls.accept(tcp)) => accepted??,
            () = done.cancelled() => return Ok(()),
        };
        let http = Http { router, caller: caller("https"), stop, done };
        let served = match tls.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
            true => http.serve_http2(tls).await,
            false => http.serve_http1(tls).await,
        };
        served.map_err(io::Error::other)
    }
}

/// HTTP on one connection.
struct Http {
    router: TowerToHyperService<Router>,
    caller: Caller,
    stop: CancellationToken,
    done: CancellationToken,
}

impl Http {
    async fn serve_http1<I: AsyncRead + AsyncWrite + Unpin>(self, io: I) -> hyper::Result<()> {
        let turns = Turns::begin(self.stop.clone());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        let service = service_fn(|request| {
            let (answered, turn) = (self.answer(request), turns.take());
            async move { Ok::<_, Infallible>(turn.with(answered.await?)) }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
        tokio::select! {
            served = &mut connection => return served,
            _ = async { tokio::join!(self.done.cancelled(), turns.over(|| STOP_IDLE)) } => {}
            () = sleep(LIFE) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
    }

    async fn serve_http2<I: AsyncRead + AsyncWrite + Unpin>(self, io: I) -> hyper::Result<()> {
        let activity = Activity::begin();
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_pending_accept_reset_streams(H2_RESETS_PENDING_MAX);
        let service = service_fn(|request| {
            let (answered, in_flight) = (self.answer(request), activity.enter());
            async move { Ok::<_, Infallible>(answered.await?.map(|body| in_flight.with(body))) }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
        tokio::select! {
            served = &mut connection => return served,
            () = activity.abused() => return Ok(()),
            () = activity.idle(PATIENCE) => {}
            () = self.done.cancelled() => {}
            () = sleep(LIFE) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
    }

    fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
        request.extensions_mut().insert(self.caller);
        self.router.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::{credentials::Credentials, ingress::tls, ingress::visitors::Visitors};

    /// A caller, and its connection as it was accepted.
    async fn accepted(tls: Option<&Credentials>) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, peer) = listener.accept().await.unwrap();
        let connection = Connection {
            tcp,
            peer,
            tls: tls.map(|credentials| tls::acceptor([credentials]).unwrap()),
            router: TowerToHyperService::new(Router::new()),
            stop: CancellationToken::new(),
            done: CancellationToken::new(),
            _admitted: Visitors::default().admit(peer.ip(), 1).unwrap(),
        };
        (caller, connection)
    }

    /// Serves a caller that sends `first` and then nothing, and returns what it reads to the end.
    async fn heard(tls: Option<&Credentials>, first: &[u8]) -> String {
        let (mut caller, connection) = accepted(tls).await;
        caller.write_all(first).await.unwrap();
        serve(connection).await;
        let mut heard = Vec::new();
        caller.read_to_end(&mut heard).await.unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Serves to the end, which is near: nobody waits for it where time is only counted.
    async fn serve(connection: Connection) {
        timeout(PATIENCE * 4, connection.serve()).await.unwrap();
    }

    fn certificate() -> Credentials {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Credentials::new(vec![made.cert.der().clone()], made.signing_key.serialize_der().try_into().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_shown_out() {
        let certificate = certificate();
        assert_eq!(heard(None, b"").await, "");
        assert_eq!(heard(None, b"GET / HTTP/1.1\r\nhost: ").await, "");
        assert_eq!(heard(Some(&certificate), b"").await, "");
        assert_eq!(heard(Some(&certificate), &[22, 3, 1]).await, "");
        assert!(heard(None, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test(start_paused = true)]
    async fn who_agrees_on_http2_and_does_not_speak_it_is_shown_out() {
        let certificate = certificate();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.chain()[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        let (caller, connection) = accepted(Some(&certificate)).await;
        let silent = async {
            let name = "localhost".try_into().unwrap();
            let mut tls = TlsConnector::from(Arc::new(tls)).connect(name, caller).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(ALPN_HTTP2));
            // Whatever it hears before, the end comes.
            let _ = tls.read_to_end(&mut Vec::new()).await;
        };
        tokio::join!(serve(connection), silent);
    }
}
