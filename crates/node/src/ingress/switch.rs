//! A switch of protocols as each version of HTTP words it for a visitor (RFC 9110 §7.8, RFC 8441).

use adit_core::{failure::Failure, http::headers, wire::exchange::Upgrade};
use http::{HeaderValue, Method, Response, StatusCode, Version, request::Parts};
use hyper::ext::Protocol;

/// Makes of an extended CONNECT the GET that asks for the same.
///
/// # Errors
///
/// [`Failure::BadRequest`] when it asks for anything but a WebSocket.
pub fn from_extended_connect(parts: &mut Parts) -> Result<(), Failure> {
    let Some(protocol) = parts.extensions.remove::<Protocol>() else { return Ok(()) };
    if !protocol.as_ref().eq_ignore_ascii_case(b"websocket") {
        return Err(Failure::BadRequest);
    }
    parts.method = Method::GET;
    parts.extensions.insert(Upgrade::WebSocket);
    Ok(())
}

/// Words the answer to a request to switch, for a visitor that speaks `version` and that named `other` where it did not
/// ask for a WebSocket. One that declines stays as it is.
///
/// # Errors
///
/// [`Failure::UpstreamProtocol`] when the upstream declines with what agrees over HTTP/2.
pub fn worded<B>(
    response: &mut Response<B>,
    upgrade: Upgrade,
    other: Option<HeaderValue>,
    version: Version,
) -> Result<(), Failure> {
    let agreed = upgrade.is_agreed_by(response.status());
    if version != Version::HTTP_2 {
        if let Some(token) = upgrade.token().map(HeaderValue::from_static).or(other).filter(|_| agreed) {
            headers::set_upgrade(response.headers_mut(), token);
        }
        return Ok(());
    }
    if !agreed && response.status().is_success() {
        return Err(Failure::UpstreamProtocol);
    }
    if agreed {
        *response.status_mut() = StatusCode::OK;
    }
    Ok(())
}
