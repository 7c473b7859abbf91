//! One visitor's connection: what it is, and HTTP on it.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use adit_core::http::head::Entry;
use bytes::BytesMut;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    activity::{Activity, Lasting},
    arrival::Arrival,
    entries::Terms,
    lingering::Lingering,
    proxy_protocol::{self, Source},
    rewound::Rewound,
    seat::Seat,
    service::{Ingress, VisitorBody},
    stall::Impatient,
    turns::{Taken, Turns},
    visitors::Admitted,
};
use crate::credentials::ALPN_HTTP2;

/// How much of an upload over HTTP/2 may be ahead of its reader, per stream and per connection: hyper's 1 MiB
/// for a whole connection would let one slow upload stop all others.
const H2_STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// How many requests may be taken back before we have looked at them (CVE-2023-44487), and how many of a visitor's
/// mistakes are answered with a reset (CVE-2025-8671), before its connection ends.
const H2_RESETS_PENDING_MAX: usize = 20;
const H2_ERRORS_MAX: usize = 256;

/// How often an HTTP/2 connection is pinged, and how long the answer may take.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// What an HTTP/2 connection starts with (RFC 9113 §3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many requests one HTTP/2 connection may have in flight.
const H2_STREAMS_MAX: u32 = 256;

/// How much is read to see what a connection is: the head of most requests.
const FIRST_READ_BYTES: usize = 1024;

