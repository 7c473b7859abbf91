//! Where HTTP comes in.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    MESSAGE_BYTES_MAX,
    message::{FromClient, FromServer, fields_from, fields_into},
    tunnel::{AskError, Tunnels},
};

/// Serves visitors for as long as it is polled.
///
/// # Errors
///
/// When the system refuses to accept.
pub async fn serve(entry: TcpListener, tunnels: Arc<Tunnels>) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = tokio::select! {
            accepted = entry.accept() => accepted?,
            Some(_) = connections.join_next() => continue,
        };
        tcp.set_nodelay(true)?;
        connections.spawn(serve_connection(tcp, Arc::clone(&tunnels)));
    }
}

async fn serve_connection(tcp: TcpStream, tunnels: Arc<Tunnels>) {
    let answer = service_fn(|request| {
        let tunnels = Arc::clone(&tunnels);
        async move { Ok::<_, Infallible>(answer(request, &tunnels).await) }
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(tcp), answer).await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(request: Request<Incoming>, tunnels: &Tunnels) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MESSAGE_BYTES_MAX / 2).collect().await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off");
    };
    let mut fields = fields_from(&head.headers);
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority()
    {
        let value = Bytes::copy_from_slice(authority.as_str().as_bytes());
        fields.push(crate::message::Field { name: "host".to_owned(), value });
    }
    let message = FromServer {
        request_id: 0,
        method: head.method.as_str().to_owned(),
        target: head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        fields,
        body: body.to_bytes(),
    };
    match tunnels.ask(message).await {
        Ok(response) => response_from(response),
        Err(error @ (AskError::NoClient | AskError::Lost)) => refusal(StatusCode::BAD_GATEWAY, &error.to_string()),
        Err(error @ AskError::Timeout) => refusal(StatusCode::GATEWAY_TIMEOUT, &error.to_string()),
    }
}

fn response_from(message: FromClient) -> Response<Full<Bytes>> {
    let status = u16::try_from(message.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let Some(status) = status else {
        return refusal(StatusCode::BAD_GATEWAY, "the client sent no status");
    };
    let mut response = Response::new(Full::new(message.body));
    *response.status_mut() = status;
    fields_into(message.fields, response.headers_mut());
    response
}

fn refusal(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{why}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
