//! From the head that a visitor sent to the head that crosses the tunnel.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header, request, uri::PathAndQuery};

use crate::{
    failure::Failure,
    http::{forwarded, headers, host::Host, trace},
    limits::Limits,
    wire::exchange::{BodyKind, ReplyHead, RequestHead, Scheme, Upgrade},
};

/// What an entry knows that is not in the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The address at the other end of the connection.
    pub visitor: SocketAddr,
    /// Whether the connection is TLS.
    pub scheme: Scheme,
    /// Whether the other end is a proxy whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted: bool,
}

/// Turns a parsed request into the head that crosses the tunnel.
///
/// There is one view of it from here on: whatever could be read in two ways is refused. `request_id` makes
/// an id for a request that brought none worth keeping, `random` the ids of a trace for one that is in none. How
/// long the asker waits, `remaining_ms`, is not known yet and 0. What extended CONNECT asks for (RFC 8441 §4) comes as
/// a GET with an [`Upgrade`] among its extensions.
///
/// # Errors
///
/// [`Failure::BadRequest`] for a head that means two things, [`Failure::HeadTooLarge`],
/// [`Failure::TargetTooLong`] or [`Failure::BodyTooLarge`] for one over the limits.
pub fn from_visitor(
    parts: request::Parts,
    body: BodyKind,
    entry: Entry,
    limits: &Limits,
    request_id: impl FnOnce() -> HeaderValue,
    random: impl FnOnce() -> [u8; trace::RANDOM_BYTES],
) -> Result<RequestHead, Failure> {
    let mut headers = parts.headers;
    check_size(&parts.uri, &headers, limits)?;
    let authority = authority(&parts.uri, &headers, parts.version)?;
    let target = target(&parts.method, &parts.uri)?;

    check_transfer_coding(&headers)?;
    check_body(body, limits)?;
    if parts.version == Version::HTTP_10 {
        // RFC 9110 §10.1.1
        headers.remove(header::EXPECT);
    }
    let extended = parts.extensions.get::<Upgrade>().copied();
    let upgrade = extended.map_or_else(|| upgrade(&parts.method, parts.version, &headers, body), |it| Ok(Some(it)))?;
    let other = headers::other_upgrade(&headers, upgrade);
    headers.remove(header::HOST);
    headers::strip_hop_by_hop(&mut headers);
    if let Some(token) = other {
        headers.insert(header::UPGRADE, token);
    }
    // Only adit says this, and what adit adds comes after what a visitor could nominate away.
    headers.remove(headers::ADIT_ERROR);
    let came =
        forwarded::Came { from: entry.visitor, scheme: entry.scheme, authority: &authority, trusted: entry.trusted };
    forwarded::append(&mut headers, came);
    if !headers.get(headers::X_REQUEST_ID).is_some_and(headers::is_sane_request_id) {
        headers.insert(headers::X_REQUEST_ID, request_id());
    }
    trace::carry(&mut headers, random);

    Ok(RequestHead {
        method: parts.method,
        scheme: entry.scheme,
        authority,
        target,
        version: parts.version,
        headers,
        body,
        upgrade,
        visitor: entry.visitor,
        remaining_ms: 0,
    })
}

/// What the request wants its connection to become.
fn upgrade(method: &Method, version: Version, headers: &HeaderMap, body: BodyKind) -> Result<Option<Upgrade>, Failure> {
    if *method == Method::CONNECT {
        // RFC 9110 §9.3.6: a body has no meaning, and what follows is not HTTP.
        return if body == BodyKind::None { Ok(Some(Upgrade::Connect)) } else { Err(Failure::BadRequest) };
    }
    let switchable = version == Version::HTTP_11 && body == BodyKind::None;
    let requested = switchable.then(|| headers::requested_upgrade(headers)).flatten();
    // RFC 6455 §4.1: a WebSocket is asked for with GET.
    Ok(requested.filter(|upgrade| *upgrade != Upgrade::WebSocket || *method == Method::GET))
}

