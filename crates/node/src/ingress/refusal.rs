//! The response that adit itself makes: a failure, told in the form that the visitor can read.

use adit_core::{failure::Failure, http::headers::ADIT_ERROR};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};

/// How long a visitor should wait before it tries again after 503, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";

/// What of a request decides how its refusal looks, kept apart from the head that goes across.
#[derive(Clone, Debug)]
pub struct Asked {
    version: Version,
    accept: Option<HeaderValue>,
    is_grpc: bool,
    is_head: bool,
}

impl Asked {
    /// Looks at a request.
    pub fn of<B>(request: &Request<B>) -> Self {
        let (version, headers) = (request.version(), request.headers());
        Self {
            version,
            accept: headers.get(header::ACCEPT).cloned(),
            is_grpc: is_grpc(headers),
            is_head: request.method() == Method::HEAD,
        }
    }

    /// Returns the version of HTTP that the visitor speaks.
    pub fn version(&self) -> Version {
        self.version
    }
}

/// Returns the response for a failure, with a body in the form that `Accept` asks for: JSON, HTML or text.
///
/// It holds the status, the code and the request id; never an address of anything inside. gRPC gets what its clients
/// read: 200 and the failure as `grpc-status`, without a body. `closes` ends an HTTP/1 connection with it.
pub fn response(failure: Failure, asked: &Asked, request_id: Option<&HeaderValue>, closes: bool) -> Response<Bytes> {
    let mut response = if asked.is_grpc { grpc(failure) } else { plain(failure, asked, request_id) };
    let headers = response.headers_mut();
    headers.insert(ADIT_ERROR, HeaderValue::from_static(failure.code()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if failure.status() == 503 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if let Some(id) = request_id {
        headers.insert(adit_core::http::headers::X_REQUEST_ID, id.clone());
    }
    if closes && asked.version <= Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if asked.is_head && asked.version == Version::HTTP_2 {
        // RFC 9110 §9.3.2: over HTTP/2 hyper sends what it is given.
        let length = std::mem::take(response.body_mut()).len();
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn plain(failure: Failure, asked: &Asked, request_id: Option<&HeaderValue>) -> Response<Bytes> {
    let id = request_id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let (content_type, body) = body(failure, form(asked.accept.as_ref()), id);
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response that is nothing but trailers, which stand in its head.
fn grpc(failure: Failure) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(grpc_status(failure.status())));
    // Our messages are plain ASCII without a percent sign: there is nothing to escape in them.
    if let Ok(message) = HeaderValue::try_from(failure.to_string()) {
        headers.insert("grpc-message", message);
    }
    response
}

/// The status that gRPC gives to one of HTTP (grpc/doc/http-grpc-status-mapping.md), and to a message over a limit.
fn grpc_status(status: u16) -> u16 {
    const UNKNOWN: u16 = 2;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        413 | 414 | 431 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    // `application/grpc-web` is something else: its trailers stand in the body.
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Html,
}

/// The first of the media types in `Accept` that we can make. Quality values are not weighed.
fn form(accept: Option<&HeaderValue>) -> Form {
    let accepted = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
    for media in accepted.split(',') {
        match media.split(';').next().unwrap_or_default().trim() {
            "text/html" => return Form::Html,
            "application/json" | "application/problem+json" => return Form::Json,
            "text/plain" | "text/*" | "*/*" => return Form::Text,
            _ => {}
        }
    }
    Form::Text
}

fn body(failure: Failure, form: Form, id: &str) -> (&'static str, String) {
    let (status, code) = (failure.status(), failure.code());
    // `failure` and `code` are ours, and an id that is kept has neither quotes nor angle brackets in it.
    match form {
        Form::Text => ("text/plain; charset=utf-8", format!("{status} {code}: {failure}\nrequest id: {id}\n")),
        Form::Json => (
            "application/json",
            format!("{{\"status\":{status},\"error\":\"{code}\",\"message\":\"{failure}\",\"request_id\":\"{id}\"}}\n"),
        ),
        Form::Html => (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
                 <title>{status} {code}</title><style>body{{font:1rem/1.5 system-ui;max-width:36rem;margin:15vh auto;padding:0 1rem;\
                 color-scheme:light dark}}code{{color:gray}}</style><h1>{status}</h1><p>{failure}.<p><code>{code} · {id}</code></html>\n"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&'static str, &'static str)]) -> Asked {
        let asked = fields.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        Asked::of(&asked.body(()).unwrap())
    }

    fn refuse(accept: &'static str) -> Response<Bytes> {
        let id = HeaderValue::from_static("id-1");
        response(Failure::NoClient, &asked(&[("accept", accept)]), Some(&id), false)
    }

    #[test]
    fn the_body_has_the_form_that_the_visitor_accepts() {
        for (accept, content_type, start) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", "<!doctype html>"),
            ("application/json", "application/json", "{\"status\":502,\"error\":\"no-client\","),
            ("*/*", "text/plain; charset=utf-8", "502 no-client: "),
            ("image/png", "text/plain; charset=utf-8", "502 no-client: "),
        ] {
            let response = refuse(accept);
            assert_eq!(response.headers()["content-type"], content_type);
            assert_eq!(response.headers()["adit-error"], "no-client");
            assert!(response.body().starts_with(start.as_bytes()), "{:?}", response.body());
        }
    }

    #[test]
    fn a_visitor_that_may_come_back_is_told_when() {
        let response = response(Failure::Overloaded, &asked(&[]), None, false);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert!(!refuse("*/*").headers().contains_key("retry-after"));
    }

    #[test]
    fn grpc_gets_a_status_that_its_clients_read() {
        for (content_type, is_grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let response = response(Failure::NoRoute, &asked(&[("content-type", content_type)]), None, false);
            let status = response.headers().get("grpc-status").map(HeaderValue::as_bytes);
            let expected = if is_grpc { (200, Some(&b"12"[..])) } else { (404, None) };
            assert_eq!((response.status().as_u16(), status), expected, "{content_type}");
            assert_eq!(response.body().is_empty(), is_grpc);
            assert_eq!(response.headers()["adit-error"], "no-route");
        }
    }

    #[test]
    fn only_a_connection_of_http_1_is_told_to_close() {
        for (version, closes) in [(Version::HTTP_10, true), (Version::HTTP_11, true), (Version::HTTP_2, false)] {
            let asked = Asked { version, ..asked(&[]) };
            let refused =
                |closes| response(Failure::BadRequest, &asked, None, closes).headers().contains_key("connection");
            assert_eq!((refused(true), refused(false)), (closes, false), "{version:?}");
        }
    }
}
