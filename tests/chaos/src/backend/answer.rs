//! One request at a backend: everything that comes is checked, everything that goes is known.

use std::{future::Future, io, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::sleep,
};

use super::{Context, Mood};
use crate::{
    content,
    question::{Kind, Question, RECEIPT_BYTES, pause},
};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What goes on after a connection was switched.
pub(super) type Echo = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The largest piece of an echo that is read at once.
const ECHO_BYTES: usize = 16 * 1024;

/// What comes after the last piece, and instead of one that is not to come.
const OVER: u32 = u32::MAX;
const BREAK: u32 = u32::MAX - 1;

/// How long after the last bytes a connection is reset: they are on their way by then.
const BREAK_AFTER: Duration = Duration::from_millis(5);

/// How long a slow backend takes at most.
const SLOW: Duration = Duration::from_secs(1);

pub(super) async fn answer(
    mut request: Request<Incoming>,
    context: Context,
    switches: &mpsc::UnboundedSender<Echo>,
) -> Response<Body> {
    let Ok(question) = request.uri().path().parse::<Question>() else {
        return plain(StatusCode::NOT_FOUND, &context, 0);
    };
    context.ledger.note(question.id, |seen| seen.times += 1);
    context.awake().await;
    if context.is(Mood::Slow) {
        sleep(SLOW.mul_f64(fraction(question.id))).await;
    }
    match question.kind {
        Kind::Get | Kind::Stream | Kind::Trailers => download(question, context),
        Kind::Post | Kind::Put => upload(question, request.into_body(), context).await,
        Kind::Switch => {
            let on = hyper::upgrade::on(&mut request);
            // The connection is there to take it: it waits for this response.
            let _ = switches.send(Box::pin(echo(on, context.clone())));
            let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, &context, question.id);
            let fields = response.headers_mut();
            fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            // The answer to the key of RFC 6455 §1.3, which all visitors send.
            fields.insert("sec-websocket-accept", HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            response
        }
    }
}

impl Context {
    fn is(&self, mood: Mood) -> bool {
        *self.mood.borrow() == mood
    }

    /// Waits while the backend hangs.
    async fn awake(&self) {
        // When the backend is gone, so is this.
        let _ = self.mood.clone().wait_for(|mood| *mood != Mood::Hung).await;
    }

    /// Returns whether this response is one of those to break off.
    fn breaks(&self, id: u64) -> bool {
        self.is(Mood::Breaking) && fraction(id) < 0.25
    }
}

/// A number in `0.0..1.0` that a request always gets.
fn fraction(id: u64) -> f64 {
    fastrand::Rng::with_seed(id).f64()
}

fn plain(status: StatusCode, context: &Context, id: u64) -> Response<Body> {
    let mut response = Response::new(Full::default().map_err(io::Error::other).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert("x-id", HeaderValue::from(id));
    response.headers_mut().insert("x-backend", HeaderValue::from_static(context.name));
    response
}

fn download(question: Question, context: Context) -> Response<Body> {
    let mut response = plain(StatusCode::OK, &context, question.id);
    if question.kind == Kind::Get {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(question.bytes));
    }
    if question.kind == Kind::Trailers {
        response.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-sum"));
    }
    let seed = content::seed(question.id, context.name);
    let breaks = context.breaks(question.id);
    if breaks {
        context.ledger.note(question.id, |seen| seen.broken += 1);
    }
    let frames = stream::unfold(0, move |piece| {
        let context = context.clone();
        async move {
            if piece == question.pieces {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from(seed));
                return (question.kind == Kind::Trailers).then(|| (Ok(Frame::trailers(trailers)), OVER));
            }
            if piece == BREAK {
                // What went before has gone.
                sleep(BREAK_AFTER).await;
                return Some((Err(io::ErrorKind::ConnectionReset.into()), OVER));
            }
            if piece == OVER {
                return None;
            }
            pause(question.gap).await;
            context.awake().await;
            let (from, to) = (question.offset(piece), question.offset(piece + 1));
            let (to, next) =
                if breaks && to > question.bytes / 2 { (from.midpoint(to), BREAK) } else { (to, piece + 1) };
            let length = usize::try_from(to - from).unwrap_or(0);
            Some((Ok(Frame::data(content::slice(seed, from, length))), next))
        }
    });
    *response.body_mut() = StreamBody::new(Box::pin(frames)).boxed_unsync();
    response
}

/// Reads and checks a body, and gives a receipt for it.
async fn upload(question: Question, mut body: Incoming, context: Context) -> Response<Body> {
    let sent = content::seed(question.id, "visitor");
    let mut offset = 0;
    while let Some(frame) = body.frame().await {
        context.awake().await;
        // Cut off, it is no wrong body: whoever sends it is told so.
        let Ok(frame) = frame else { return plain(StatusCode::BAD_REQUEST, &context, question.id) };
        let Some(data) = frame.data_ref() else { continue };
        if !content::matches(sent, offset, data) {
            context.ledger.note(question.id, |seen| seen.wrong += 1);
        }
        offset += data.len() as u64;
    }
    if offset != question.bytes {
        context.ledger.note(question.id, |seen| seen.wrong += 1);
    }
    let receipt = Question { kind: Kind::Get, bytes: RECEIPT_BYTES, pieces: 2, gap: Duration::ZERO, ..question };
    download(receipt, context)
}

async fn echo(on: OnUpgrade, context: Context) {
    let Ok(connection) = on.await else { return };
    let mut connection = TokioIo::new(connection);
    let mut buffer = vec![0; ECHO_BYTES];
    loop {
        let read = match connection.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        context.awake().await;
        if connection.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // Whoever is at the other end may be gone.
    let _ = connection.shutdown().await;
}