/// Cleans the head of a request that came over a link, so that its fields say of its framing what the link says.
///
/// A peer is no more trusted with framing than a visitor is: a `Content-Length` that disagrees with the body that
/// follows would make the next request on an upstream's connection part of this one.
///
/// # Errors
///
/// [`Failure::Protocol`] when fields and body disagree, or the authority is none.
pub fn from_asker(head: &mut RequestHead) -> Result<(), Failure> {
    Host::parse(&head.authority).map_err(|_| Failure::Protocol)?;
    let other = headers::other_upgrade(&head.headers, head.upgrade);
    headers::strip_hop_by_hop(&mut head.headers);
    if let Some(token) = other {
        head.headers.insert(header::UPGRADE, token);
    }
    head.headers.remove(header::HOST);
    if (head.method == Method::CONNECT) != (head.upgrade == Some(Upgrade::Connect)) {
        return Err(Failure::Protocol);
    }
    // What asks for a switch has no body: a length beside it would be the start of the next request.
    if head.upgrade.is_some() && head.body != BodyKind::None {
        return Err(Failure::Protocol);
    }
    check_length(&mut head.headers, head.body)
}

/// Cleans the head of an upstream's response to a request with this method before it crosses, and returns what
/// follows it. `body` is what the parser found.
///
/// The parser has decided how long the body is (RFC 9112 §6.3), so the fields are made to say that and no more.
pub fn from_upstream(head: &mut ReplyHead, body: BodyKind, method: &Method) -> BodyKind {
    strip_response(&mut head.headers);
    if head.status.is_informational() || head.status == StatusCode::NO_CONTENT {
        head.headers.remove(header::CONTENT_LENGTH);
        return BodyKind::None;
    }
    if is_about_another_body(method, head.status) {
        // Over HTTP/2 the end may come later than the head; it is the end all the same.
        if would_be_length(&head.headers).is_none() {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        return BodyKind::None;
    }
    if head.headers.contains_key(header::CONTENT_LENGTH) {
        let length = match body {
            BodyKind::None => Some(0),
            BodyKind::Length(length) => Some(length),
            BodyKind::Stream => None,
        };
        match length {
            Some(length) => head.headers.insert(header::CONTENT_LENGTH, length.into()),
            None => head.headers.remove(header::CONTENT_LENGTH),
        };
    }
    body
}

/// Cleans the head of a response that came over a link, as [`from_asker`] does. `method` is that of its request.
///
/// # Errors
///
/// [`Failure::Protocol`] when fields and body disagree.
pub fn from_answerer(head: &mut ReplyHead, body: BodyKind, method: &Method) -> Result<(), Failure> {
    strip_response(&mut head.headers);
    if is_about_another_body(method, head.status) {
        let says_nothing = !head.headers.contains_key(header::CONTENT_LENGTH);
        let agrees = says_nothing || would_be_length(&head.headers).is_some();
        return if body == BodyKind::None && agrees { Ok(()) } else { Err(Failure::Protocol) };
    }
    check_length(&mut head.headers, body)
}

fn strip_response(headers: &mut HeaderMap) {
    headers::strip_hop_by_hop(headers);
    headers.remove(header::TE);
    headers.remove(headers::ADIT_ERROR);
}

/// Whether `Content-Length` says how long a body would be that is not there (RFC 9110 §8.6).
fn is_about_another_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || status == StatusCode::NOT_MODIFIED
}

/// Returns the length that a response without a body speaks of, where it speaks of exactly one.
pub fn would_be_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).into_iter().map(length);
    lengths.next().filter(|_| lengths.next().is_none())?
}

/// Reads a `Content-Length`: digits only, for Rust would take a sign for part of a number.
fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes().iter().all(u8::is_ascii_digit).then_some(value)?;
    digits.to_str().ok()?.parse().ok()
}

/// Compares every `Content-Length` with the body that follows, and leaves one of them (RFC 9110 §8.6).
fn check_length(headers: &mut HeaderMap, body: BodyKind) -> Result<(), Failure> {
    let agrees = |value: &HeaderValue| match body {
        BodyKind::None => length(value) == Some(0),
        BodyKind::Length(expected) => length(value) == Some(expected),
        BodyKind::Stream => false,
    };
    let said = headers.get_all(header::CONTENT_LENGTH);
    if !said.iter().all(agrees) {
        return Err(Failure::Protocol);
    }
    let mut said = said.iter();
    if let (Some(first), Some(_)) = (said.next().cloned(), said.next()) {
        headers.insert(header::CONTENT_LENGTH, first);
    }
    Ok(())
}

