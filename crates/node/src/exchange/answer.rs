//! The side that answers.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use adit_core::{
    conduct::Act,
    failure::Failure,
    http::{head, headers},
    id::SessionId,
    limits::{Limits, Timeouts},
    wire::{
        codec::DecodeError,
        exchange::{self, BodyKind, Reply, ReplyHead, RequestHead},
    },
};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body;
use hyper::ext::ReasonPhrase;
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    access::{Record, Way},
    body::{self, Counted, Outbox, RecvBody, SendError},
    conduct::Conduct,
    progress::Progress,
    stream::{RecvStream, SendStream, StreamError},
    unread::{Taker, Unread, Who},
    upgrade::{self, Raw},
};

/// How long what an asker gives up itself may stand still, as a multiple of the timeout that the two have for it.
const PEER_TIMES: u32 = 2;

/// How long an asker has to get its request head across, once its stream is open.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What comes of a request where it is answered.
#[derive(Debug)]
pub enum Handled<B, K> {
    /// A response.
    Response(Response<B>),
    /// A connection for raw bytes, as CONNECT asks for, and what is kept as long as it is in use.
    Connected(TcpStream, K),
}

/// How much an asker may ask of this node.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// What a head and a body may be.
    pub limits: Limits,
    /// How long they may stand still.
    pub timeouts: &'a Timeouts,
    /// Looks after those that take nothing.
    pub unread: &'a Unread,
    /// The link that it asks on.
    pub session: SessionId,
}