/// Serves one connection until it ends, or until `drain` is cancelled and what is in flight on it is over; a visitor that
/// does not know yet has a while to ask once more. It has its `place` among all connections as long as it, or what it is
/// switched to, lasts.
pub async fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    terms: Arc<Terms>,
    ingress: Arc<Ingress>,
    drain: CancellationToken,
    place: OwnedSemaphorePermit,
) {
    let turns = Turns::begin(drain.clone());
    let opened = tokio::select! {
        opened = open(tcp, peer, &terms, &ingress) => opened,
        // A connection that shows nothing of a request by then is not in flight.
        () = turns.over(|| ingress.timeouts().drain_idle) => return,
    };
    let Opened { visitor, version, io, admitted } = match opened {
        Ok(opened) => opened,
        Err(error) => return tracing::debug!(%peer, %error, "no request came"),
    };
    let Source { address: visitor, is_known } = visitor;
    // What a header of the visitor says is no word of the proxy that the visitor came through.
    let entry = Entry { visitor, scheme: terms.scheme(), trusted: is_known && terms.trusts(visitor.ip()) };
    let arrival = Arrival::new(entry, &terms);
    let http = Http { arrival, ingress, drain, turns, seat: Seat::new(place, admitted) };
    let served = match io {
        OpenedIo::Plain(io) => http.serve(version, io).await,
        OpenedIo::Tls(io) => http.serve(version, *io).await,
    };
    if let Err(error) = served {
        tracing::debug!(%visitor, %error, "connection ended");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// A connection on which a visitor has begun to speak HTTP.
struct Opened {
    visitor: Source,
    version: Version,
    io: OpenedIo,
    /// None for a trusted proxy, which stands for many.
    admitted: Option<Admitted>,
}

enum OpenedIo {
    Plain(Rewound<Tcp>),
    Tls(Box<Rewound<TlsStream<Rewound<Tcp>>>>),
}

/// A socket that breaks when the visitor reads nothing of what is written to it.
type Tcp = Impatient<TcpStream>;

async fn open(tcp: TcpStream, peer: SocketAddr, terms: &Terms, ingress: &Ingress) -> io::Result<Opened> {
    let timeouts = ingress.timeouts();
    let mut tcp = Impatient::new(tcp, timeouts.write_idle);
    let until = Instant::now() + timeouts.handshake;
    let (mut visitor, mut ahead) = (Source { address: peer, is_known: true }, BytesMut::new());
    if terms.proxy_protocol() {
        if !terms.trusts(peer.ip()) {
            return Err(io::Error::other("it is none of the trusted proxies"));
        }
        (visitor, ahead) = by(until, proxy_protocol::read(&mut tcp, peer)).await?;
    }
    let address = visitor.address;
    let admitted = if terms.trusts(address.ip()) { None } else { Some(admit(address, ingress)?) };
    let Some(tls) = terms.tls() else {
        let version = by(Instant::now() + timeouts.request_head, version(&mut tcp, &mut ahead)).await?;
        return Ok(Opened { visitor, version, io: OpenedIo::Plain(Rewound::new(ahead.freeze(), tcp)), admitted });
    };
    // Boxed: it would make the future of every plain connection many times as large.
    let mut tls = by(until, Box::pin(tls.accept(Rewound::new(ahead.freeze(), tcp)))).await?;
    // hyper has no deadline of its own before the preface of HTTP/2 is there.
    let mut ahead = BytesMut::new();
    by(Instant::now() + timeouts.request_head, version(&mut tls, &mut ahead)).await?;
    // RFC 9113 §3.2: over TLS it is the negotiation that decides.
    let negotiated = tls.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
    let version = if negotiated { Version::Http2 } else { Version::Http1 };
    Ok(Opened { visitor, version, io: OpenedIo::Tls(Box::new(Rewound::new(ahead.freeze(), tls))), admitted })
}

fn admit(visitor: SocketAddr, ingress: &Ingress) -> io::Result<Admitted> {
    ingress.admit(visitor.ip()).ok_or_else(|| io::Error::other("it has as many connections as it may have"))
}

async fn by<T>(deadline: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(deadline, work).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

/// Reads until HTTP/2 can be told from HTTP/1.1, or to the end. What was `read` before is looked at first.
async fn version(io: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> io::Result<Version> {
    loop {
        let start = &read[..read.len().min(H2_PREFACE.len())];
        if start == H2_PREFACE {
            return Ok(Version::Http2);
        }
        if !H2_PREFACE.starts_with(start) {
            return Ok(Version::Http1);
        }
        read.reserve(FIRST_READ_BYTES);
        if io.read_buf(read).await? == 0 {
            return Ok(Version::Http1);
        }
    }
}

/// HTTP on one connection.
struct Http {
    arrival: Arrival,
    ingress: Arc<Ingress>,
    drain: CancellationToken,
    /// Of HTTP/1.1.
    turns: Turns,
    seat: Seat,
}

impl Http {
    async fn serve<I>(self, version: Version, io: I) -> hyper::Result<()>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match version {
            Version::Http1 => self.serve_http1(io).await,
            Version::Http2 => self.serve_http2(io).await,
        }
    }

    async fn serve_http1<I>(self, io: I) -> hyper::Result<()>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = self.ingress.limits();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.ingress.timeouts().request_head)
            // hyper answers 431 itself beyond these; a little over the limits it is us, who say more.
            .max_headers(limits.head_frame_fields_max())
            .max_buf_size(limits.head_frame_bytes_max());
        let turns = &self.turns;
        let mut connection = pin!(http.serve_connection(TokioIo::new(io), self.service()).with_upgrades());
        tokio::select! {
            served = &mut connection => return served,
            () = turns.over(|| self.ingress.timeouts().drain_idle) => {}
        }
        if turns.are_untouched() {
            // hyper would wait for the rest of a head that has begun.
            return Ok(());
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }

    async fn serve_http2<I>(self, io: I) -> hyper::Result<()>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = self.ingress.limits();
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.head_list_bytes_max()).unwrap_or(u32::MAX))
            .max_concurrent_streams(H2_STREAMS_MAX)
            .enable_connect_protocol()
            .max_pending_accept_reset_streams(H2_RESETS_PENDING_MAX)
            .max_local_error_reset_streams(H2_ERRORS_MAX)
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(H2_KEEP_ALIVE)
            .keep_alive_timeout(H2_KEEP_ALIVE);
        let activity = Activity::begin();
        let timeouts = self.ingress.timeouts();
        let mut connection =
            pin!(http.serve_connection(TokioIo::new(Lingering::new(io)), self.counted_service(&activity)));
        let idle = tokio::select! {
            served = &mut connection => return served,
            // What is in flight on it is not wanted any more.
            () = activity.abused() => {
                tracing::debug!(visitor = %self.arrival.entry.visitor, "too many requests were taken back");
                return Ok(());
            }
            () = activity.idle(timeouts.visitor_idle) => true,
            () = self.drain.cancelled() => false,
        };
        connection.as_mut().graceful_shutdown();
        if idle {
            // Nothing is in flight: a visitor that goes on as before has nothing to wait for.
            return timeout(timeouts.visitor_idle, connection).await.unwrap_or(Ok(()));
        }
        connection.await
    }

    fn counted_service(
        &self,
        activity: &Activity,
    ) -> impl Service<Request<Incoming>, Response = Response<Lasting<VisitorBody>>, Error = Infallible, Future: Send> + use<>
    {
        let (service, activity) =
            (self.service_of(self.seat.clone().with_activity(activity.clone())), activity.clone());
        service_fn(move |request| {
            let (answered, in_flight) = (service.call(request), activity.enter());
            async move { Ok(answered.await?.map(|body| in_flight.with(body))) }
        })
    }

    fn service(
        &self,
    ) -> impl Service<Request<Incoming>, Response = Response<Taken<VisitorBody>>, Error = Infallible, Future: Send> + use<>
    {
        let (service, turns) = (self.service_of(self.seat.clone()), self.turns.clone());
        service_fn(move |request| {
            let (answered, turn) = (service.call(request), turns.take());
            async move { Ok(turn.with(answered.await?)) }
        })
    }

    fn service_of(
        &self,
        seat: Seat,
    ) -> impl Service<Request<Incoming>, Response = Response<VisitorBody>, Error = Infallible, Future: Send> + use<>
    {
        let (ingress, arrival) = (Arc::clone(&self.ingress), Arc::new(self.arrival.clone()));
        service_fn(move |request| {
            let (ingress, arrival, seat) = (Arc::clone(&ingress), Arc::clone(&arrival), seat.clone());
            async move { Ok(ingress.call(request, &arrival, &seat).await) }
        })
    }
}