/// A body of unknown length is counted as it comes.
fn check_body(body: BodyKind, limits: &Limits) -> Result<(), Failure> {
    match (body, limits.request_body_bytes_max) {
        (BodyKind::Length(length), Some(max)) if length > max => Err(Failure::BodyTooLarge),
        (BodyKind::None | BodyKind::Length(_) | BodyKind::Stream, _) => Ok(()),
    }
}

fn check_size(uri: &Uri, headers: &HeaderMap, limits: &Limits) -> Result<(), Failure> {
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.head_bytes_max / 2) {
        return Err(Failure::TargetTooLong);
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > limits.head_fields_max || bytes > limits.head_bytes_max {
        return Err(Failure::HeadTooLarge);
    }
    Ok(())
}

/// The only coding that is taken off here is `chunked`, once: the field stays behind, and a body that is still coded
/// would look like one that is not (RFC 9112 §6.1).
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Failure> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).into_iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if is_chunked && codings.next().is_none() { Ok(()) } else { Err(Failure::BadRequest) }
}

/// The one authority that the request line or `:authority` and `Host` agree on (RFC 9112 §3.2).
fn authority(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<String, Failure> {
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Failure::BadRequest);
    }
    let host = host.map(HeaderValue::to_str).transpose().map_err(|_| Failure::BadRequest)?;
    let authority = match (uri.authority(), host) {
        (Some(authority), None) if version == Version::HTTP_2 => authority.as_str(),
        (Some(authority), Some(host)) if authority.as_str().eq_ignore_ascii_case(host) => host,
        (None, Some(host)) => host,
        // HTTP/1.0 knows no Host; rules without a host take such a request.
        (None, None) if version == Version::HTTP_10 => "",
        (Some(_) | None, Some(_) | None) => return Err(Failure::BadRequest),
    };
    if authority.is_empty() && version != Version::HTTP_10 {
        return Err(Failure::BadRequest);
    }
    Host::parse(authority).map_err(|_| Failure::BadRequest)?;
    Ok(authority.to_owned())
}

