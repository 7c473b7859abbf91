//! What leaves a node for an upstream or a visitor: one message, and the one that the head says.

use std::{cell::RefCell, pin::pin};

use adit_core::{
    http::head,
    wire::exchange::{BodyKind, ReplyHead, RequestHead, Upgrade},
};
use adit_node::egress::request::{Address, RequestBody};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, client, ext::ReasonPhrase, server, service::service_fn};
use hyper_util::rt::TokioIo;

use crate::http1::{self, BUFFER_BYTES, Message, SMUGGLED, Sent};

/// The longest body that is sent as a whole.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Sends a request to an HTTP/1.1 server as an upstream's connection does, and checks that what comes out is that one
/// request.
///
/// # Panics
///
/// When it is not.
pub fn request(head: &RequestHead) {
    let Ok((address, request)) = Address::split(head.clone(), RequestBody::empty()) else { return };
    let mut request = request.map(|_| sent(head.body));
    let url = "http://upstream.example:3000".parse().expect("a server");
    if address.write(&mut request, &url, false).is_err() {
        return;
    }
    let (near, mut far) = tokio::io::duplex(BUFFER_BYTES);
    let limit = usize::try_from(BODY_BYTES_MAX).unwrap() * 4;
    let wire = {
        let refused = RefCell::new(false);
        let exchange = async {
            let (mut sender, connection) =
                client::conn::http1::handshake(TokioIo::new(near)).await.expect("a connection");
            let ask = async {
                // Kept until the end: hyper closes a connection that nobody can ask on.
                let answer = sender.send_request(request).await;
                *refused.borrow_mut() = answer.is_err();
            };
            tokio::join!(ask, async { drop(connection.await) });
        };
        let wire = http1::drive(&mut [pin!(exchange)], &mut far, limit);
        if wire.is_empty() {
            // hyper does not send it.
            return;
        }
        wire
    };
    let message = Message::read(&wire);
    let [method, target, version] = &message.start;
    assert_eq!(version, b"HTTP/1.1");
    let switches_by_get = head.upgrade == Some(Upgrade::WebSocket);
    assert_eq!(method, if switches_by_get { b"GET" } else { head.method.as_str().as_bytes() });
    assert_eq!(target, head.target.as_str().as_bytes());
    let hosts: Vec<_> = message.headers.get_all(header::HOST).into_iter().collect();
    assert_eq!(hosts.len(), 1, "{hosts:?}");
    if !head.authority.is_empty() {
        assert_eq!(hosts[0].as_bytes(), head.authority.as_bytes());
    }
    same_fields(&head.headers, &message.headers, &[header::COOKIE]);
    ends_where_it_should(&message, &wire[message.length..], head.body);
}

/// Answers a request with this method as an entry does, and checks that a visitor sees one response, the one that the
/// head says.
///
/// # Panics
///
/// When it does not.
pub fn response(head: &ReplyHead, body: BodyKind, method: &Method) {
    if *method == Method::CONNECT || head.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let (near, mut far) = tokio::io::duplex(BUFFER_BYTES);
    http1::put(&mut far, format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
    let answer = |_: Request<Incoming>| {
        // A response that is about another body says how long that is.
        let length = head::would_be_length(&head.headers).filter(|_| head.status == StatusCode::NOT_MODIFIED);
        let mut response = Response::new(length.map_or_else(|| sent(body), |length| Sent::new(Some(length))));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers.clone();
        let said = head.reason.clone().and_then(|reason| ReasonPhrase::try_from(reason).ok());
        response.extensions_mut().insert(said.unwrap_or(ReasonPhrase::from_static(b"")));
        async { Ok::<_, std::convert::Infallible>(response) }
    };
    let mut http = server::conn::http1::Builder::new();
    let connection = http.header_read_timeout(None).serve_connection(TokioIo::new(near), service_fn(answer));
    let serve = async { drop(connection.await) };
    let limit = usize::try_from(BODY_BYTES_MAX).unwrap() * 4;
    let wire = http1::drive(&mut [pin!(serve)], &mut far, limit);
    if wire.is_empty() {
        return;
    }
    let message = Message::read(&wire);
    let [version, status, reason] = &message.start;
    assert_eq!(version, b"HTTP/1.1");
    assert_eq!(status, head.status.as_str().as_bytes());
    assert_eq!(reason, &head.reason.clone().unwrap_or_default());
    // hyper leaves out `Trailer` where none can come, and that a body which is not there would be empty.
    let would_be_empty = head.status == StatusCode::NOT_MODIFIED && head::would_be_length(&head.headers) == Some(0);
    let left_out = if would_be_empty { &[header::TRAILER, header::CONTENT_LENGTH][..] } else { &[header::TRAILER] };
    same_fields(&head.headers, &message.headers, left_out);
    let without = *method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304);
    let rest = &wire[message.length..];
    if without {
        assert!(rest.is_empty(), "a body that must not be there: {}", rest.escape_ascii());
    } else {
        ends_where_it_should(&message, rest, body);
    }
}

fn sent(body: BodyKind) -> Sent {
    Sent::new(match body {
        BodyKind::None => Some(0),
        BodyKind::Length(length) => Some(length),
        BodyKind::Stream => None,
    })
}

/// Every field that crosses arrives with all its values in their order, and what speaks of the connection is not
/// among them.
fn same_fields(expected: &HeaderMap, seen: &HeaderMap, but: &[http::HeaderName]) {
    for name in expected.keys() {
        if but.contains(name) {
            continue;
        }
        let values = |map: &HeaderMap| {
            map.get_all(name).into_iter().map(|value| value.as_bytes().trim_ascii().to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(values(seen), values(expected), "{name}");
    }
    for name in seen.keys() {
        let ours = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
            header::UPGRADE,
            header::DATE,
            header::SEC_WEBSOCKET_KEY,
        ];
        assert!(expected.contains_key(name) || ours.contains(name), "{name} came from nowhere");
    }
}

/// The body takes all that follows the head, and is as long as it was said to be.
fn ends_where_it_should(message: &Message, rest: &[u8], body: BodyKind) {
    let expected = match body {
        BodyKind::None => 0,
        BodyKind::Length(length) if length > BODY_BYTES_MAX => {
            let said = message.headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok());
            assert_eq!(said, Some(length.to_string().as_str()));
            return;
        }
        BodyKind::Length(length) => usize::try_from(length).unwrap(),
        BodyKind::Stream => SMUGGLED.len(),
    };
    let (framed, content) = message.body(rest).expect("the whole body");
    assert_eq!(content, expected);
    assert_eq!(framed, rest.len(), "behind the message: {}", rest[framed..].escape_ascii());
}
