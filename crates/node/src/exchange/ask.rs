//! The side that asks.

use std::{
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use adit_core::{
    failure::Failure,
    http::headers,
    limits::Limits,
    wire::exchange::{BodyKind, ReplyHead, RequestHead, Upgrade},
};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::{
    patience::{Patience, Sent},
    reply::{Next, next_reply, read_reply},
    response::{AnswerBody, answer_from},
    upload::{Leftover, start_late, step, upload},
};
use crate::{
    access::Record,
    body::{Outbox, RecvBody},
    link::{ExchangePermit, Link},
    progress::Progress,
    stream::{RecvStream, SendStream},
    turns,
    upgrade::Raw,
};

/// How long the body of a request with `Expect: 100-continue` waits to be asked for. Then it goes: not every server
/// asks (RFC 9110 §10.1.1).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks one exchange: sends a request over a link and waits for the head of its response.
///
/// The head and what the body has ready leave in one write; where the head expects to be told to continue, the body
/// is not read before that. The wait starts when the request is on its way as a whole; a body that takes longer may
/// do so, as long as it gets on, and how long it may not is its own affair: it fails with what the exchange then fails
/// with. Not cancel-safe; dropped early, it cancels the exchange at the other end.
///
/// # Errors
///
/// [`Failure::Timeout`] when there is no response head at the deadline, [`Failure::LinkLost`] when the exchange is given
/// up before, what the answerer says in [`Reply::Failed`](adit_core::wire::exchange::Reply::Failed), or what happened to
/// the link; with it, whether anything was sent.
pub async fn ask<B>(
    link: &Link,
    head: &RequestHead,
    mut body: B,
    limits: Limits,
    patience: Patience<'_>,
    record: &mut Record,
) -> Result<Response<AnswerBody>, Unanswered>
where
    B: Body<Data = Bytes, Error = Failure> + Send + Unpin + 'static,
{
    let wait = patience.deadline.saturating_duration_since(Instant::now());
    let permit = turn(link, turns::visitor(head.visitor.ip()), patience).await.map_err(Unanswered::unsent)?;
    let mut outbox = Outbox::new(limits);
    outbox.request(head).map_err(|_| Failure::HeadTooLarge)?;
    let opened = patience.wait(Sent::Nothing, link.open()).await.unwrap_or_else(Err).map_err(Unanswered::unsent)?;
    let begun = patience.wait(Sent::Something, begin(opened, head, &mut outbox, &mut body));
    let (send, mut recv, complete) = begun.await??;
    record.opened();

    if let Some(upgrade) = head.upgrade {
        let switched = ask_to_switch(&head.method, upgrade, send, recv, limits, permit);
        return Ok(patience.wait(Sent::Something, switched).await??);
    }
    let unasked = !complete && headers::expects_continue(&head.headers);
    let early = if unasked { continued(&mut recv, &limits, &head.method, patience).await? } else { None };
    let (upload, (reply, kind)) = if let Some((reply, kind)) = early {
        let upload = if reply.status.is_success() {
            start_late(Box::pin(upload(outbox, body, send, Arc::default()))).await
        } else {
            Some(Leftover::Unasked(send))
        };
        (upload, (reply, kind))
    } else if complete {
        send.finish();
        let reply = read_reply(&mut recv, &limits, &head.method);
        (None, patience.wait(Sent::Something, reply).await??)
    } else {
        let progress = Arc::<Progress>::default();
        let upload = Box::pin(upload(outbox, body, send, Arc::clone(&progress)));
        upload_and_read_reply(upload, &progress, &mut recv, &limits, &head.method, (patience, wait)).await?
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
    /// Whether something of the request has left this node.
    pub sent: Sent,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self { failure, sent: Sent::Something }
    }
}

impl Unanswered {
    fn unsent(failure: Failure) -> Self {
        Self { failure, sent: Sent::Nothing }
    }
}

/// Waits until the link takes one more exchange.
async fn turn(link: &Link, visitor: IpAddr, patience: Patience<'_>) -> Result<ExchangePermit, Failure> {
    match patience.wait(Sent::Nothing, link.permit(visitor)).await {
        Ok(permit) => permit,
        Err(Failure::Timeout) => Err(Failure::Overloaded),
        Err(given_up) => Err(given_up),
    }
}

/// Sends the head with what the body has ready. Returns whether that was all.
async fn begin<B>(
    (mut send, recv): (SendStream, RecvStream),
    head: &RequestHead,
    outbox: &mut Outbox,
    body: &mut B,
) -> Result<(SendStream, RecvStream, bool), Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    if head.body == BodyKind::None || headers::expects_continue(&head.headers) {
        outbox.flush(&mut send).await.map_err(|error| error.failure())?;
        return Ok((send, recv, head.body == BodyKind::None));
    }
    match step(outbox, body, &mut send, &Progress::default()).await {
        Ok(complete) => Ok((send, recv, complete)),
        Err(failure) => {
            send.reset(failure);
            Err(failure)
        }
    }
}

/// Sends the rest of a body and reads the reply, whichever ends first. Returns the upload where it has not ended.
async fn upload_and_read_reply<U>(
    mut upload: Pin<Box<U>>,
    progress: &Progress,
    recv: &mut RecvStream,
    limits: &Limits,
    method: &Method,
    (patience, wait): (Patience<'_>, Duration),
) -> Result<(Option<Leftover>, (ReplyHead, BodyKind)), Failure>
where
    U: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut reply = pin!(read_reply(recv, limits, method));
    let mut seen = 0;
    let next = async {
        tokio::select! {
            biased;
            reply = &mut reply => First::Reply(reply),
            uploaded = &mut upload => First::Uploaded(uploaded),
        }
    };
    let mut next = pin!(next);
    let first = loop {
        match patience.wait_until(Instant::now() + wait, Sent::Something, next.as_mut()).await {
            Ok(first) => break first,
            Err(Failure::Timeout) => {}
            Err(given_up) => return Err(given_up),
        }
        let steps = progress.steps();
        // Whoever sends the body has its own deadline; this one is for whoever takes it.
        if steps == seen && !progress.is_starving() {
            return Err(Failure::Timeout);
        }
        seen = steps;
    };
    match first {
        // The response came first: the rest of the upload goes on beside it.
        First::Reply(reply) => Ok((Some(Leftover::beside(upload)), reply?)),
        First::Uploaded(uploaded) => {
            uploaded?;
            let reply = patience.wait_until(Instant::now() + wait, Sent::Something, reply).await??;
            Ok((None, reply))
        }
    }
}

/// What happens first to a request whose body takes time.
enum First {
    Reply(Result<(ReplyHead, BodyKind), Failure>),
    Uploaded(Result<(), Failure>),
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

/// Waits until a body is asked for, or for long enough. Returns the response head where that comes instead.
async fn continued(
    recv: &mut RecvStream,
    limits: &Limits,
    method: &Method,
    patience: Patience<'_>,
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
    let enough = patience.deadline.min(Instant::now() + CONTINUE_TIMEOUT);
    match patience.wait_until(enough, Sent::Something, asked).await {
        Ok(asked) => asked,
        Err(Failure::Timeout) => Ok(None),
        Err(given_up) => Err(given_up),
    }
}
