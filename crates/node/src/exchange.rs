//! One request and its response on one QUIC stream: asked on one node, answered on the other.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use adit_core::{
    failure::Failure,
    http::{head, headers},
    limits::Limits,
    wire::exchange::{self, BodyKind, Reply, ReplyHead, RequestHead, Upgrade},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    access::{Record, Way},
    body::{self, Counted, Outbox, RecvBody, SendError},
    link::{ExchangePermit, Link},
    stream::{RecvStream, SendStream, StreamError},
    unread::{Unread, Who},
    upgrade::{self, Raw},
};

/// How long an asker has to get its request head across, once its stream is open.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the body of a request with `Expect: 100-continue` waits to be asked for. Then it goes: not every server
/// asks (RFC 9110 §10.1.1).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of an answer, and with it everything that is still going on in the exchange.
///
/// Dropped before its end, it cancels the exchange: both halves of the stream are reset with
/// [`Failure::Cancelled`].
#[derive(Debug)]
pub struct AnswerBody {
    body: RecvBody,
    /// The rest of the request body, where the response came before its end.
    upload: Option<Upload>,
    /// Whether nobody has asked for it.
    unasked: bool,
    /// The stream, where the answerer has agreed to switch protocols.
    raw: Option<Raw>,
    permit: Option<ExchangePermit>,
}

