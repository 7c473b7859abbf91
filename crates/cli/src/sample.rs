//! A small backend for first steps: shows what arrived, and over which link and stream.

use std::{convert::Infallible, fmt::Write as _, io, net::SocketAddr};

use adit_core::http::headers::ADIT_HOP;
use bytes::Bytes;
use http::{Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{net::TcpListener, task::JoinSet};

/// How much of a request body is read to be counted, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The backend, bound to a port of its own on loopback.
#[derive(Debug)]
pub struct Sample {
    tcp: TcpListener,
}

impl Sample {
    /// Binds a free port.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn bind() -> io::Result<Self> {
        Ok(Self { tcp: TcpListener::bind(("127.0.0.1", 0)).await? })
    }

    /// Returns where it listens.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until dropped.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.tcp.accept() => {
                    let Ok((tcp, _)) = accepted else { continue };
                    connections.spawn(async move {
                        let http = Builder::new(TokioExecutor::new());
                        let served = http.serve_connection(TokioIo::new(tcp), service_fn(answer)).await;
                        if let Err(error) = served {
                            tracing::debug!(error, "connection to the sample ended");
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body_bytes = Limited::new(body, BODY_BYTES_MAX).collect().await.map(|body| body.to_bytes().len());
    let arrived = Arrived { parts: &parts, body_bytes: body_bytes.ok() };
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (content_type, page) = if accept.contains("text/html") {
        ("text/html; charset=utf-8", arrived.html())
    } else {
        ("text/plain; charset=utf-8", arrived.text())
    };
    let mut response = Response::new(Full::new(Bytes::from(page)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    Ok(response)
}

/// What a request looked like when it came out of the tunnel.
struct Arrived<'a> {
    parts: &'a Parts,
    /// `None` for a body that broke off or was too large.
    body_bytes: Option<usize>,
}

impl Arrived<'_> {
    fn text(&self) -> String {
        let (link, stream) = self.hop();
        let mut text = String::from("It came through the tunnel.\n\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "link {link}, stream {stream}\n\n{} {}", self.parts.method, self.parts.uri);
        for (name, value) in self.fields() {
            let _ = writeln!(text, "{name}: {value}");
        }
        let _ = writeln!(text, "\nbody: {}", self.body());
        text
    }

    fn html(&self) -> String {
        let (link, stream) = self.hop();
        let mut rows = String::new();
        for (name, value) in self.fields() {
            let _ = write!(rows, "<tr><th>{}<td>{}", escape(&name), escape(&value));
        }
        let (method, uri) = (escape(self.parts.method.as_str()), escape(&self.parts.uri.to_string()));
        include_str!("sample.html")
            .replace("{{link}}", &escape(link))
            .replace("{{stream}}", &escape(stream))
            .replace("{{body}}", &self.body())
            .replace("{{request}}", &format!("{method} {uri}"))
            .replace("{{rows}}", &rows)
    }

    /// The link and the stream that the request came over, as the egress wrote them.
    fn hop(&self) -> (&str, &str) {
        let hop = self.parts.headers.get_all(ADIT_HOP).iter().next_back().and_then(|hop| hop.to_str().ok());
        let part = |name: &str| hop?.split(';').find_map(|part| part.strip_prefix(name));
        (part("link=").unwrap_or("none"), part("stream=").unwrap_or("none"))
    }

    fn fields(&self) -> impl Iterator<Item = (String, String)> {
        let fields = self.parts.headers.iter();
        fields.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    }

    fn body(&self) -> String {
        self.body_bytes.map_or_else(|| "incomplete".to_owned(), |bytes| format!("{bytes} bytes"))
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
