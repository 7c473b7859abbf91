//! A request on its way to a server.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use adit_core::{
    failure::Failure,
    http::headers,
    wire::exchange::{RequestHead, Upgrade},
};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::{self, PathAndQuery, Scheme},
};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::Protocol as ConnectProtocol;
use tokio::{sync::Notify, time::Instant};

use super::websocket::Handshake;
use crate::{
    body::RecvBody,
    settings::{Protocol, ServerUrl},
    stream::StreamError,
};

/// What a request is addressed to, apart from its other fields: it stands in another place in each version of
/// HTTP, and a request that was given back may go out to another server in another version.
#[derive(Debug)]
pub struct Address {
    /// What the visitor asked for; the server itself where that is nothing.
    authority: Option<HeaderValue>,
    target: PathAndQuery,
    /// Where the connection is to be switched.
    switch: Option<Switch>,
    /// Whose request it is; nobody's where it is our own.
    visitor: Option<SocketAddr>,
    came_over_http2: bool,
}

/// What a connection is to be switched to.
#[derive(Debug)]
enum Switch {
    /// A WebSocket.
    WebSocket(Handshake),
    /// What this names.
    Other(HeaderValue),
}

impl Address {
    /// Addresses a request to whatever server it is sent to.
    pub fn of_server(target: PathAndQuery) -> Self {
        Self { authority: None, target, switch: None, visitor: None, came_over_http2: false }
    }

    /// Returns whose request it is.
    pub fn visitor(&self) -> Option<SocketAddr> {
        self.visitor
    }

