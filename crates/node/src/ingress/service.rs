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
        head,
        headers::{self, X_REQUEST_ID},
    },
    id::SessionId,
    limits::{Limits, Timeouts},
    route::{Conflict, Loose, PathPrefix, Pattern, RouteTable, RuleOptions, destination},
    wire::exchange::{BodyKind, RequestHead},
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{
    arrival::Arrival,
    gate::{Denial, Keeper},
    intake::{Intake, Progress, Rest},
    patience::Patient,
    refusal,
    replay::Replay,
    seat::Seat,
    switch,
    visitors::{Admitted, Visitors},
};
use crate::{
    access::{Record, Recorder, Way},
    body::{self, Counted},
    clock,
    exchange::{self, AnswerBody, Patience, Sent, Unanswered},
    registry::{GroupLinks, NoLink, Picked},
    settings::IngressRule,
    stream::StreamError,
    turns,
    unread::{Unread, Who},
    upgrade::Switched,
};

/// The way into a node: its ingress rules.
#[derive(Debug)]
pub struct Ingress {
    /// What it means that a group has no link: no client on a server, no server on a client.
    absent: Failure,
    rules: ArcSwap<Rules>,
    switched: Switched,
    visitors: Visitors,
    unread: Unread,
    rest: Arc<Rest>,
    recorder: Recorder,
}

/// What an entry goes by. Replaced as a whole; requests in flight keep what they began with.
#[derive(Debug)]
pub struct Rules {
    routes: RouteTable<Route>,
    /// What careless readers make of paths, where a rule has a gate.
    loose: Option<Loose>,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
}

/// Where a rule leads.
#[derive(Debug)]
pub struct Route {
    /// Who answers.
    pub group: Arc<GroupLinks>,
    /// What the rule takes off the path, where `options.strip_prefix` says so.
    pub prefix: PathPrefix,
    /// What else the rule does.
    pub options: RuleOptions,
    /// Asks visitors what `options.gate` says.
    pub keeper: Option<Keeper>,
}

impl Rules {
    /// Takes rules, where each of them leads, bounds and waits.
    ///
    /// # Errors
    ///
    /// When two rules take the same requests.
    pub fn new(
        rules: impl IntoIterator<Item = (Pattern, Route)>,
        limits: Limits,
        timeouts: Timeouts,
    ) -> Result<Self, Conflict> {
        let routes = RouteTable::new(rules)?;
        let loose = Loose::new(routes.rules().iter().map(|(pattern, route)| (pattern, route.keeper.is_some())));
        Ok(Self { routes, loose, limits, timeouts })
    }
}

impl Ingress {
    /// Takes the rules, what to say where a group has no link, and who looks after visitors that do not read.
    pub fn new(absent: Failure, rules: Rules, unread: Unread, recorder: Recorder) -> Self {
        Self {
            absent,
            unread,
            rules: ArcSwap::from_pointee(rules),
            switched: Switched::default(),
            visitors: Visitors::default(),
            rest: Arc::default(),
            recorder,
        }
    }

