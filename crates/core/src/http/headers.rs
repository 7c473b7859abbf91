//! Header fields that do not cross the tunnel, and those that adit makes.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::wire::exchange::Upgrade;

/// On every response that adit itself made, and on no other: a [`crate::failure::Failure::code`].
pub const ADIT_ERROR: HeaderName = HeaderName::from_static("adit-error");

/// Names every node that a request has come out of, with its link and stream: `<node>;link=<n>;stream=<n>`.
pub const ADIT_HOP: HeaderName = HeaderName::from_static("adit-hop");

/// Correlates the logs of everything a request goes through.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest `x-request-id` kept from a visitor, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Fields that speak of one connection only (RFC 9110 §7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Removes what speaks of one connection only, and keeps `TE: trailers`, which RFC 9110 §6.5.1 lets a proxy
/// send where it forwards trailers, as adit does.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let trailers = accepts_trailers(headers);
    if headers.contains_key(header::CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Joins the cookies that HTTP/2 sends in several fields, as HTTP/1.1 wants them (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).into_iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Returns the protocol that a request asks to switch to, of those that may cross (RFC 9110 §7.8).
///
/// `h2c` never does: what is HTTP stays HTTP, so that every request meets the rules.
pub fn requested_upgrade(headers: &HeaderMap) -> Option<Upgrade> {
    let asked = list(headers, &header::CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let mut tokens = list(headers, &header::UPGRADE);
    let (token, none_other) = (tokens.next()?, tokens.next().is_none());
    let is_websocket = Upgrade::WebSocket.token().is_some_and(|websocket| token.eq_ignore_ascii_case(websocket));
    (asked && none_other && is_websocket).then_some(Upgrade::WebSocket)
}

/// Writes the fields that ask for a switch or agree to it, where it takes any.
pub fn set_upgrade(headers: &mut HeaderMap, upgrade: Upgrade) {
    let Some(token) = upgrade.token() else { return };
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(token));
}

/// Fields that no trailer section may hold, beside those that speak of one connection: framing, routing, modifiers of
/// the request, authentication, how to read the content (RFC 9110 §6.5.1), and what adit itself says. A recipient that
/// merges trailers into the head would take them for what was checked there.
const NO_TRAILERS: [HeaderName; 23] = [
    header::TE,
    header::TRAILER,
    header::CONTENT_LENGTH,
    header::HOST,
    header::EXPECT,
    header::RANGE,
    header::MAX_FORWARDS,
    header::CACHE_CONTROL,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::LOCATION,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    X_REQUEST_ID,
    ADIT_ERROR,
    ADIT_HOP,
];

/// Removes the fields that no trailer section may hold.
pub fn strip_forbidden_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    for name in &NO_TRAILERS {
        trailers.remove(name);
    }
}

/// Returns whether a request asks for trailers.
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    list(headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// Returns whether whoever sends a request waits to be told to send its body (RFC 9110 §10.1.1).
pub fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Returns whether a visitor's request id may be kept: short, and harmless in any log.
pub fn is_sane_request_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let allowed =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=' | b'@');
    !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(allowed)
}

/// The fields that `Connection` names. `Close` and `keep-alive` are among them and name no field of ours.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    list(headers, &header::CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        // RFC 9110 §7.6.1: what is meant for all recipients must not be nominated.
        .filter(|name| {
            !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE | header::CACHE_CONTROL)
        })
        .collect()
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_speaks_of_one_connection_stays_behind() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("te", "gzip, trailers"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("accept", "*/*"), ("te", "trailers")]));
    }

    #[test]
    fn only_a_websocket_may_be_switched_to() {
        let asked = |connection, upgrade| requested_upgrade(&map(&[("connection", connection), ("upgrade", upgrade)]));
        assert_eq!(asked("keep-alive, Upgrade", "WebSocket"), Some(Upgrade::WebSocket));
        assert_eq!(asked("upgrade", "h2c"), None);
        assert_eq!(asked("upgrade", "h2c, websocket"), None);
        assert_eq!(asked("keep-alive", "websocket"), None);
        assert_eq!(requested_upgrade(&map(&[("connection", "upgrade")])), None);
    }

    #[test]
    fn nobody_can_nominate_away_what_the_request_means() {
        let mut headers = map(&[
            ("connection", "host, content-length, cache-control"),
            ("content-length", "3"),
            ("cache-control", "no-store"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("content-length", "3"), ("cache-control", "no-store")]));
    }

    #[test]
    fn trailers_hold_no_framing() {
        let mut trailers = map(&[
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("host", "a"),
            ("adit-error", "loop"),
            ("te", "trailers"),
            ("grpc-status", "0"),
        ]);
        strip_forbidden_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0")]));
    }

    #[test]
    fn a_request_id_is_kept_when_it_is_short_and_plain() {
        assert!(is_sane_request_id(&HeaderValue::from_static("0190-aB_c.d:e/f+g=@")));
        for bad in ["", "a b", "a\"b", "a,b"] {
            assert!(!is_sane_request_id(&HeaderValue::from_static(bad)), "{bad:?}");
        }
        let long = HeaderValue::from_str(&"a".repeat(REQUEST_ID_BYTES_MAX + 1)).unwrap();
        assert!(!is_sane_request_id(&long));
    }
}