/// What is left of a request body when the response comes.
#[derive(Debug)]
enum Upload {
    /// It goes on beside the response, until this is dropped.
    Running(#[expect(dead_code, reason = "dropping it ends the task")] AbortOnDropHandle<()>),
    /// Nobody has asked for it. Reset before the response has ended, the stream would take the response with it.
    Unasked(#[expect(dead_code, reason = "dropping it resets the stream")] SendStream),
}

impl Upload {
    /// Goes on with an upload beside its response.
    fn beside(upload: Pin<Box<impl Future<Output = Result<(), Failure>> + Send + 'static>>) -> Self {
        let rest = async move {
            // How it went is seen in the response: it ends early where the upload mattered.
            let _ = upload.await;
        };
        #[expect(clippy::disallowed_methods, reason = "the response body owns the task")]
        let rest = AbortOnDropHandle::new(tokio::spawn(rest));
        Self::Running(rest)
    }
}

impl AnswerBody {
    /// Has its reader stopped when it is too slow: the exchange is over then, whoever owns this.
    pub fn watch(&mut self, unread: &Unread, who: Who) {
        let Self { body, upload, raw, permit, .. } = self;
        *raw = raw.take().map(|raw| raw.watched(unread, who));
        // Both halves of the stream and the permit: one alone would still keep others from asking.
        body.watch_with(unread, who, || Some(Box::new((upload.take(), permit.take()))));
    }

    /// Returns whether the body of the request was never asked for, because it was answered without it.
    pub fn left_upload_unasked(&self) -> bool {
        self.unasked
    }

    /// Takes the stream of an exchange that was answered with 101, and what counts it as in flight.
    pub fn take_raw(&mut self) -> Option<(Raw, Option<ExchangePermit>)> {
        let raw = self.raw.take()?;
        Some((raw, self.permit.take()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Asks one exchange: sends a request over a link and waits for the head of its response.
///
/// The head and what the body has ready leave in one write; where the head expects to be told to continue, the body
/// is not read before that. The wait starts when the request is on its way as a whole; a body that takes longer may
/// do so, as long as it gets on, and how long it may not is its own affair: it fails with what the exchange then fails
/// with. Not cancel-safe; dropped early, it cancels the exchange at the other end.
///
/// # Errors
///
/// [`Failure::Timeout`] when there is no response head at the deadline, what the answerer says in
/// [`Reply::Failed`], or what happened to the link; with it, whether anything was sent.
pub async fn ask<B>(
    link: &Link,
    head: &RequestHead,
    mut body: B,
    limits: Limits,
    deadline: Instant,
    record: &mut Record,
) -> Result<Response<AnswerBody>, Unanswered>
where
    B: Body<Data = Bytes, Error = Failure> + Send + Unpin + 'static,
{
    let wait = deadline.saturating_duration_since(Instant::now());
    let permit = link.permit(deadline).await.map_err(Unanswered::unsent)?;
    let mut outbox = Outbox::new(limits);
    outbox.request(head).map_err(|_| Failure::HeadTooLarge)?;
    let begun = timeout_at(deadline, begin(link, head, &mut outbox, &mut body));
    let (send, mut recv, complete) = begun.await.unwrap_or(Err(Failure::Timeout.into()))?;
    record.opened();

    if let Some(upgrade) = head.upgrade {
        let switched = ask_to_switch(&head.method, upgrade, send, recv, limits, permit);
        return Ok(timeout_at(deadline, switched).await.unwrap_or(Err(Failure::Timeout))?);
    }
    let unasked = !complete && headers::expects_continue(&head.headers);
    let early = if unasked { continued(&mut recv, &limits, &head.method, deadline).await? } else { None };
    let (upload, (reply, kind)) = if let Some((reply, kind)) = early {
        let upload = if reply.status.is_success() {
            start_late(Box::pin(upload(outbox, body, send, Arc::default()))).await
        } else {
            Some(Upload::Unasked(send))
        };
        (upload, (reply, kind))
    } else if complete {
        send.finish();
        let reply = timeout_at(deadline, read_reply(&mut recv, &limits, &head.method));
        (None, reply.await.unwrap_or(Err(Failure::Timeout))?)
    } else {
        let progress = Arc::<Progress>::default();
        let upload = Box::pin(upload(outbox, body, send, Arc::clone(&progress)));
        upload_and_read_reply(upload, &progress, &mut recv, &limits, &head.method, wait).await?
    };
    // Nobody asked for it: RFC 9110 §15.2.2.
    if reply.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Protocol.into());
    }
    Ok(answer_from(reply, RecvBody::new(recv, kind, limits), upload, permit))
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What happened.
    pub failure: Failure,
    /// Whether nothing of the request has left this node.
    pub unsent: bool,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self { failure, unsent: false }
    }
}

impl Unanswered {
    fn unsent(failure: Failure) -> Self {
        Self { failure, unsent: true }
    }
}

/// Opens the stream, and sends the head with what the body has ready. Returns whether that was all.
async fn begin<B>(
    link: &Link,
    head: &RequestHead,
    outbox: &mut Outbox,
    body: &mut B,
) -> Result<(SendStream, RecvStream, bool), Unanswered>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    let (mut send, recv) = link.open().await.map_err(Unanswered::unsent)?;
    if head.body == BodyKind::None || headers::expects_continue(&head.headers) {
        outbox.flush(&mut send).await.map_err(|error| error.failure())?;
        return Ok((send, recv, head.body == BodyKind::None));
    }
    let complete = upload_some(outbox, body, &mut send).await?;
    Ok((send, recv, complete))
}

/// Starts an upload that was not asked for before its response came, which takes it for granted.
///
/// hyper tells a visitor to continue when it is asked for the body, and only before it has the response: it gets its
/// turn in between.
async fn start_late<U>(mut upload: Pin<Box<U>>) -> Option<Upload>
where
    U: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let ended = poll_fn(|cx| Poll::Ready(upload.as_mut().poll(cx).is_ready())).await;
    if ended {
        return None;
    }
    tokio::task::yield_now().await;
    Some(Upload::beside(upload))
}

/// Sends the rest of a body and reads the reply, whichever ends first. Returns the upload where it has not ended.
async fn upload_and_read_reply<U>(
    mut upload: Pin<Box<U>>,
    progress: &Progress,
    recv: &mut RecvStream,
    limits: &Limits,
    method: &Method,
    wait: Duration,
) -> Result<(Option<Upload>, (ReplyHead, BodyKind)), Failure>
where
    U: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut reply = pin!(read_reply(recv, limits, method));
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            reply = &mut reply => {
                // The response came first: the rest of the upload goes on beside it.
                return Ok((Some(Upload::beside(upload)), reply?));
            }
            uploaded = &mut upload => {
                uploaded?;
                let reply = timeout(wait, reply).await.unwrap_or(Err(Failure::Timeout))?;
                return Ok((None, reply));
            }
            () = sleep(wait) => {}
        }
        let steps = progress.steps.load(Ordering::Relaxed);
        // Whoever sends the body has its own deadline; this one is for whoever takes it.
        if steps == seen && !progress.starving.load(Ordering::Relaxed) {
            return Err(Failure::Timeout);
        }
        seen = steps;
    }
}