    /// Replaces the rules.
    pub fn replace(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// Returns the limits that entries keep.
    pub fn limits(&self) -> Limits {
        self.rules.load().limits
    }

    /// Returns the waits that entries keep.
    pub fn timeouts(&self) -> Timeouts {
        self.rules.load().timeouts
    }

    /// Counts in a connection of a visitor, unless it has as many as it may.
    pub fn admit(&self, visitor: IpAddr) -> Option<Admitted> {
        self.visitors.admit(visitor, self.limits().connections_per_address_max)
    }

    /// Waits until no connection that was switched to another protocol is left. Dropped early, it cuts them.
    pub async fn switched_ended(&self) {
        self.switched.ended().await;
    }

    /// Returns the groups that rules lead to.
    pub fn groups(&self) -> Vec<Arc<GroupLinks>> {
        self.rules.load().routes.rules().iter().map(|(_, route)| Arc::clone(&route.group)).collect()
    }

    /// Returns the rules as they are now.
    pub fn rules(&self) -> Vec<IngressRule> {
        let rules = self.rules.load();
        let rule = |(pattern, route): &(Pattern, Route)| IngressRule {
            pattern: pattern.clone(),
            group: route.group.name().clone(),
            options: route.options.clone(),
        };
        rules.routes.rules().iter().map(rule).collect()
    }

    /// Answers one request: with what comes back over the link, or with a refusal. Switched to another protocol, its
    /// connection keeps its seat.
    ///
    /// Dropped early, it cancels the exchange.
    pub async fn call(&self, mut request: Request<Incoming>, arrival: &Arrival, seat: &Seat) -> Response<VisitorBody> {
        let entry = arrival.entry;
        let mut record = self.recorder.begin();
        let asked = refusal::Asked::of(&request);
        let connection = hyper::upgrade::on(&mut request);
        let (mut parts, visitor_body) = request.into_parts();
        let version = parts.version;
        let extended = switch::from_extended_connect(&mut parts);
        let rules = self.rules.load_full();
        let kind = body::kind(&visitor_body);
        let asks = kind != BodyKind::None && headers::expects_continue(&parts.headers);
        let intake = Intake::new(visitor_body, rules.limits.request_body_bytes_max, asks, Arc::clone(&self.rest));
        let seen = record.is_logged().then(|| (parts.method.clone(), parts.uri.clone()));
        let head =
            extended.and_then(|()| head::from_visitor(parts, kind, entry, &rules.limits, new_request_id, random_bytes));
        let head = match head {
            Ok(head) => head,
            Err(failure) => {
                if let Some((method, uri)) = seen {
                    record.asks_badly(entry.visitor, method, &uri);
                }
                return refuse(failure, &asked, None, closes(failure, &intake.progress()), record);
            }
        };
        record.asks(&head);
        let request_id = head.headers.get(X_REQUEST_ID).cloned();
        let upgrade = head.upgrade;
        let other = headers::other_upgrade(&head.headers, upgrade);
        let progress = intake.progress();
        match self.exchange(&rules, head, arrival, intake, &mut record).await {
            Ok(mut response) => {
                record.answered(response.status());
                if let Some(upgrade) = upgrade {
                    if let Err(failure) = switch::worded(&mut response, upgrade, other, version) {
                        return refuse(failure, &asked, request_id, false, record);
                    }
                    if let Some((raw, permit)) = response.body_mut().take_raw() {
                        let kept = (permit, seat.keep());
                        self.switched.start(connection, raw, kept, rules.timeouts.switched_idle);
                    }
                }
                if asked.version() <= Version::HTTP_11 && response.body().left_upload_unasked() {
                    // Whether the visitor sends it nevertheless nobody knows: RFC 9110 §10.1.1.
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                let would_be_length = would_be_length(&response, asked.version());
                response.map(|body| VisitorBody { would_be_length, ..VisitorBody::new(Source::Answer(body), record) })
            }
            Err(denial) => {
                let closes = closes(denial.failure, &progress);
                let mut refusal = refuse(denial.failure, &asked, request_id, closes, record);
                if let Some((name, value)) = denial.field {
                    refusal.headers_mut().insert(name, value);
                }
                refusal
            }
        }
    }

    async fn exchange(
        &self,
        rules: &Rules,
        mut head: RequestHead,
        arrival: &Arrival,
        body: Intake,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Denial> {
        let route = route(rules, &head)?;
        record.belongs_to(route.group.asked());
        let timeout = route.options.timeout.unwrap_or(rules.timeouts.response_head);
        let deadline = record.start() + timeout;
        if let Some(keeper) = &route.keeper {
            let visitor = arrival.visitor(&head.headers);
            let admitted = timeout_at(deadline, keeper.admit(&mut head, visitor)).await;
            admitted.unwrap_or_else(|_| Err(Failure::Overloaded.into()))?;
        }
        head.remaining_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        route.options.edit(&mut head, &route.prefix);
        // Counted below the replay: what is sent again came from the visitor once.
        let body = Patient::new(Counted::new(body, || record.tally(Way::Request)), rules.timeouts.body_idle);
        let body = Replay::new(body);
        let mut response = self.ask(rules, route, &head, body, deadline, record).await?;
        response.body_mut().watch(&self.unread, Who::Visitor(turns::visitor(head.visitor.ip())));
        route.options.response_headers.apply(response.headers_mut());
        Ok(response)
    }

    /// Asks a link of the group, and another one when the first could not be asked or may be asked again.
    async fn ask(
        &self,
        rules: &Rules,
        route: &Route,
        head: &RequestHead,
        body: Replay<Patient<Counted<Intake>>>,
        deadline: Instant,
        record: &mut Record,
    ) -> Result<Response<AnswerBody>, Failure> {
        let turn = timeout_at(deadline, route.group.turn(turns::visitor(head.visitor.ip()))).await;
        let mut turn = turn.unwrap_or(Err(Failure::Overloaded))?;
        let mut reading = body.again();
        // Grows only where something fails.
        let mut tried = Vec::new();
        let mut failed = None;
        // What the group has not seen costs it nothing.
        let mut free = true;
        for _ in 0..=route.options.retries {
            // Too much of the body is gone to send it again.
            let Some(this) = reading.take() else { break };
            // One look at the clock less for most.
            let now = if tried.is_empty() { record.start() } else { Instant::now() };
            let picked = match self.pick(rules, route, &tried, now, deadline).await {
                Ok(Some(picked)) => picked,
                Ok(None) => break,
                // What happened to the request says more than that it cannot be tried again.
                Err(none) => return Err(failed.unwrap_or(none)),
            };
            if !free && !route.group.retries().take(route.group.asked()) {
                break;
            }
            record.carried_by(picked.link.peer());
            let leave = |sent| {
                repeatable(&head.method, sent, Failure::LinkLost)
                    && route.group.is_better_asked_elsewhere(picked.session)
                    && body.can_go_again()
                    && (sent == Sent::Nothing || route.group.retries().has(route.group.asked()))
            };
            let trial = route.group.try_out(&picked, head.body == BodyKind::None);
            let patience = Patience { deadline, leave: &leave };
            let Unanswered { failure, sent } =
                match exchange::ask(&picked.link, head, this, rules.limits, patience, record).await {
                    Ok(mut response) => {
                        trial.answered();
                        if let Some(turn) = turn.take() {
                            response.body_mut().keep(turn);
                        }
                        // Whoever answers before it has all of it listens on, as with gRPC.
                        body.settle(|body| body.go_on_with(rules.timeouts.switched_idle));
                        return Ok(response);
                    }
                    Err(unanswered) => unanswered,
                };
            match sent {
                Sent::Nothing => trial.unsent(),
                Sent::Something => trial.failed(failure),
            }
            failed = Some(failure);
            if !repeatable(&head.method, sent, failure) || Instant::now() >= deadline {
                break;
            }
            tried.push(picked.session);
            free = sent == Sent::Nothing;
            reading = body.again();
        }
        Err(failed.unwrap_or(self.absent))
    }

    /// Picks a link, other than those that were tried. A group that has just lost its last link may get it back.
    ///
    /// Returns `None` when there is none beside those that were tried.
    async fn pick(
        &self,
        rules: &Rules,
        route: &Route,
        tried: &[SessionId],
        now: Instant,
        deadline: Instant,
    ) -> Result<Option<Picked>, Failure> {
        match route.group.pick(tried, now) {
            Ok(picked) => return Ok(Some(picked)),
            Err(_) if route.group.has_any(tried) => return Ok(None),
            Err(NoLink::Absent | NoLink::Draining) => {}
        }
        route.group.rejoined(rules.timeouts.rejoin, deadline).await;
        let picked = route.group.pick(&[], Instant::now()).map_err(|none| match none {
            NoLink::Absent => self.absent,
            NoLink::Draining => Failure::Draining,
        })?;
        Ok(Some(picked))
    }
}

/// Returns whether a request may be asked again after such an end. A lost link proves nothing, so only what may be done
/// twice is (RFC 9110 §9.2.2).
fn repeatable(method: &Method, sent: Sent, failure: Failure) -> bool {
    sent == Sent::Nothing || failure.retryable() || failure == Failure::LinkLost && method.is_idempotent()
}

fn route<'a>(rules: &'a Rules, head: &RequestHead) -> Result<&'a Route, Failure> {
    let (host, path) = destination(head)?;
    let number = rules.routes.find_number(&host.name, &path).ok_or(Failure::NoRoute)?;
    if rules.loose.as_ref().is_some_and(|loose| loose.is_doubtful(&host.name, &path, number)) {
        // What is behind may take it for what another rule guards.
        return Err(Failure::BadRequest);
    }
    rules.routes.rules().get(number).map(|(_, route)| route).ok_or(Failure::NoRoute)
}

/// The body that a visitor gets, and with it the record of the exchange, which ends when it does.
#[derive(Debug)]
pub struct VisitorBody {
    source: Source,
    record: Record,
    /// How long it says to be, where it is none: see [`would_be_length`].
    would_be_length: Option<u64>,
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
        let mut body = Self { source, record, would_be_length: None };
        body.note_end();
        body
    }

