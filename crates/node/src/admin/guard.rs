//! Who is heard: whoever calls the listener by a name of this machine, and no page from elsewhere.
//!
//! The listener is on loopback, but so is the browser of whoever runs the node. A page can have its own name
//! resolve to 127.0.0.1 and then read what is here (DNS rebinding); that shows in `Host`. It can also post
//! without reading the answer (CSRF); that shows in `Origin`. And a rule of a tunnel can lead here, for visitors who
//! send whatever `Host` they like; that shows in the field that adit adds to what comes out of it.

use adit_core::http::{headers::ADIT_HOP, host::Host};
use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Passes on what may be heard, and answers 403 to the rest.
pub(super) async fn local_only(request: Request, next: Next) -> Response {
    match objection(request.method(), request.uri(), request.headers()) {
        Some(objection) => (StatusCode::FORBIDDEN, objection).into_response(),
        None => next.run(request).await,
    }
}

fn objection(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let Some(host) = only(headers, &header::HOST).filter(|host| is_local(host)) else {
        return Some("the Host is not localhost, 127.0.0.1 or [::1]\n");
    };
    if headers.contains_key(ADIT_HOP) {
        return Some("this came through a tunnel\n");
    }
    if uri.authority().is_some_and(|authority| !is_local(authority.as_str())) {
        return Some("the target is not on localhost, 127.0.0.1 or [::1]\n");
    }
    if matches!(*method, Method::GET | Method::HEAD) || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    // Another port of this machine may be a tunnel to somebody's page.
    let same = only(headers, &header::ORIGIN)
        .and_then(|origin| origin.strip_prefix("http://"))
        .is_some_and(|origin| origin.eq_ignore_ascii_case(host));
    (!same).then_some("the Origin is another one\n")
}

fn is_local(host: &str) -> bool {
    Host::parse(host).is_ok_and(|host| matches!(&*host.name, "localhost" | "127.0.0.1" | "[::1]"))
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_heard(method: Method, target: &str, fields: &[(&str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: header::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        objection(&method, &target.parse().unwrap(), &headers).is_none()
    }

    #[test]
    fn only_names_of_this_machine_are_heard() {
        for host in ["localhost", "localhost:9090", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9090", "[::1]", "[::1]:9"] {
            assert!(is_heard(Method::GET, "/metrics", &[("host", host)]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9090", "10.0.0.1", "a@localhost"]
        {
            assert!(!is_heard(Method::GET, "/metrics", &[("host", host)]), "{host}");
        }
        assert!(!is_heard(Method::GET, "/metrics", &[]));
        assert!(!is_heard(Method::GET, "/metrics", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!is_heard(Method::GET, "http://evil.example/metrics", &[("host", "localhost")]));
    }

    #[test]
    fn what_comes_out_of_a_tunnel_is_not_heard() {
        assert!(!is_heard(Method::GET, "/metrics", &[("host", "localhost"), ("adit-hop", "client-1;link=1;stream=4")]));
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
    }
}
