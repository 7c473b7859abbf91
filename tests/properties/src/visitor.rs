//! Whatever a visitor sends over HTTP/1.1.

use std::{cell::RefCell, pin::pin};

use adit_core::{
    http::{head, head::Entry},
    limits::Limits,
    wire::exchange::{self, RequestHead, Scheme},
};
use adit_node::body;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::TokioIo;

use crate::{
    exchange::accepted,
    http1::{self, BUFFER_BYTES, Sent},
    stable,
};

/// Bytes on a visitor's connection: a head that an entry accepts crosses the tunnel as it is, and leaves for an upstream
/// as one request that says the same.
pub fn visitor(data: &[u8]) {
    if data.len() > BUFFER_BYTES / 2 {
        return;
    }
    for head in heads(data) {
        let limits = Limits::default();
        let head = stable::comes_back(
            &head,
            limits.head_frame_bytes_max(),
            |head, out| exchange::encode_request(head, &limits, out),
            |frame| exchange::decode_request(frame, &limits),
        );
        let mut again = head.clone();
        head::from_asker(&mut again).expect("what an entry accepts, the other end accepts");
        assert_eq!(again, head, "the other end sees another request");
        accepted(head);
    }
}

/// Returns the heads of all requests that an entry accepts, as hyper reads them one after the other.
fn heads(data: &[u8]) -> Vec<RequestHead> {
    let heads = RefCell::new(Vec::new());
    let answer = |request: Request<Incoming>| {
        let (parts, mut body) = request.into_parts();
        let entry = Entry { visitor: ([192, 0, 2, 1], 9).into(), scheme: Scheme::Http, trusted: false };
        let made = || HeaderValue::from_static("made");
        let kind = body::kind(&body);
        let head = head::from_visitor(parts, kind, entry, &Limits::default(), made, || [1; 24]);
        let close = head.is_err();
        heads.borrow_mut().extend(head);
        async move {
            while let Some(Ok(_)) = std::future::poll_fn(|cx| pin!(&mut body).poll_frame(cx)).await {}
            let mut response = Response::new(Sent::new(Some(0)));
            if close {
                response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    };
    let (near, mut far) = tokio::io::duplex(BUFFER_BYTES);
    http1::put(&mut far, data);
    let limits = Limits::default();
    let mut http = Builder::new();
    // As an entry has it, but for the clock.
    http.header_read_timeout(None)
        .max_headers(limits.head_frame_fields_max())
        .max_buf_size(limits.head_frame_bytes_max());
    let connection = http.serve_connection(TokioIo::new(near), service_fn(answer));
    let serve = async { drop(connection.await) };
    http1::drive(&mut [pin!(serve)], &mut far, BUFFER_BYTES);
    heads.into_inner()
}