/// Waits for the answer to a request to switch protocols, with our half of the stream still open.
async fn ask_to_switch(
    method: &Method,
    upgrade: Upgrade,
    send: SendStream,
    mut recv: RecvStream,
    limits: Limits,
    permit: ExchangePermit,
) -> Result<Response<AnswerBody>, Failure> {
    let (reply, kind) = read_reply(&mut recv, &limits, method).await?;
    if !upgrade.is_agreed_by(reply.status) {
        send.finish();
        return Ok(answer_from(reply, RecvBody::new(recv, kind, limits), None, permit));
    }
    let mut response = answer_from(reply, RecvBody::none(limits), None, permit);
    response.body_mut().raw = Some(Raw::new(send, recv));
    Ok(response)
}

/// How an upload gets on.
#[derive(Debug, Default)]
struct Progress {
    steps: AtomicU64,
    /// Whether it waits for more of the body.
    starving: AtomicBool,
}

/// Sends a body to its end, and counts every step.
async fn upload<B>(
    mut outbox: Outbox,
    mut body: B,
    mut send: SendStream,
    progress: Arc<Progress>,
) -> Result<(), Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    loop {
        progress.starving.store(true, Ordering::Relaxed);
        let filled = outbox.fill(&mut body).await;
        progress.starving.store(false, Ordering::Relaxed);
        let complete = match filled {
            Ok(complete) => complete,
            Err(error) => {
                let failure = upload_failure(&error);
                send.reset(failure);
                return Err(failure);
            }
        };
        match outbox.flush(&mut send).await {
            Ok(()) if complete => break,
            Ok(()) => {}
            // There will be no reply: whoever should make it is the one who does not read.
            Err(StreamError::Peer(Failure::SlowReader)) => return Err(Failure::SlowReader),
            // An answerer that wants no more of it is no failure: its reply says what is.
            Err(StreamError::Peer(_)) => break,
            Err(error) => return Err(error.failure()),
        }
        progress.steps.fetch_add(1, Ordering::Relaxed);
    }
    send.finish();
    Ok(())
}

/// Sends what a request body has ready and returns whether that was all.
///
/// An answerer that wants no more of it is no failure: its reply says what is.
async fn upload_some<B>(outbox: &mut Outbox, body: &mut B, send: &mut SendStream) -> Result<bool, Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    match outbox.advance(body, send).await {
        Err(SendError::Stream(StreamError::Peer(_))) => Ok(true),
        advanced => advanced.map_err(|error| upload_failure(&error)),
    }
}

/// Waits until a body is asked for, or for long enough. Returns the response head where that comes instead.
async fn continued(
    recv: &mut RecvStream,
    limits: &Limits,
    method: &Method,
    deadline: Instant,
) -> Result<Option<(ReplyHead, BodyKind)>, Failure> {
    let asked = async {
        loop {
            match next_reply(recv, limits, method).await? {
                Next::Interim(StatusCode::CONTINUE) => return Ok(None),
                Next::Interim(_) => {}
                Next::Final(head, kind) => return Ok(Some((head, kind))),
            }
        }
    };
    timeout_at(deadline.min(Instant::now() + CONTINUE_TIMEOUT), asked).await.unwrap_or(Ok(None))
}

/// Reads the response head of a request with this method.
async fn read_reply(recv: &mut RecvStream, limits: &Limits, method: &Method) -> Result<(ReplyHead, BodyKind), Failure> {
    loop {
        match next_reply(recv, limits, method).await? {
            Next::Interim(_) => {}
            Next::Final(head, kind) => return Ok((head, kind)),
        }
    }
}

/// A response head that was read.
enum Next {
    Interim(StatusCode),
    Final(ReplyHead, BodyKind),
}

/// Reads one response head of a request with this method. Cancel-safe.
async fn next_reply(recv: &mut RecvStream, limits: &Limits, method: &Method) -> Result<Next, Failure> {
    let frame = recv.frame(limits.head_frame_bytes_max()).await.map_err(|error| error.failure())?;
    let frame = frame.ok_or(Failure::Protocol)?;
    match exchange::decode_reply(&frame, limits).map_err(|_| Failure::Protocol)? {
        Reply::Informational(head) => Ok(Next::Interim(head.status)),
        Reply::Head(mut head, kind) => {
            head::from_answerer(&mut head, kind, method)?;
            Ok(Next::Final(head, kind))
        }
        Reply::Failed(failure) => Err(failure),
    }
}

fn answer_from(
    head: ReplyHead,
    body: RecvBody,
    upload: Option<Upload>,
    permit: ExchangePermit,
) -> Response<AnswerBody> {
    let unasked = matches!(upload, Some(Upload::Unasked(_)));
    let mut response = Response::new(AnswerBody { body, upload, unasked, raw: None, permit: Some(permit) });
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    let said = head.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok());
    // hyper writes `<none>` behind a status that it does not know.
    let nothing = || head.status.canonical_reason().is_none().then(|| ReasonPhrase::from_static(b""));
    if let Some(reason) = said.or_else(nothing) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// What comes of a request where it is answered.
