//! The loops behind an upstream.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::counts::Counts;
use crate::body::Body;

/// More than adit lets through.
const HEAD_FIELDS_MAX: usize = 512;
const HEAD_BYTES_MAX: u32 = 1024 * 1024;

/// More than any test asks at once.
const H2_STREAMS_MAX: u32 = 4_096;

/// Serves HTTP/1.1 and HTTP/2, in plain text or over TLS.
pub(super) async fn serve<H, F>(tcp: TcpListener, tls: Option<TlsAcceptor>, answer: H, counts: Counts)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let converse = {
        let counts = counts.clone();
        move |tcp: TcpStream| {
            let (tls, answer, counts) = (tls.clone(), answer.clone(), counts.clone());
            async move {
                match tls {
                    None => http(tcp, answer, counts).await,
                    Some(tls) => {
                        if let Ok(tls) = tls.accept(tcp).await {
                            http(tls, answer, counts).await;
                        }
                    }
                }
            }
        }
    };
    raw(tcp, converse, counts).await;
}

/// Does with every connection what `converse` does.
pub(super) async fn raw<H, F>(tcp: TcpListener, converse: H, counts: Counts)
where
    H: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = tcp.accept() => {
                let (tcp, _) = accepted.expect("a connection");
                tcp.set_nodelay(true).expect("a socket that is open");
                let (connected, conversation) = (counts.connected(), converse(tcp));
                connections.spawn(async move {
                    conversation.await;
                    drop(connected);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn http<T, H, F>(io: T, answer: H, counts: Counts)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let unanswered = counts.request(&request);
        let response = answer(request);
        async move {
            let response = response.await;
            unanswered.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_headers(HEAD_FIELDS_MAX);
    builder.http2().max_concurrent_streams(H2_STREAMS_MAX).max_header_list_size(HEAD_BYTES_MAX);
    // A peer that breaks off is what many tests are about.
    let _ = builder.serve_connection(TokioIo::new(io), service).await;
}