    fn note_end(&mut self) {
        if body::is_over(self) {
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
            Source::Answer(body) => body.is_end_stream() && self.would_be_length.is_none(),
            Source::Refusal(body) => body.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(length) = self.would_be_length {
            return SizeHint::with_exact(length);
        }
        match &self.source {
            Source::Answer(body) => body.size_hint(),
            Source::Refusal(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| u64::try_from(body.len()).unwrap_or(u64::MAX)))
            }
        }
    }
}

/// Returns the length that the body of a 304 says to have in HTTP/1.1.
///
/// hyper writes the `Content-Length` of a 304 only for a body of that length, which it then does not ask for.
fn would_be_length(response: &Response<AnswerBody>, version: Version) -> Option<u64> {
    let is_none = version <= Version::HTTP_11 && response.status() == StatusCode::NOT_MODIFIED;
    if is_none { head::would_be_length(response.headers()) } else { None }
}

/// Returns whether nothing more is read from a connection after a refusal: where a request ends on it is in doubt, or
/// its end is far away.
fn closes(failure: Failure, progress: &Progress) -> bool {
    failure == Failure::BadRequest || !progress.is_complete()
}

fn refuse(
    failure: Failure,
    asked: &refusal::Asked,
    request_id: Option<HeaderValue>,
    closes: bool,
    mut record: Record,
) -> Response<VisitorBody> {
    record.refused(failure);
    let refusal = refusal::response(failure, asked, request_id.as_ref(), closes);
    refusal.map(|body| VisitorBody::new(Source::Refusal(Some(body)), record))
}

/// A UUIDv7 (RFC 9562 §5.7): sorts by time in logs. It is a name and no secret, so its random part comes from
/// memory and not from the system.
fn new_request_id() -> HeaderValue {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let millis = clock::millis(now);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random_bytes()).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    fastrand::fill(&mut random);
    random
}
