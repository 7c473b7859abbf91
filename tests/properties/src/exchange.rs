//! What an exchange stream carries: heads and body frames from a hostile peer.

use adit_core::{
    http::{head, headers},
    limits::Limits,
    route,
    wire::exchange::{self, BodyFrame, Reply, RequestHead, Upgrade},
};
use bytes::Bytes;
use http::{HeaderMap, Method, header};

use crate::{memory, outgoing, stable};

/// Fields are counted up to 4,096 before the limit is looked at, 32 bytes each; then they go into a map.
const ALLOCATED_BYTES_MAX: usize = 512 * 1024;

/// A request head: decodes within its memory and comes back; one that is accepted goes out to an upstream as one
/// request that says the same.
pub fn request(data: &[u8]) {
    let limits = Limits::default();
    let Some(frame) = frame(data, &limits) else { return };
    let decoded = memory::within(ALLOCATED_BYTES_MAX, || exchange::decode_request(&frame, &limits));
    let Ok(head) = decoded else { return };
    assert!(head.headers.len() <= limits.head_frame_fields_max());
    let head = stable::comes_back(
        &head,
        limits.head_frame_bytes_max(),
        |head, out| exchange::encode_request(head, &limits, out),
        |frame| exchange::decode_request(frame, &limits),
    );
    accepted(head);
}

/// Takes a head in as the answering side does, and checks what it then is.
///
/// # Panics
///
/// When it is not.
pub fn accepted(mut head: RequestHead) {
    if head::from_asker(&mut head).is_err() {
        return;
    }
    let upgrade = (head.upgrade == Some(Upgrade::Other)).then_some(header::UPGRADE);
    assert_no_hop_by_hop(&head.headers, upgrade.as_ref());
    assert!(!head.headers.contains_key(header::HOST));
    let Ok((host, path)) = route::destination(&head) else { return };
    assert!(head.target == "*" || path.starts_with('/'), "{path:?}");
    assert!(host.name.len() <= head.authority.len());
    if head.upgrade == Some(Upgrade::Connect) {
        return;
    }
    outgoing::request(&head);
}

/// A reply: decodes within its memory and comes back; one that is accepted goes out to a visitor as one response that
/// says the same. The first byte chooses the method of the request.
pub fn reply(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let limits = Limits::default();
    let Some(frame) = frame(data, &limits) else { return };
    let decoded = memory::within(ALLOCATED_BYTES_MAX, || exchange::decode_reply(&frame, &limits));
    let Ok(reply) = decoded else { return };
    let reply = stable::comes_back(
        &reply,
        limits.head_frame_bytes_max(),
        |reply, out| exchange::encode_reply(reply, &limits, out),
        |frame| exchange::decode_reply(frame, &limits),
    );
    let method = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS][usize::from(choice % 4)].clone();
    if let Reply::Head(mut head, body) = reply
        && head::from_answerer(&mut head, body, &method).is_ok()
    {
        assert_no_hop_by_hop(&head.headers, None);
        assert!(!head.headers.contains_key(headers::ADIT_ERROR), "only adit says this");
        outgoing::response(&head, body, &method);
    }
}

/// A body frame: decodes within its memory and comes back, and its trailers hold nothing that belongs into a head.
pub fn body_frame(data: &[u8]) {
    let limits = Limits::default();
    let Some(frame) = frame(data, &limits) else { return };
    let decoded = memory::within(ALLOCATED_BYTES_MAX, || exchange::decode_body_frame(&frame, &limits));
    let Ok(frame) = decoded else { return };
    let frame = stable::comes_back(
        &frame,
        limits.head_frame_bytes_max(),
        |frame, out| exchange::encode_body_frame(frame, &limits, out),
        |frame| exchange::decode_body_frame(frame, &limits),
    );
    if let BodyFrame::Trailers(mut trailers) = frame {
        headers::strip_forbidden_trailers(&mut trailers);
        assert_no_hop_by_hop(&trailers, None);
        for name in [header::CONTENT_LENGTH, header::HOST, header::SET_COOKIE, headers::ADIT_ERROR] {
            assert!(!trailers.contains_key(&name), "{name} in trailers");
        }
    }
}

/// A frame of an exchange, unless it is longer than any that is read.
fn frame(data: &[u8], limits: &Limits) -> Option<Bytes> {
    (data.len() <= limits.head_frame_bytes_max()).then(|| Bytes::copy_from_slice(data))
}

fn assert_no_hop_by_hop(headers: &HeaderMap, but: Option<&http::HeaderName>) {
    let names = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        http::HeaderName::from_static("keep-alive"),
        http::HeaderName::from_static("proxy-connection"),
        http::HeaderName::from_static("http2-settings"),
    ];
    for name in names {
        assert!(Some(&name) == but || !headers.contains_key(&name), "{name} crosses");
    }
    assert!(headers.get_all(header::TE).into_iter().all(|te| te == "trailers"), "more than trailers in TE");
}
