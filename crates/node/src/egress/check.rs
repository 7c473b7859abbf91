//! Asks a server how it is.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use http::{HeaderValue, Request, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::{
    connection,
    request::{Address, RequestBody},
    server::{NotSent, Reuse, Server, ServerError},
};
use crate::settings::HealthCheck;

/// How much of an answer is read to keep the connection; a longer one is cut off.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a check calls itself.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("adit-health/", env!("CARGO_PKG_VERSION")));

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("check failed: {0}")]
    Server(ServerError),
    #[error("check failed: no answer within {0:?}")]
    Late(Duration),
    #[error("check failed: it answered {0}")]
    Status(StatusCode),
    #[error("check failed: {0}")]
    Broken(adit_core::failure::Failure),
}

/// Checks a server for ever, starting at once.
pub async fn watch(server: Arc<Server>, check: HealthCheck) {
    let address = Address::of_server(check.path);
    loop {
        let asked = timeout(check.timeout, ask(&server, &address)).await;
        server.checked(asked.unwrap_or(Err(CheckError::Late(check.timeout))));
        // Jitter, so that the nodes that check a server do not do it at the same time.
        sleep(check.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

async fn ask(server: &Server, address: &Address) -> Result<(), CheckError> {
    let asked = match server.exchange(address, question(), Reuse::Any).await {
        // A kept connection may be closed at any time (RFC 9112 §9.5), which says nothing of the server.
        Err(NotSent::Lost { reused: true, .. }) => server.exchange(address, question(), Reuse::None).await,
        asked => asked,
    };
    let answered = asked.map_err(|error| match error {
        NotSent::Malformed => CheckError::Broken(adit_core::failure::Failure::BadRequest),
        NotSent::Unswitchable => CheckError::Broken(adit_core::failure::Failure::UpstreamUnswitchable),
        NotSent::Unsent(_, error) => CheckError::Server(error),
        NotSent::Lost { error, .. } => CheckError::Broken(connection::failure(&error)),
    })?;
    let status = answered.response.status();
    if read_to_end(answered.response.into_body()).await {
        server.give_back(answered.sender);
    }
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(CheckError::Status(status)) }
}

fn question() -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::empty());
    request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
    request
}

/// Returns whether the end came, so that the connection can be used again.
async fn read_to_end(mut body: Incoming) -> bool {
    let mut read = 0;
    while read <= ANSWER_BYTES_MAX {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, bytes::Bytes::len),
        }
    }
    false
}