fn target(method: &Method, uri: &Uri) -> Result<PathAndQuery, Failure> {
    if uri.scheme().is_none() && uri.authority().is_some() && *method != Method::CONNECT {
        // A host in place of a path (RFC 9112 §3.2.3).
        return Err(Failure::BadRequest);
    }
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    match target.as_str().as_bytes() {
        [b'/', ..] => Ok(target),
        // The server itself, which other methods cannot be for (RFC 9112 §3.2.4).
        b"*" if *method == Method::OPTIONS => Ok(target),
        // `http://host?query` has no path; on the wire it is `/?query` (RFC 9112 §3.2.1).
        [b'?', ..] => format!("/{target}").parse().map_err(|_| Failure::BadRequest),
        _ => Err(Failure::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn accept(request: Request<()>) -> Result<RequestHead, Failure> {
        let entry = Entry { visitor: ([192, 0, 2, 1], 9).into(), scheme: Scheme::Http, trusted: false };
        let made = || HeaderValue::from_static("made");
        let random = || [1; trace::RANDOM_BYTES];
        from_visitor(request.into_parts().0, BodyKind::None, entry, &Limits::default(), made, random)
    }

    fn get(uri: &str) -> request::Builder {
        Request::get(uri)
    }

    #[test]
    fn a_plain_request_keeps_its_authority_and_target() {
        let head = accept(get("/a/%7E?b=c").header("host", "App.Localhost:8080").body(()).unwrap()).unwrap();
        assert_eq!(head.authority, "App.Localhost:8080");
        assert_eq!(head.target, "/a/%7E?b=c");
        assert_eq!(head.headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(head.headers["x-request-id"], "made");
        assert!(!head.headers.contains_key("host"));
    }

    #[test]
    fn a_sane_request_id_is_kept_and_a_strange_one_replaced() {
        let kept = accept(get("/").header("host", "a").header("x-request-id", "mine-1").body(()).unwrap()).unwrap();
        assert_eq!(kept.headers["x-request-id"], "mine-1");
        let replaced = accept(get("/").header("host", "a").header("x-request-id", "a b").body(()).unwrap()).unwrap();
        assert_eq!(replaced.headers["x-request-id"], "made");
    }

    #[test]
    fn a_request_is_in_a_trace_even_where_connection_names_it_away() {
        let started = accept(get("/").header("host", "a").body(()).unwrap()).unwrap();
        assert_eq!(trace::trace_id(&started.headers), Some("01".repeat(16).as_str()));
        let hidden = get("/").header("host", "a").header("connection", "traceparent").header("traceparent", "x");
        assert!(trace::trace_id(&accept(hidden.body(()).unwrap()).unwrap().headers).is_some());
    }

    #[test]
    fn hosts_that_disagree_are_refused() {
        let both = |uri: &str, host: &str| accept(get(uri).header("host", host).body(()).unwrap());
        assert!(both("http://a.example/", "a.example").is_ok());
        assert_eq!(both("http://a.example/", "b.example").unwrap_err(), Failure::BadRequest);
        assert_eq!(both("http://a.example:80/", "a.example").unwrap_err(), Failure::BadRequest);
        let twice = get("/").header("host", "a").header("host", "a").body(()).unwrap();
        assert_eq!(accept(twice).unwrap_err(), Failure::BadRequest);
    }

    #[test]
    fn only_options_is_for_the_server_itself() {
        let asked = |method| Request::builder().method(method).uri("*").header("host", "a").body(()).unwrap();
        assert_eq!(accept(asked("OPTIONS")).unwrap().target, "*");
        assert_eq!(accept(asked("GET")).unwrap_err(), Failure::BadRequest);
    }

    #[test]
    fn only_connect_is_for_a_host() {
        let asked = |uri| accept(get(uri).header("host", "a.example").body(()).unwrap());
        assert_eq!(asked("http://a.example").unwrap().target, "/");
        assert_eq!(asked("a.example").unwrap_err(), Failure::BadRequest);
    }

    #[test]
    fn a_missing_host_is_refused_except_in_http_1_0() {
        assert_eq!(accept(get("/").body(()).unwrap()).unwrap_err(), Failure::BadRequest);
        assert_eq!(accept(get("/").header("host", "").body(()).unwrap()).unwrap_err(), Failure::BadRequest);
        let old = accept(get("/").version(Version::HTTP_10).body(()).unwrap()).unwrap();
        assert_eq!(old.authority, "");
        let h2 = accept(get("http://a.example/").version(Version::HTTP_2).body(()).unwrap()).unwrap();
        assert_eq!(h2.authority, "a.example");
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for host in ["a@b", "a/b", "a b", "a,b"] {
            let request = get("/").header("host", host).body(()).unwrap();
            assert_eq!(accept(request).unwrap_err(), Failure::BadRequest, "{host}");
        }
    }

    #[test]
    fn a_head_over_the_limits_is_refused() {
        let mut many = get("/").header("host", "a");
        for _ in 0..256 {
            many = many.header("x", "y");
        }
        assert_eq!(accept(many.body(()).unwrap()).unwrap_err(), Failure::HeadTooLarge);
        let large = get("/").header("host", "a").header("x", "y".repeat(65_536)).body(()).unwrap();
        assert_eq!(accept(large).unwrap_err(), Failure::HeadTooLarge);
        let long = get(&format!("/{}", "a".repeat(40_000))).header("host", "a").body(()).unwrap();
        assert_eq!(accept(long).unwrap_err(), Failure::TargetTooLong);
    }

    #[test]
    fn a_peer_cannot_frame_a_request_in_two_ways() {
        let cleaned = |body: BodyKind, lengths: &[&'static str]| {
            let mut head = accept(get("/").header("host", "a").body(()).unwrap()).unwrap();
            head.body = body;
            for length in lengths {
                head.headers.append("content-length", HeaderValue::from_static(length));
            }
            head.headers.append("host", HeaderValue::from_static("b"));
            head.headers.append("transfer-encoding", HeaderValue::from_static("chunked"));
            let accepted = from_asker(&mut head);
            assert!(accepted.is_err() || head.headers.get_all("content-length").iter().count() < 2, "{lengths:?}");
            accepted.map(|()| head.headers.contains_key("host") || head.headers.contains_key("transfer-encoding"))
        };
        assert_eq!(cleaned(BodyKind::Length(3), &["3"]), Ok(false));
        assert_eq!(cleaned(BodyKind::Length(3), &["3", "3"]), Ok(false));
        assert_eq!(cleaned(BodyKind::None, &["0"]), Ok(false));
        assert_eq!(cleaned(BodyKind::Stream, &[]), Ok(false));
        for (body, lengths) in [
            (BodyKind::None, &["312"][..]),
            (BodyKind::Length(3), &["2"]),
            (BodyKind::Length(3), &["3", "4"]),
            (BodyKind::Length(3), &["+3"]),
            (BodyKind::Stream, &["2"]),
        ] {
            assert_eq!(cleaned(body, lengths), Err(Failure::Protocol), "{body:?} {lengths:?}");
        }
    }

    #[test]
    fn a_response_without_a_body_may_say_how_long_it_would_be() {
        let reply = |status: u16, method: &Method| {
            let mut headers = HeaderMap::new();
            headers.append("content-length", HeaderValue::from_static("5"));
            let mut head = ReplyHead { status: StatusCode::from_u16(status).unwrap(), reason: None, headers };
            from_answerer(&mut head, BodyKind::None, method)
        };
        assert_eq!(reply(200, &Method::HEAD), Ok(()));
        assert_eq!(reply(304, &Method::GET), Ok(()));
        assert_eq!(reply(200, &Method::GET), Err(Failure::Protocol));
    }

    #[test]
    fn what_an_upstream_says_of_its_body_is_what_was_found() {
        use BodyKind::{Length, None, Stream};
        let (get, head) = (Method::GET, Method::HEAD);
        for (method, status, said, found, expected) in [
            (&get, 200, &["5", "5"][..], Length(5), (Length(5), &["5"][..])),
            (&get, 200, &["5, 5"], Length(5), (Length(5), &["5"])),
            (&get, 200, &["5"], Stream, (Stream, &[])),
            (&get, 200, &["0"], None, (None, &["0"])),
            (&get, 204, &["7"], None, (None, &[])),
            (&get, 304, &["7"], None, (None, &["7"])),
            (&get, 304, &["7"], Length(7), (None, &["7"])),
            (&head, 200, &["7"], Length(7), (None, &["7"])),
            (&head, 200, &["7", "8"], None, (None, &[])),
            (&head, 200, &[], Stream, (None, &[])),
        ] {
            let mut headers = HeaderMap::new();
            for length in said {
                headers.append("content-length", HeaderValue::from_static(length));
            }
            let mut reply = ReplyHead { status: StatusCode::from_u16(status).unwrap(), reason: Option::None, headers };
            let body = from_upstream(&mut reply, found, method);
            let says: Vec<_> =
                reply.headers.get_all("content-length").into_iter().map(|length| length.to_str().unwrap()).collect();
            assert_eq!((body, says.as_slice()), expected, "{method} {status} {said:?}");
            assert_eq!(from_answerer(&mut reply, body, method), Ok(()), "{method} {status} {said:?}");
        }
    }

    #[test]
    fn a_coding_other_than_chunked_is_refused() {
        let coded = |codings: &[&str]| {
            let start = get("/").header("host", "a");
            accept(codings.iter().fold(start, |get, coding| get.header("transfer-encoding", *coding)).body(()).unwrap())
        };
        assert!(coded(&["chunked"]).is_ok() && coded(&[" Chunked\t"]).is_ok());
        for codings in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["identity"],
            &[""],
            &["chunked;q=1"],
        ] {
            assert_eq!(coded(codings).unwrap_err(), Failure::BadRequest, "{codings:?}");
        }
    }

    #[test]
    fn an_old_visitor_expects_nothing() {
        let expecting = |version| {
            let request = get("/").version(version).header("host", "a").header("expect", "100-continue");
            accept(request.body(()).unwrap()).unwrap().headers.contains_key("expect")
        };
        assert!(expecting(Version::HTTP_11));
        assert!(!expecting(Version::HTTP_10));
    }

    #[test]
    fn connect_names_its_destination_once() {
        let connect = |host: &str| accept(Request::connect("a.example:443").header("host", host).body(()).unwrap());
        let head = connect("a.example:443").unwrap();
        assert_eq!((head.authority.as_str(), head.target.as_str()), ("a.example:443", "/"));
        assert_eq!(head.upgrade, Some(Upgrade::Connect));
        assert_eq!(connect("b.example:443").unwrap_err(), Failure::BadRequest);
    }

    #[test]
    fn visitors_cannot_speak_for_adit() {
        let head = accept(get("/").header("host", "a").header("adit-error", "x").body(()).unwrap()).unwrap();
        assert!(!head.headers.contains_key("adit-error"));
    }
}
