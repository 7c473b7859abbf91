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

/// A body that breaks off where it is over its limit. Dropped before its end, it leaves the rest to [`Unread`].
#[derive(Debug)]
pub struct Upload {
    /// Taken only by drop.
    body: Option<Incoming>,
    /// How many bytes may still come, where there is a limit.
    room: Option<u64>,
    progress: Progress,
    /// Whether reading it tells a visitor to send it.
    asks: bool,
    unread: Arc<Unread>,
}

/// What is known of a body by whoever answers instead of reading it.
#[derive(Clone, Debug)]
pub struct Progress(Option<Arc<State>>);

#[derive(Debug, Default)]
struct State {
    complete: AtomicBool,
    too_large: AtomicBool,
    malformed: AtomicBool,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It did where it came from.
    #[error(transparent)]
    Source(hyper::Error),
    /// It is over its limit.
    #[error("the body is too large")]
    TooLarge,
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Self {
        match error {
            // A visitor that breaks off has gone.
            UploadError::Source(_) => Self::Cancelled,
            UploadError::TooLarge => Self::BodyTooLarge,
        }
    }
}

impl Upload {
    /// Takes a body that may have so many bytes. One that is empty costs nothing.
    ///
    /// `asks` says that the visitor waits to be told to send it, and that reading it tells so.
    pub fn new(body: Incoming, bytes_max: Option<u64>, asks: bool, unread: Arc<Unread>) -> Self {
        let progress = Progress((!body.is_end_stream()).then(Arc::default));
        Self { body: Some(body), room: bytes_max, progress, asks, unread }
    }

    /// Returns what is known of it from now on.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Progress {
    /// Returns whether the body has been read to its end.
    pub fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|state| state.complete.load(Ordering::Relaxed))
    }

    /// Returns whether the body broke off because it is over its limit.
    pub fn is_too_large(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.too_large.load(Ordering::Relaxed))
    }

    /// Returns whether the body broke off because it is none.
    pub fn is_malformed(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.malformed.load(Ordering::Relaxed))
    }

    fn note(&self, which: impl FnOnce(&State) -> &AtomicBool) {
        if let Some(state) = &self.0 {
            which(state).store(true, Ordering::Relaxed);
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let ended = body.is_end_stream();
        self.asks = false;
        let frame = ready!(polled);
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => {
                if is_malformed(error) {
                    self.progress.note(|state| &state.malformed);
                }
                0
            }
            None => 0,
        };
        if let Some(room) = self.room {
            let Some(left) = room.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) else {
                self.progress.note(|state| &state.too_large);
                return Poll::Ready(Some(Err(UploadError::TooLarge)));
            };
            self.room = Some(left);
        }
        if frame.is_none() || ended {
            self.progress.note(|state| &state.complete);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Source)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.asks || self.progress.is_complete() {
            return;
        }
        if let Some(body) = self.body.take() {
            self.unread.read(body);
        }
    }
}

/// Returns whether a body could not be read for what it holds: hyper says so in an error of the system's kind.
fn is_malformed(error: &(dyn Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let kind = errors.find_map(|error| error.downcast_ref::<io::Error>().map(io::Error::kind));
    matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// Reads what is left of bodies that nobody wants, and throws it away. Dropping it ends that.
#[derive(Debug, Default)]
pub struct Unread(Mutex<JoinSet<()>>);

impl Unread {
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