#[derive(Debug)]
pub enum Handled<B, K> {
    /// A response.
    Response(Response<B>),
    /// A connection for raw bytes, as CONNECT asks for, and what is kept as long as it is in use.
    Connected(TcpStream, K),
}

/// Answers one exchange on a stream that the peer opened: reads the request, has `handle` make the response,
/// and sends it back.
///
/// Returns how it ended; `record` takes down the way there. Dropped early, it resets both halves of the stream with [`Failure::Cancelled`].
///
/// # Errors
///
/// When no complete response went out; the peer has been told, unless it is what failed.
pub async fn answer<H, F, B, K>(
    mut send: SendStream,
    mut recv: RecvStream,
    limits: Limits,
    record: &mut Record,
    handle: H,
) -> Result<(), Failure>
where
    H: FnOnce(RequestHead, RecvBody) -> F,
    F: Future<Output = Result<Handled<B, K>, Failure>>,
    B: Body<Data = Bytes> + Unpin,
{
    let head = match timeout_at(Instant::now() + REQUEST_HEAD_TIMEOUT, read_request(&mut recv, &limits)).await {
        Ok(Ok(head)) => head,
        Ok(Err(failure)) => return abandon(send, recv, failure),
        Err(_) => return abandon(send, recv, Failure::RequestTimeout),
    };
    record.opened();
    record.asks(&head);
    // The asker's wait starts when its body is here, and it cancels when it is over; without a body it starts now.
    let wait = (head.body == BodyKind::None).then(|| Duration::from_millis(head.remaining_ms.into()));
    let asked = Asked { method: head.method.clone(), version: head.version };
    let expects = head.body != BodyKind::None && headers::expects_continue(&head.headers);
    let wanted = expects.then(Arc::<Notify>::default);
    let (request_body, mut rest) = match head.upgrade {
        Some(_) => (RecvBody::none(limits), Some(recv)),
        None => {
            let body = RecvBody::new(recv, head.body, limits).counted(record.tally(Way::Request));
            (body.wanted_by(wanted.clone()), None)
        }
    };
    let mut stopped = pin!(send.stopped());
    let mut handling = pin!(within(wait, handle(head, request_body)));
    let handled = loop {
        tokio::select! {
            biased;
            handled = &mut handling => break handled,
            error = &mut stopped => return Err(error.failure()),
            () = is_wanted(wanted.as_deref()) => ask_for_body(&mut send, limits).await?,
        }
    };
    let mut response = match handled {
        Ok(Handled::Response(response)) => response,
        Ok(Handled::Connected(connection, kept)) => {
            let ended = connected(connection, send, rest, limits, record).await;
            drop(kept);
            return ended;
        }
        Err(failure) => return refuse(send, Outbox::new(limits), failure).await,
    };
    record.answered(response.status());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it: RFC 9110 §15.2.2.
        let Some(recv) = rest.take() else { return refuse(send, Outbox::new(limits), Failure::UpstreamProtocol).await };
        let connection = hyper::upgrade::on(&mut response);
        // The body is empty, and counts the connection as in flight as long as it is there.
        let (head, body) = response.into_parts();
        send_response(Response::from_parts(head, RecvBody::none(limits)), &asked, Outbox::new(limits), &mut send)
            .await?;
        upgrade::splice_upgraded(connection, Raw::new(send, recv)).await;
        drop(body);
        return Ok(());
    }
    let response = response.map(|body| Counted::new(body, || record.tally(Way::Response)));
    let failure = tokio::select! {
        biased;
        sent = send_response(response, &asked, Outbox::new(limits), &mut send) => match sent {
            Ok(()) => {
                send.finish();
                return Ok(());
            }
            Err(failure) => failure,
        },
        error = &mut stopped => error.failure(),
    };
    send.reset(failure);
    Err(failure)
}

/// What a response depends on that is not in it.
struct Asked {
    method: Method,
    version: Version,
}

/// Waits until the body of a request is wanted, each time that it is.
async fn is_wanted(wanted: Option<&Notify>) {
    match wanted {
        Some(wanted) => wanted.notified().await,
        None => std::future::pending().await,
    }
}

