//! The opening handshake of a WebSocket, which differs between the versions of HTTP (RFC 6455 §4, RFC 8441 §5).
//!
//! HTTP/1.1 has a key and an answer to it; HTTP/2 has extended CONNECT and neither. A visitor and an upstream that
//! speak different versions each get what theirs wants.

use adit_core::{failure::Failure, http::headers, wire::exchange::Upgrade};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};

/// What an answer to a key ends with before it is hashed (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of a handshake, and whose it is.
#[derive(Debug)]
pub struct Handshake {
    /// Absent where a visitor over HTTP/1.1 forgot it: the upstream says what it thinks of that.
    key: Option<HeaderValue>,
    /// Whether the visitor does not know of it, because its version has none.
    ours: bool,
}

impl Handshake {
    /// Takes the key off the fields of a visitor that speaks `version`, or makes one where that has none.
    pub fn of(headers: &mut HeaderMap, version: Version) -> Self {
        let key = headers.remove(header::SEC_WEBSOCKET_KEY);
        if version == Version::HTTP_2 {
            return Self {
                key: HeaderValue::try_from(STANDARD.encode(fastrand::u128(..).to_ne_bytes())).ok(),
                ours: true,
            };
        }
        Self { key, ours: false }
    }

    /// Writes the key for an upstream that speaks HTTP/1.1.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(key) = &self.key {
            headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// Makes of an upstream's answer what it would be over HTTP/1.1, to this visitor's key. One that declines stays as
    /// it is.
    ///
    /// # Errors
    ///
    /// [`Failure::UpstreamProtocol`] when it agrees to something else, and [`Failure::BadRequest`] when the visitor has
    /// sent no key that could be answered.
    pub fn answered<B>(&self, response: &mut Response<B>, over: Version) -> Result<(), Failure> {
        if over == Version::HTTP_2 {
            return self.answered_over_http2(response);
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        if headers::requested_upgrade(response.headers()) != Some(Upgrade::WebSocket) {
            return Err(Failure::UpstreamProtocol);
        }
        if self.ours {
            let answer = response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
            if answer.is_none() || answer != self.key.as_ref().and_then(accept) {
                return Err(Failure::UpstreamProtocol);
            }
        }
        Ok(())
    }

    fn answered_over_http2<B>(&self, response: &mut Response<B>) -> Result<(), Failure> {
        match response.status() {
            StatusCode::OK => {}
            // hyper switches with 200 and nothing else.
            other if other.is_success() => return Err(Failure::UpstreamProtocol),
            _ => return Ok(()),
        }
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        if !self.ours {
            let answer = self.key.as_ref().and_then(accept).ok_or(Failure::BadRequest)?;
            response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, answer);
        }
        Ok(())
    }
}

/// Returns the answer to a key (RFC 6455 §4.2.2).
pub fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let mut sha1 = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key.as_bytes());
    sha1.update(GUID);
    HeaderValue::try_from(STANDARD.encode(sha1.finish())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HeaderValue = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn switched(accept: &str) -> Response<()> {
        let response = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "WebSocket");
        response.header("sec-websocket-accept", accept).body(()).unwrap()
    }

    #[test]
    fn the_answer_to_the_key_of_rfc_6455_is_the_one_of_rfc_6455() {
        assert_eq!(accept(&KEY).unwrap(), ACCEPT);
    }

    #[test]
    fn a_visitor_over_http_1_keeps_its_key_and_gets_its_answer() {
        let mut fields = HeaderMap::from_iter([(header::SEC_WEBSOCKET_KEY, KEY)]);
        let handshake = Handshake::of(&mut fields, Version::HTTP_11);
        assert!(fields.is_empty(), "HTTP/2 has no key");
        handshake.write(&mut fields);
        assert_eq!(fields[header::SEC_WEBSOCKET_KEY], KEY);
        let mut over_http1 = switched("what the upstream says");
        handshake.answered(&mut over_http1, Version::HTTP_11).unwrap();
        assert_eq!(over_http1.headers()[header::SEC_WEBSOCKET_ACCEPT], "what the upstream says");
        let mut over_http2 = Response::new(());
        handshake.answered(&mut over_http2, Version::HTTP_2).unwrap();
        assert_eq!(over_http2.status(), 101);
        assert_eq!(over_http2.headers()[header::SEC_WEBSOCKET_ACCEPT], ACCEPT);
    }

    #[test]
    fn a_visitor_over_http_2_needs_no_key_and_gets_no_answer() {
        let mut fields = HeaderMap::from_iter([(header::SEC_WEBSOCKET_KEY, KEY)]);
        let handshake = Handshake::of(&mut fields, Version::HTTP_2);
        handshake.write(&mut fields);
        let key = fields[header::SEC_WEBSOCKET_KEY].clone();
        assert_ne!(key, KEY);
        assert_eq!(STANDARD.decode(&key).unwrap().len(), 16);
        let mut right = switched(accept(&key).unwrap().to_str().unwrap());
        handshake.answered(&mut right, Version::HTTP_11).unwrap();
        assert!(!right.headers().contains_key(header::SEC_WEBSOCKET_ACCEPT));
        let wrong = handshake.answered(&mut switched(ACCEPT), Version::HTTP_11);
        assert_eq!(wrong, Err(Failure::UpstreamProtocol));
    }

    #[test]
    fn an_upstream_that_agrees_to_something_else_is_at_fault() {
        let handshake = Handshake::of(&mut HeaderMap::new(), Version::HTTP_11);
        let mut other = switched(ACCEPT);
        other.headers_mut().insert("upgrade", HeaderValue::from_static("h2c"));
        assert_eq!(handshake.answered(&mut other, Version::HTTP_11), Err(Failure::UpstreamProtocol));
        let mut strange = Response::builder().status(204).body(()).unwrap();
        assert_eq!(handshake.answered(&mut strange, Version::HTTP_2), Err(Failure::UpstreamProtocol));
        let mut keyless = Response::new(());
        assert_eq!(handshake.answered(&mut keyless, Version::HTTP_2), Err(Failure::BadRequest));
    }

    #[test]
    fn an_upstream_may_decline() {
        let handshake = Handshake::of(&mut HeaderMap::new(), Version::HTTP_2);
        for (status, version) in [(200, Version::HTTP_11), (403, Version::HTTP_11), (403, Version::HTTP_2)] {
            let mut declined = Response::builder().status(status).body(()).unwrap();
            handshake.answered(&mut declined, version).unwrap();
            assert_eq!(declined.status(), status);
        }
    }
}
