//! `Forwarded` (RFC 7239) and the `X-Forwarded-*` fields that came before it.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::wire::exchange::Scheme;

/// The addresses that a request came from, the last one last.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What an entry knows about the connection a request came in on.
#[derive(Clone, Copy, Debug)]
pub struct Came<'a> {
    /// The address at the other end of the connection.
    pub from: SocketAddr,
    /// Whether it was TLS.
    pub scheme: Scheme,
    /// The authority the visitor asked for.
    pub authority: &'a str,
    /// Whether the other end is a proxy whose own word on the visitor is believed.
    pub trusted: bool,
}

/// Writes where the request came from into its fields.
///
/// What an untrusted peer says of others before it is removed; a trusted proxy's word is kept and continued.
pub fn append(headers: &mut HeaderMap, came: Came<'_>) {
    if !came.trusted {
        for name in [header::FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO] {
            headers.remove(name);
        }
    }
    // IPv4 that came in through an IPv6 socket is written as what it is.
    let from = came.from.ip().to_canonical();
    continue_list(headers, &X_FORWARDED_FOR, &from.to_string());
    continue_list(headers, &header::FORWARDED, &element(from, came));
    set_once(headers, X_FORWARDED_HOST, came.authority);
    set_once(headers, X_FORWARDED_PROTO, came.scheme.as_str());
}

fn element(from: IpAddr, came: Came<'_>) -> String {
    let mut element = String::with_capacity(64);
    // Writing to a String cannot fail.
    let _ = match from {
        IpAddr::V4(address) => write!(element, "for={address}"),
        IpAddr::V6(address) => write!(element, "for=\"[{address}]\""),
    };
    // An authority holds neither quotes nor backslashes, so it can stand in a quoted string as it is.
    if !came.authority.is_empty() {
        let _ = write!(element, ";host=\"{}\"", came.authority);
    }
    let _ = write!(element, ";proto={}", came.scheme.as_str());
    element
}

/// Appends one element to a list that may span several fields, as one field.
fn continue_list(headers: &mut HeaderMap, name: &HeaderName, element: &str) {
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

fn set_once(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if value.is_empty() || headers.contains_key(&name) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(from: &str, trusted: bool) -> Came<'static> {
        Came { from: from.parse().unwrap(), scheme: Scheme::Https, authority: "a.example:8443", trusted }
    }

    fn get<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).into_iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_strangers_word_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("1.1.1.1"));
        headers.append("x-forwarded-host", HeaderValue::from_static("evil"));
        headers.append("forwarded", HeaderValue::from_static("for=1.1.1.1"));
        append(&mut headers, came("[2001:db8::1]:5", false));
        assert_eq!(get(&headers, "x-forwarded-for"), ["2001:db8::1"]);
        assert_eq!(get(&headers, "x-forwarded-host"), ["a.example:8443"]);
        assert_eq!(get(&headers, "x-forwarded-proto"), ["https"]);
        assert_eq!(get(&headers, "forwarded"), ["for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=https"]);
    }

    #[test]
    fn a_trusted_proxys_word_is_continued() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("1.1.1.1"));
        headers.append("x-forwarded-for", HeaderValue::from_static("2.2.2.2"));
        headers.append("x-forwarded-proto", HeaderValue::from_static("http"));
        append(&mut headers, came("[::ffff:10.0.0.1]:5", true));
        assert_eq!(get(&headers, "x-forwarded-for"), ["1.1.1.1, 2.2.2.2, 10.0.0.1"]);
        assert_eq!(get(&headers, "x-forwarded-proto"), ["http"]);
        assert_eq!(get(&headers, "forwarded"), ["for=10.0.0.1;host=\"a.example:8443\";proto=https"]);
    }
}
