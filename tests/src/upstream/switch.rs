//! The upstream's end of a switch to WebSocket.

use adit_node::egress::websocket;
use http::{Method, Request, Response, Version};
use hyper::{body::Incoming, ext::Protocol, upgrade::Upgraded};
use hyper_util::rt::TokioIo;

use super::response;
use crate::body::{self, Body};

/// A connection after it was switched.
pub type Connection = TokioIo<Upgraded>;

pub(super) async fn switch<H, F, C, G>(mut request: Request<Incoming>, answer: H, converse: C) -> Response<Body>
where
    H: FnOnce(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
    C: FnOnce(Connection) -> G + Send + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    let connection = hyper::upgrade::on(&mut request);
    let agreed = match agree(&request) {
        Some(agreed) => agreed,
        None => return answer(request).await,
    };
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection, which the upstream owns")]
    tokio::spawn(async move {
        if let Ok(connection) = connection.await {
            converse(TokioIo::new(connection)).await;
        }
    });
    agreed
}

fn agree(request: &Request<Incoming>) -> Option<Response<Body>> {
    let fields = request.headers();
    if request.version() == Version::HTTP_2 {
        let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
        return (request.method() == Method::CONNECT && protocol == Some("websocket"))
            .then(|| Response::new(body::empty()));
    }
    let asked = fields.get("upgrade").is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = fields.get("sec-websocket-key").filter(|_| asked && request.method() == Method::GET)?;
    let mut agreed = response(101, &[("connection", "upgrade"), ("upgrade", "websocket")], body::empty());
    agreed.headers_mut().insert("sec-websocket-accept", websocket::accept(key)?);
    Some(agreed)
}
