//! The body of a request on its way in: how far it came, how far it may come, and what becomes of the rest.

use std::{
    error::Error,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use adit_core::failure::Failure;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{runtime::Handle, task::JoinSet, time::timeout};

/// How long the rest of a body that nobody wants is read.
///
/// A visitor that is cut off while it sends may never read the answer that says why: TCP may drop it with the reset
/// (RFC 9112 §9.6), and curl 7.88 takes a `RST_STREAM` behind an answer for an error in its place.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// A body that fails with [`Failure::BodyTooLarge`] where it is over its limit, with [`Failure::BadRequest`] where it
/// is none, and with [`Failure::Cancelled`] where the visitor breaks off.
///
/// Dropped before its end, it leaves the rest to [`Rest`].
#[derive(Debug)]
pub struct Intake {
    /// Taken only by drop.
    body: Option<Incoming>,
    /// How many bytes may still come, where there is a limit.
    room: Option<u64>,
    progress: Progress,
    /// Whether reading it tells a visitor to send it.
    asks: bool,
    rest: Arc<Rest>,
}

/// What is known of a body by whoever answers instead of reading it.
#[derive(Clone, Debug)]
pub struct Progress(Option<Arc<AtomicBool>>);

impl Intake {
    /// Takes a body that may have so many bytes. One that is empty costs nothing.
    ///
    /// `asks` says that the visitor waits to be told to send it, and that reading it tells so.
    pub fn new(body: Incoming, bytes_max: Option<u64>, asks: bool, rest: Arc<Rest>) -> Self {
        let progress = Progress((!body.is_end_stream()).then(Arc::default));
        Self { body: Some(body), room: bytes_max, progress, asks, rest }
    }

    /// Returns what is known of it from now on.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Progress {
    /// Returns whether the body has been read to its end.
    pub fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|complete| complete.load(Ordering::Relaxed))
    }

    fn completed(&self) {
        if let Some(complete) = &self.0 {
            complete.store(true, Ordering::Relaxed);
        }
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let ended = body.is_end_stream();
        self.asks = false;
        let frame = match ready!(polled).transpose() {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Some(Err(broken(&error)))),
        };
        if frame.is_none() || ended {
            self.progress.completed();
        }
        let length = frame.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        if let Some(room) = &mut self.room {
            *room = match room.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) {
                Some(left) => left,
                None => return Poll::Ready(Some(Err(Failure::BodyTooLarge))),
            };
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if self.asks || self.progress.is_complete() {
            return;
        }
        if let Some(body) = self.body.take() {
            self.rest.read(body);
        }
    }
}

/// What it means that a body broke off: hyper says that it is none in an error of the system's kind.
fn broken(error: &(dyn Error + 'static)) -> Failure {
    let mut errors = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    match errors.find_map(|error| error.downcast_ref::<io::Error>().map(io::Error::kind)) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Failure::BadRequest,
        Some(_) | None => Failure::Cancelled,
    }
}

/// Reads what is left of bodies that nobody wants, and throws it away. Dropping it ends that.
#[derive(Debug, Default)]
pub struct Rest(Mutex<JoinSet<()>>);

impl Rest {
    fn read(&self, mut body: Incoming) {
        let Ok(runtime) = Handle::try_current() else { return };
        let to_its_end =
            async move { while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {} };
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(
            async {
                // Whoever has not ended by then is cut off.
                let _ = timeout(REST_TIMEOUT, to_its_end).await;
            },
            &runtime,
        );
    }
}
