//! The response that adit itself makes: a failure, told in the form that the visitor can read.

use adit_core::{failure::Failure, http::headers::ADIT_ERROR};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// How long a visitor should wait before it tries again after 503, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";

/// Returns the response for a failure, with a body in the form that `Accept` asks for: JSON, HTML or text.
///
/// It holds the status, the code and the request id; never an address of anything inside.
pub fn response(failure: Failure, request_headers: &HeaderMap, request_id: Option<&HeaderValue>) -> Response<Bytes> {
    let id = request_id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let (content_type, body) = body(failure, form(request_headers), id);
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(ADIT_ERROR, HeaderValue::from_static(failure.code()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if failure.status() == 503 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if let Some(id) = request_id {
        headers.insert(adit_core::http::headers::X_REQUEST_ID, id.clone());
    }
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Html,
}

/// The first of the media types in `Accept` that we can make. Quality values are not weighed.
fn form(headers: &HeaderMap) -> Form {
    let accepted = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    for media in accepted.flat_map(|value| value.split(',')) {
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

    fn refuse(accept: &'static str) -> Response<Bytes> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        response(Failure::NoClient, &headers, Some(&HeaderValue::from_static("id-1")))
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
        let response = response(Failure::Overloaded, &HeaderMap::new(), None);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert!(!refuse("*/*").headers().contains_key("retry-after"));
    }
}