/// Tells the asker that its body is waited for.
async fn ask_for_body(send: &mut SendStream, limits: Limits) -> Result<(), Failure> {
    let mut outbox = Outbox::new(limits);
    let head = ReplyHead { status: StatusCode::CONTINUE, reason: None, headers: HeaderMap::new() };
    // A reply without fields is within any limit.
    let _ = outbox.reply(&Reply::Informational(head));
    outbox.flush(send).await.map_err(|error| error.failure())
}

/// Goes on with a connection that CONNECT has asked for.
async fn connected(
    connection: TcpStream,
    mut send: SendStream,
    recv: Option<RecvStream>,
    limits: Limits,
    record: &mut Record,
) -> Result<(), Failure> {
    // The handler connects for no other request.
    let Some(recv) = recv else { return refuse(send, Outbox::new(limits), Failure::Protocol).await };
    record.answered(StatusCode::OK);
    let mut outbox = Outbox::new(limits);
    let head = ReplyHead { status: StatusCode::OK, reason: None, headers: HeaderMap::new() };
    // A reply without fields is within any limit.
    let _ = outbox.reply(&Reply::Head(head, BodyKind::None));
    outbox.flush(&mut send).await.map_err(|error| error.failure())?;
    upgrade::splice_tcp(connection, Raw::new(send, recv)).await;
    Ok(())
}

/// Waits for a response, for so long where there is a limit.
async fn within<T>(wait: Option<Duration>, handled: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match wait {
        Some(wait) => timeout(wait, handled).await.unwrap_or(Err(Failure::Timeout)),
        None => handled.await,
    }
}

/// Says that there is no response.
async fn refuse(mut send: SendStream, mut outbox: Outbox, failure: Failure) -> Result<(), Failure> {
    // A reply without fields is within any limit.
    let _ = outbox.reply(&Reply::Failed(failure));
    outbox.flush(&mut send).await.map_err(|error| error.failure())?;
    send.finish();
    Err(failure)
}

async fn read_request(recv: &mut RecvStream, limits: &Limits) -> Result<RequestHead, Failure> {
    let frame = recv.frame(limits.head_frame_bytes_max()).await.map_err(|error| error.failure())?;
    let frame = frame.ok_or(Failure::Protocol)?;
    let mut head = exchange::decode_request(&frame, limits).map_err(|error| {
        tracing::warn!(%error, "malformed request head from the peer");
        Failure::Protocol
    })?;
    head::from_asker(&mut head)
        .inspect_err(|_| tracing::warn!("a request head from the peer disagrees with its body"))?;
    Ok(head)
}

async fn send_response<B>(
    response: Response<B>,
    asked: &Asked,
    mut outbox: Outbox,
    send: &mut SendStream,
) -> Result<(), Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut parts, mut body) = response.into_parts();
    // Other versions of HTTP have no place for it.
    let said = parts.extensions.remove::<ReasonPhrase>().filter(|_| asked.version <= Version::HTTP_11);
    let mut head = ReplyHead { status: parts.status, reason: said.map(Bytes::from), headers: parts.headers };
    let kind = head::from_upstream(&mut head, body::kind(&body), &asked.method);
    // A head over our limits cannot be passed on as it is, and not in part either.
    outbox.reply(&Reply::Head(head, kind)).map_err(|_| Failure::UpstreamProtocol)?;
    if kind == BodyKind::None {
        return outbox.flush(send).await.map_err(|error| error.failure());
    }
    let broken = |error| source_failure(&error, Failure::UpstreamReset);
    while !outbox.advance(&mut body, send).await.map_err(broken)? {}
    Ok(())
}

/// Ends a stream on which the peer did not ask for anything.
fn abandon(send: SendStream, recv: RecvStream, failure: Failure) -> Result<(), Failure> {
    send.reset(failure);
    recv.stop(failure);
    Err(failure)
}

/// What the early end of a request body means: its own failure when it broke where it came from.
fn upload_failure(error: &SendError<Failure>) -> Failure {
    match error {
        SendError::Source(failure) => *failure,
        SendError::Unencodable(_) => Failure::HeadTooLarge,
        SendError::Stream(error) => error.failure(),
    }
}

/// What an early end means: `source` when the body broke where it came from.
fn source_failure<E>(error: &SendError<E>, source: Failure) -> Failure {
    match error {
        SendError::Source(_) => source,
        SendError::Unencodable(_) => Failure::HeadTooLarge,
        SendError::Stream(error) => error.failure(),
    }
}
