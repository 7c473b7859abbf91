//! From a visitor's request to an exchange: one view of the head, one rule, one link.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adit_core::{
    failure::Failure,
    http::{
        head::{self, Entry},
        headers::X_REQUEST_ID,
        host::Host,
        path,
    },
    limits::{Limits, Timeouts},
    route::RouteTable,
    wire::exchange::RequestHead,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio::time::Instant;

use super::refusal;
use crate::{
    body,
    exchange::{self, AnswerBody},
    registry::{GroupLinks, NoLink},
    stream::StreamError,
};

/// The way into a node: its ingress rules.
#[derive(Debug)]
pub struct Ingress {
    routes: ArcSwap<RouteTable<Arc<GroupLinks>>>,
    /// What it means that a group has no link: no client on a server, no server on a client.
    absent: Failure,
    trusted_proxies: Vec<IpNet>,
    limits: Limits,
    timeouts: Timeouts,
}

impl Ingress {
    /// Takes the rules, and what to say where a group has no link.
    pub fn new(
        routes: RouteTable<Arc<GroupLinks>>,
        absent: Failure,
        trusted_proxies: Vec<IpNet>,
        limits: Limits,
        timeouts: Timeouts,
    ) -> Self {
        Self { routes: ArcSwap::from_pointee(routes), absent, trusted_proxies, limits, timeouts }
    }

    /// Returns whether the word of a peer on where its requests come from is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    /// Returns the limits that entries keep.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the waits that entries keep.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Answers one request: with what comes back over the link, or with a refusal.
    ///
    /// Dropped early, it cancels the exchange.
    pub async fn call(&self, request: Request<Incoming>, entry: Entry) -> Response<VisitorBody> {
        // What a refusal needs, should there be one, out of the head that goes across.
        let accept = request.headers().get(header::ACCEPT).cloned();
        let (parts, visitor_body) = request.into_parts();
        let remaining_ms = u32::try_from(self.timeouts.response_head.as_millis()).unwrap_or(u32::MAX);
        let kind = body::kind(&visitor_body);
        let head = head::from_visitor(parts, kind, entry, &self.limits, remaining_ms, new_request_id, random_bytes);
        let head = match head {
            Ok(head) => head,
            Err(failure) => return refuse(failure, accept, None),
        };
        let request_id = head.headers.get(X_REQUEST_ID).cloned();
        match self.exchange(head, visitor_body).await {
            Ok(response) => response.map(VisitorBody::Answer),
            Err(failure) => {
                tracing::debug!(code = failure.code(), id = ?request_id, "refused");
                refuse(failure, accept, request_id)
            }
        }
    }

    async fn exchange(&self, head: RequestHead, body: Incoming) -> Result<Response<AnswerBody>, Failure> {
        let deadline = Instant::now() + self.timeouts.response_head;
        let group = self.route(&head)?;
        let link = group.pick().map_err(|none| match none {
            NoLink::Absent => self.absent,
            NoLink::Draining => Failure::Draining,
        })?;
        exchange::ask(&link, head, body, self.limits, deadline).await
    }

    fn route(&self, head: &RequestHead) -> Result<Arc<GroupLinks>, Failure> {
        let host = Host::parse(&head.authority).map_err(|_| Failure::BadRequest)?;
        let path = path::normalise(head.target.path()).map_err(|_| Failure::BadRequest)?;
        let routes = self.routes.load();
        routes.find(&host.name, &path).map(Arc::clone).ok_or(Failure::NoRoute)
    }
}

/// The body that a visitor gets.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost every body is an answer; a box would cost each an allocation")]
pub enum VisitorBody {
    /// From the other end of a link.
    Answer(AnswerBody),
    /// Ours; taken when it was sent.
    Refusal(Option<Bytes>),
}

impl Body for VisitorBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let frame = match &mut *self {
            Self::Answer(body) => ready!(Pin::new(body).poll_frame(cx)),
            Self::Refusal(body) => body.take().map(|body| Ok(Frame::data(body))),
        };
        if let Some(Err(error)) = &frame {
            tracing::info!(%error, "response cut short");
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Answer(body) => body.is_end_stream(),
            Self::Refusal(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Answer(body) => body.size_hint(),
            Self::Refusal(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| u64::try_from(body.len()).unwrap_or(u64::MAX)))
            }
        }
    }
}

fn refuse(failure: Failure, accept: Option<HeaderValue>, request_id: Option<HeaderValue>) -> Response<VisitorBody> {
    let mut headers = HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(header::ACCEPT, accept);
    }
    refusal::response(failure, &headers, request_id.as_ref()).map(|body| VisitorBody::Refusal(Some(body)))
}

/// A UUIDv7 (RFC 9562 §5.7): sorts by time in logs. It is a name and no secret, so its random part comes from
/// memory and not from the system.
fn new_request_id() -> HeaderValue {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random_bytes()).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    fastrand::fill(&mut random);
    random
}
