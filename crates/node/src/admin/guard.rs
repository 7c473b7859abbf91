//! Who is heard.
//!
//! Where no token is asked for, that is whoever calls the listener by a name of this machine, and no page from elsewhere.
//! The listener is on loopback then, but so is the browser of whoever runs the node. A page can have its own name
//! resolve to 127.0.0.1 and then read what is here (DNS rebinding); that shows in `Host`. It can also post
//! without reading the answer (CSRF); that shows in `Origin` and `Sec-Fetch-Site`. And a rule of a tunnel can lead here,
//! for visitors who send whatever `Host` they like; that shows in the field that adit adds to what comes out of it.
//!
//! With a token it is whoever shows it, by whatever name. Load balancers show none: they may ask how the node is.

use std::net::IpAddr;

use adit_core::http::{headers::ADIT_HOP, host::Host};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::door::{Door, Refusal};
use crate::access::AUDIT;

/// Says where a page is that makes a browser ask (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Paths that say nothing but how the node is.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Where it is.
    pub(super) address: IpAddr,
    /// What the URLs begin with that lead here.
    pub(super) scheme: &'static str,
}

/// Passes on what may be heard, and answers 401, 403 or 429 to the rest.
pub(super) async fn admit(State(door): State<Door>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // Once for all: a reload may come in between.
    let token = door.token();
    let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers() };
    if let Some(objection) = asked.objection(caller.scheme, token.is_some()) {
        return (StatusCode::FORBIDDEN, objection).into_response();
    }
    if !OPEN_PATHS.contains(&request.uri().path())
        && let Some(token) = token
        && let Err(refusal) = door.admit(token, caller.address, request.headers())
    {
        if refusal == Refusal::Wrong {
            tracing::warn!(target: AUDIT, peer = %caller.address, "a wrong token was shown to the admin interface");
        }
        return refusal.into_response();
    }
    next.run(request).await
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"admin\""));
        match self {
            Self::Nobody => (StatusCode::UNAUTHORIZED, [challenge], "a token is needed\n").into_response(),
            Self::Wrong => (StatusCode::UNAUTHORIZED, [challenge], "the token is not the right one\n").into_response(),
            Self::TooOften(wait) => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                let field = (header::RETRY_AFTER, HeaderValue::from(seconds));
                (StatusCode::TOO_MANY_REQUESTS, [field], "too many wrong tokens came from there\n").into_response()
            }
        }
    }
}

/// What a request says of where it comes from.
struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl Asked<'_> {
    fn objection(&self, scheme: &str, shows_token: bool) -> Option<&'static str> {
        if self.headers.contains_key(ADIT_HOP) {
            return Some("this came through a tunnel\n");
        }
        let host = self.host();
        if !shows_token {
            if !host.is_some_and(is_local) {
                return Some("the Host is not localhost, 127.0.0.1 or [::1]\n");
            }
            if self.uri.authority().is_some_and(|authority| !is_local(authority.as_str())) {
                return Some("the target is not on localhost, 127.0.0.1 or [::1]\n");
            }
        }
        if matches!(*self.method, Method::GET | Method::HEAD) {
            return None;
        }
        let site = self.headers.get(SEC_FETCH_SITE);
        if site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Some("another site asks for this\n");
        }
        if !self.headers.contains_key(header::ORIGIN) {
            return None;
        }
        // Another port of this machine may be a tunnel to somebody's page.
        let same = only(self.headers, &header::ORIGIN)
            .and_then(|origin| origin.strip_prefix(scheme)?.strip_prefix("://"))
            .zip(host)
            .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
        (!same).then_some("the Origin is another one\n")
    }

    /// Returns by which name this node is called, where there is one alone.
    fn host(&self) -> Option<&str> {
        if self.headers.contains_key(header::HOST) {
            return only(self.headers, &header::HOST);
        }
        // HTTP/2 has it there (RFC 9113 §8.3.1).
        self.uri.authority().map(|authority| authority.as_str())
    }
}

fn is_local(host: &str) -> bool {
    Host::parse(host).is_ok_and(|host| matches!(&*host.name, "localhost" | "127.0.0.1" | "[::1]"))
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_heard_at(scheme: &str, token: bool, method: &Method, target: &str, fields: &[(&str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let asked = Asked { method, uri: &target.parse().unwrap(), headers: &headers };
        asked.objection(scheme, token).is_none()
    }

    fn is_heard(method: Method, target: &str, fields: &[(&str, &str)]) -> bool {
        is_heard_at("http", false, &method, target, fields)
    }

    #[test]
    fn only_names_of_this_machine_are_heard() {
        for host in ["localhost", "localhost:9090", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9090", "[::1]", "[::1]:9"] {
            assert!(is_heard(Method::GET, "/metrics", &[("host", host)]), "{host}");
            assert!(is_heard(Method::GET, &format!("https://{host}/metrics"), &[]), "{host}, HTTP/2");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9090", "10.0.0.1", "a@localhost"]
        {
            assert!(!is_heard(Method::GET, "/metrics", &[("host", host)]), "{host}");
        }
        assert!(!is_heard(Method::GET, "/metrics", &[]));
        assert!(!is_heard(Method::GET, "/metrics", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!is_heard(Method::GET, "http://evil.example/metrics", &[("host", "localhost")]));
        assert!(!is_heard(Method::GET, "http://evil.example/metrics", &[]));
    }

    #[test]
    fn what_comes_out_of_a_tunnel_is_not_heard() {
        let fields = [("host", "localhost"), ("adit-hop", "client-1;link=1;stream=4")];
        for token in [false, true] {
            assert!(!is_heard_at("https", token, &Method::GET, "/metrics", &fields));
        }
    }

    #[test]
    fn a_page_from_elsewhere_cannot_post() {
        let posts =
            |origin: &str| is_heard(Method::POST, "/api/v1/drain", &[("host", "localhost:9090"), ("origin", origin)]);
        assert!(posts("http://localhost:9090"));
        for origin in ["https://evil.example", "null", "http://localhost:3000", "http://localhost", "localhost:9090"] {
            assert!(!posts(origin), "{origin}");
        }
        assert!(is_heard(Method::POST, "/api/v1/drain", &[("host", "localhost:9090")]), "curl sends no Origin");
        for (site, heard) in [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)] {
            let fields = [("host", "localhost"), ("sec-fetch-site", site)];
            assert_eq!(is_heard(Method::POST, "/api/v1/drain", &fields), heard, "{site}");
        }
    }

    #[test]
    fn with_a_token_any_name_is_heard_and_a_page_from_elsewhere_still_cannot_post() {
        let heard = |method: Method, target: &str, fields: &[_]| is_heard_at("https", true, &method, target, fields);
        assert!(heard(Method::GET, "/metrics", &[("host", "adit.example:9090")]));
        assert!(heard(Method::POST, "/api/v1/drain", &[("host", "adit.example:9090")]));
        assert!(heard(Method::POST, "https://adit.example/api/v1/drain", &[("origin", "https://adit.example")]));
        for origin in ["https://evil.example", "http://adit.example", "null"] {
            let fields = [("host", "adit.example"), ("origin", origin)];
            assert!(!heard(Method::POST, "/api/v1/drain", &fields), "{origin}");
        }
        assert!(!heard(Method::POST, "/api/v1/drain", &[("host", "a"), ("sec-fetch-site", "cross-site")]));
    }
}
