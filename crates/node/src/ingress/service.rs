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
    id::Group,
    limits::{Limits, Timeouts},
    route::{Pattern, RouteTable},
    wire::exchange::RequestHead,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::refusal;
use crate::{
    access::{Record, Recorder, Way},
    body::{self, Counted},
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
    recorder: Recorder,
}

impl Ingress {
    /// Takes the rules, and what to say where a group has no link.
    pub fn new(
        routes: RouteTable<Arc<GroupLinks>>,
        absent: Failure,
        trusted_proxies: Vec<IpNet>,
        limits: Limits,
        timeouts: Timeouts,
        recorder: Recorder,
    ) -> Self {
        Self { routes: ArcSwap::from_pointee(routes), absent, trusted_proxies, limits, timeouts, recorder }
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

    /// Returns the rules as they are now.
    pub fn rules(&self) -> Vec<(Pattern, Group)> {
        let routes = self.routes.load();
        routes.rules().iter().map(|(pattern, group)| (pattern.clone(), group.name().clone())).collect()
    }

    /// Answers one request: with what comes back over the link, or with a refusal.
    ///
    /// Dropped early, it cancels the exchange.
    pub async fn call(&self, request: Request<Incoming>, entry: Entry) -> Response<VisitorBody> {
        let mut record = self.recorder.begin();
        // What a refusal needs, should there be one, out of the head that goes across.
        let accept = request.headers().get(header::ACCEPT).cloned();
        let (parts, visitor_body) = request.into_parts();
        let remaining_ms = u32::try_from(self.timeouts.response_head.as_millis()).unwrap_or(u32::MAX);
        let kind = body::kind(&visitor_body);
        let seen = record.is_logged().then(|| (parts.method.clone(), parts.uri.clone()));
        let head = head::from_visitor(parts, kind, entry, &self.limits, remaining_ms, new_request_id, random_bytes);
        let head = match head {
            Ok(head) => head,
            Err(failure) => {
                if let Some((method, uri)) = seen {
                    record.asks_badly(entry.visitor, method, &uri);
                }
                return refuse(failure, accept, None, record);
            }
        };
        record.asks(&head);
        let request_id = head.headers.get(X_REQUEST_ID).cloned();
        match self.exchange(head, visitor_body, &mut record).await {
            Ok(response) => {
                record.answered(response.status());
                response.map(|body| VisitorBody::new(Source::Answer(body), record))
            }
            Err(failure) => refuse(failure, accept, request_id, record),
        }
    }

    async fn exchange(
        &self,
        head: RequestHead,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Failure> {
        let deadline = record.start() + self.timeouts.response_head;
        let group = self.route(&head)?;
        record.belongs_to(group.asked());
        let link = group.pick().map_err(|none| match none {
            NoLink::Absent => self.absent,
            NoLink::Draining => Failure::Draining,
        })?;
        record.carried_by(link.peer());
        let body = Counted::new(body, || record.tally(Way::Request));
        exchange::ask(&link, head, body, self.limits, deadline, record).await
    }

    fn route(&self, head: &RequestHead) -> Result<Arc<GroupLinks>, Failure> {
        let host = Host::parse(&head.authority).map_err(|_| Failure::BadRequest)?;
        let path = path::normalise(head.target.path()).map_err(|_| Failure::BadRequest)?;
        let routes = self.routes.load();
        routes.find(&host.name, &path).map(Arc::clone).ok_or(Failure::NoRoute)
    }
}

/// The body that a visitor gets, and with it the record of the exchange, which ends when it does.
#[derive(Debug)]
pub struct VisitorBody {
    source: Source,
    record: Record,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost every body is an answer; a box would cost each an allocation")]
enum Source {
    /// From the other end of a link.
    Answer(AnswerBody),
    /// Ours; taken when it was sent.
    Refusal(Option<Bytes>),
}

impl VisitorBody {
    fn new(source: Source, record: Record) -> Self {
        let mut body = Self { source, record };
        body.note_end();
        body
    }

    /// hyper does not ask for the end of a body whose length it knows.
    fn note_end(&mut self) {
        if self.is_end_stream() || self.size_hint().exact() == Some(0) {
            self.record.completed();
        }
    }
}

impl Body for VisitorBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let frame = match &mut self.source {
            Source::Answer(body) => ready!(Pin::new(body).poll_frame(cx)),
            Source::Refusal(body) => body.take().map(|body| Ok(Frame::data(body))),
        };
        match &frame {
            Some(Ok(frame)) => self.record.sent(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(error)) => {
                tracing::debug!(%error, "response cut short");
                self.record.failed(error.failure());
            }
            None => {}
        }
        self.note_end();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Answer(body) => body.is_end_stream(),
            Source::Refusal(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Answer(body) => body.size_hint(),
            Source::Refusal(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| u64::try_from(body.len()).unwrap_or(u64::MAX)))
            }
        }
    }
}

fn refuse(
    failure: Failure,
    accept: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    mut record: Record,
) -> Response<VisitorBody> {
    record.refused(failure);
    let mut headers = HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(header::ACCEPT, accept);
    }
    let refusal = refusal::response(failure, &headers, request_id.as_ref());
    refusal.map(|body| VisitorBody::new(Source::Refusal(Some(body)), record))
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