    /// Takes a head apart.
    ///
    /// # Errors
    ///
    /// [`Failure::BadRequest`] when the authority cannot stand in a field.
    pub fn split(head: RequestHead, body: RequestBody) -> Result<(Self, Request<RequestBody>), Failure> {
        let authority = (!head.authority.is_empty()).then(|| HeaderValue::try_from(head.authority));
        let authority = authority.transpose().map_err(|_| Failure::BadRequest)?;
        let wanted = body.wanted();
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.headers_mut() = head.headers;
        if let Some(wanted) = wanted {
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    wanted.notify_one();
                }
            });
        }
        let came_over_http2 = head.version == Version::HTTP_2;
        let switch = match head.upgrade {
            Some(Upgrade::WebSocket) => Some(Switch::WebSocket(Handshake::of(request.headers_mut(), head.version))),
            Some(Upgrade::Other) => request.headers_mut().remove(header::UPGRADE).map(Switch::Other),
            Some(Upgrade::Connect) | None => None,
        };
        let (target, visitor) = (head.target, Some(head.visitor));
        Ok((Self { authority, target, switch, visitor, came_over_http2 }, request))
    }

    /// Returns whether the request asks to switch protocols.
    pub fn asks_to_switch(&self) -> bool {
        self.switch.is_some()
    }

    /// Returns whether it can ask so over HTTP/2.
    pub fn switches_over_http2(&self) -> bool {
        matches!(self.switch, Some(Switch::WebSocket(_)))
    }

    /// Checks what an answer switches to, and makes of it what it would be over HTTP/1.1.
    ///
    /// # Errors
    ///
    /// When it is no answer to what was asked.
    pub fn answered<B>(&self, response: &mut Response<B>, http2: bool) -> Result<(), Failure> {
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let agreed = match &self.switch {
            Some(Switch::WebSocket(handshake)) => {
                return handshake.answered(response, if http2 { Version::HTTP_2 } else { Version::HTTP_11 });
            }
            Some(Switch::Other(token)) => {
                let agreed = response.headers().get(header::UPGRADE);
                agreed.is_some_and(|agreed| agreed.as_bytes().eq_ignore_ascii_case(token.as_bytes()))
            }
            // Nobody asked for it: RFC 9110 §15.2.2.
            None => false,
        };
        if switched && !agreed { Err(Failure::UpstreamProtocol) } else { Ok(()) }
    }

    /// Writes `Host` and the origin-form for HTTP/1.1, `:authority` for HTTP/2.
    ///
    /// # Errors
    ///
    /// When that is not possible: the request is malformed.
    pub fn write<B>(&self, request: &mut Request<B>, url: &ServerUrl, http2: bool) -> Result<(), http::Error>
    where
        B: Body,
    {
        let authority = match &self.authority {
            Some(authority) => authority.clone(),
            None => HeaderValue::try_from(url.address.to_string())?,
        };
        let mut parts = uri::Parts::default();
        parts.path_and_query = Some(self.target.clone());
        if http2 {
            for name in [
                header::HOST,
                header::CONNECTION,
                header::UPGRADE,
                header::TRANSFER_ENCODING,
                header::SEC_WEBSOCKET_KEY,
            ] {
                request.headers_mut().remove(name);
            }
            if let Some(Switch::WebSocket(_)) = &self.switch {
                // RFC 8441 §5.
                *request.method_mut() = Method::CONNECT;
                request.extensions_mut().insert(ConnectProtocol::from_static("websocket"));
            }
            parts.scheme = Some(if url.protocol == Protocol::Https { Scheme::HTTPS } else { Scheme::HTTP });
            parts.authority = Some(authority.as_bytes().try_into()?);
        } else {
            request.headers_mut().insert(header::HOST, authority);
            headers::join_cookies(request.headers_mut());
            self.frame(request);
            match &self.switch {
                Some(Switch::WebSocket(handshake)) => {
                    // The last try may have been over HTTP/2.
                    *request.method_mut() = Method::GET;
                    headers::set_upgrade(request.headers_mut(), HeaderValue::from_static("websocket"));
                    handshake.write(request.headers_mut());
                }
                Some(Switch::Other(token)) => headers::set_upgrade(request.headers_mut(), token.clone()),
                None => {}
            }
        }
        *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.uri_mut() = Uri::from_parts(parts)?;
        Ok(())
    }

    /// Says in HTTP/1.1 what hyper leaves out.
    fn frame<B: Body>(&self, request: &mut Request<B>) {
        let length = request.body().size_hint().exact();
        let (name, value) = if matches!(*request.method(), Method::GET | Method::HEAD) && length.is_none() {
            // A body of unknown length would be dropped.
            (header::TRANSFER_ENCODING, "chunked")
        } else if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH)
            && length == Some(0)
            && self.came_over_http2
        {
            // HTTP/2 needs no length to say that there is no body; servers of HTTP/1.1 ask for one (RFC 9110 §8.6).
            (header::CONTENT_LENGTH, "0")
        } else {
            return;
        };
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

/// The body of a request, and a note of how far it came.
#[derive(Debug)]
pub struct RequestBody {
    body: Option<RecvBody>,
    upload: Option<Arc<Upload>>,
}

/// How far a request body came.
#[derive(Debug, Default)]
pub struct Upload {
    ended_at: OnceLock<Instant>,
    broken: AtomicBool,
}

impl Upload {
    /// Returns when nothing more of the body was needed.
    pub fn ended_at(&self) -> Option<Instant> {
        self.ended_at.get().copied()
    }

    /// Returns whether the body broke where it came from, which is not the server's fault.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl RequestBody {
    /// Makes a body without anything in it.
    pub fn empty() -> Self {
        Self { body: None, upload: None }
    }

    /// Returns what tells whoever sends the body to begin, where they wait for that.
    pub fn wanted(&self) -> Option<Arc<Notify>> {
        self.body.as_ref().and_then(RecvBody::wanted)
    }

    /// Returns the note, where there is a body.
    pub fn upload(&self) -> Option<Arc<Upload>> {
        self.upload.clone()
    }
}

impl From<RecvBody> for RequestBody {
    fn from(body: RecvBody) -> Self {
        let upload = (!body.is_end_stream()).then(Arc::default);
        Self { body: Some(body), upload }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            // hyper drops a body as soon as it needs no more of it.
            let _ = upload.ended_at.set(Instant::now());
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let (Some(Err(_)), Some(upload)) = (&frame, &self.upload) {
            upload.broken.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