impl Bounds<'_> {
    /// Makes raw bytes of a stream whose reader is looked after.
    fn watched(&self, send: SendStream, recv: RecvStream) -> Raw {
        Raw::new(send, recv).watched(self.unread, Who::Upstream(self.session))
    }

    fn switched_idle(&self) -> Duration {
        self.timeouts.switched_idle.saturating_mul(PEER_TIMES)
    }
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
    bounds: Bounds<'_>,
    record: &mut Record,
    handle: H,
) -> Result<(), Failure>
where
    H: FnOnce(RequestHead, RecvBody) -> F,
    F: Future<Output = Result<Handled<B, K>, Failure>>,
    B: Body<Data = Bytes> + Unpin,
{
    let limits = bounds.limits;
    let conduct = recv.conduct();
    let abandoned = || conduct.iter().for_each(|conduct| conduct.note(Act::AbandonedExchange));
    let head = match timeout_at(Instant::now() + REQUEST_HEAD_TIMEOUT, read_request(&mut recv, &limits)).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => {
            recv.judge(&error);
            return abandon(send, recv, error.failure());
        }
        Err(_) => {
            abandoned();
            return abandon(send, recv, Failure::RequestTimeout);
        }
    };
    record.opened();
    record.asks(&head);
    // The asker's wait starts when its body is here, and it cancels when it is over; without a body it starts now.
    let wait = if head.body == BodyKind::None {
        Wait::For(Duration::from_millis(head.remaining_ms.into()))
    } else {
        Wait::Beside(Arc::default(), bounds.timeouts.body_idle.saturating_mul(PEER_TIMES))
    };
    let asked = ReplyTo { method: head.method.clone(), version: head.version };
    let expects = head.body != BodyKind::None && headers::expects_continue(&head.headers);
    let wanted = expects.then(Arc::<Notify>::default);
    let (request_body, mut rest) = match head.upgrade {
        Some(_) => (RecvBody::none(limits), Some(recv)),
        None => {
            let mut body = RecvBody::new(recv, head.body, limits).counted(record.tally(Way::Request));
            if let Wait::Beside(progress, _) = &wait {
                body = body.observed(progress);
            }
            body.watch(bounds.unread, Who::Upstream(bounds.session));
            (body.wanted_by(wanted.clone()), None)
        }
    };
    let mut stopped = pin!(send.stopped());
    let handled = {
        // Boxed: a response that is under way, or a head that does not come, need not the room for it.
        let mut handling = Box::pin(handle(head, request_body));
        let mut handling = pin!(wait.within(handling.as_mut()));
        loop {
            tokio::select! {
                biased;
                handled = &mut handling => break handled,
                error = &mut stopped => {
                    abandoned();
                    return Err(error.failure());
                }
                () = is_wanted(wanted.as_deref()) => ask_for_body(&mut send, limits).await?,
            }
        }
    };
    conduct.iter().for_each(Conduct::answered);
    let mut response = match handled {
        Ok(Handled::Response(response)) => response,
        Ok(Handled::Connected(connection, kept)) => {
            // The handler connects for no other request.
            let Some(recv) = rest.take() else { return refuse(send, Outbox::new(limits), Failure::Protocol).await };
            record.answered(StatusCode::OK);
            let ended = connected(connection, send, recv, bounds).await;
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
        send_response(Response::from_parts(head, RecvBody::none(limits)), &asked, bounds, &mut send).await?;
        upgrade::splice_upgraded(connection, bounds.watched(send, recv), bounds.switched_idle()).await;
        drop(body);
        return Ok(());
    }
    let response = response.map(|body| Counted::new(body, || record.tally(Way::Response)));
    let failure = tokio::select! {
        biased;
        sent = send_response(response, &asked, bounds, &mut send) => match sent {
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
struct ReplyTo {
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
    recv: RecvStream,
    bounds: Bounds<'_>,
) -> Result<(), Failure> {
    let mut outbox = Outbox::new(bounds.limits);
    let head = ReplyHead { status: StatusCode::OK, reason: None, headers: HeaderMap::new() };
    // A reply without fields is within any limit.
    let _ = outbox.reply(&Reply::Head(head, BodyKind::None));
    outbox.flush(&mut send).await.map_err(|error| error.failure())?;
    upgrade::splice_tcp(connection, bounds.watched(send, recv), bounds.switched_idle()).await;
    Ok(())
}

/// For how long a response is waited for.
enum Wait {
    /// For so long.
    For(Duration),
    /// As long as whoever sends the body of the request gets on with it: it may stop for so long, and at the latest for
    /// twice as long. Then the upstream has as long as it takes.
    Beside(Arc<Progress>, Duration),
}

impl Wait {
    async fn within<T>(&self, mut handled: Pin<&mut impl Future<Output = Result<T, Failure>>>) -> Result<T, Failure> {
        let (body, idle) = match self {
            Self::For(wait) => return timeout(*wait, handled).await.unwrap_or(Err(Failure::Timeout)),
            Self::Beside(body, idle) => (body, *idle),
        };
        let mut seen = None;
        loop {
            if let Ok(handled) = timeout(idle, handled.as_mut()).await {
                return handled;
            }
            let stopped = body.is_starving().then(|| body.steps());
            if stopped.is_some() && stopped == seen {
                return Err(Failure::RequestTimeout);
            }
            seen = stopped;
        }
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

async fn read_request(recv: &mut RecvStream, limits: &Limits) -> Result<RequestHead, StreamError> {
    let frame = recv.frame(limits.head_frame_bytes_max()).await?.ok_or(StreamError::Truncated)?;
    let mut head = exchange::decode_request(&frame, limits)
        .inspect_err(|error| tracing::warn!(%error, "malformed request head from the peer"))?;
    if head::from_asker(&mut head).is_err() {
        tracing::warn!("a request head from the peer disagrees with its body");
        return Err(DecodeError::Invalid("the body of a request").into());
    }
    Ok(head)
}

async fn send_response<B>(
    response: Response<B>,
    asked: &ReplyTo,
    bounds: Bounds<'_>,
    send: &mut SendStream,
) -> Result<(), Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut parts, mut body) = response.into_parts();
    let mut outbox = Outbox::new(bounds.limits);
    let mut peer = Taker::new(bounds.unread, Who::Peer(bounds.session));
    // Other versions of HTTP have no place for it.
    let said = parts.extensions.remove::<ReasonPhrase>().filter(|_| asked.version <= Version::HTTP_11);
    let mut head = ReplyHead { status: parts.status, reason: said.map(Bytes::from), headers: parts.headers };
    let kind = head::from_upstream(&mut head, body::kind(&body), &asked.method);
    // A head over our limits cannot be passed on as it is, and not in part either.
    outbox.reply(&Reply::Head(head, kind)).map_err(|_| Failure::UpstreamProtocol)?;
    if kind == BodyKind::None {
        return peer.takes(outbox.flush(send)).await.map_err(|error| error.failure());
    }
    let broken = |error| source_failure(&error, Failure::UpstreamReset);
    loop {
        let complete = outbox.fill(&mut body).await.map_err(broken)?;
        peer.takes(outbox.flush(send)).await.map_err(|error| error.failure())?;
        if complete {
            return Ok(());
        }
    }
}

/// Ends a stream on which the peer did not ask for anything.
fn abandon(send: SendStream, recv: RecvStream, failure: Failure) -> Result<(), Failure> {
    send.reset(failure);
    recv.stop(failure);
    Err(failure)
}

/// What an early end means: `source` when the body broke where it came from.
fn source_failure<E>(error: &SendError<E>, source: Failure) -> Failure {
    match error {
        SendError::Source(_) => source,
        SendError::Unencodable(_) => Failure::HeadTooLarge,
        SendError::Stream(error) => error.failure(),
    }
}
