//! The body of a request on its way in: how far it came, and how far it may come.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body that breaks off where it is over its limit.
#[derive(Debug)]
pub struct Upload<B> {
    body: B,
    /// How many bytes may still come, where there is a limit.
    room: Option<u64>,
    progress: Progress,
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
pub enum UploadError<E> {
    /// It did where it came from.
    #[error(transparent)]
    Source(E),
    /// It is over its limit.
    #[error("the body is too large")]
    TooLarge,
}

impl<B: Body> Upload<B> {
    /// Takes a body that may have so many bytes. One that is empty costs nothing.
    pub fn new(body: B, bytes_max: Option<u64>) -> Self {
        let progress = Progress((!body.is_end_stream()).then(Arc::default));
        Self { body, room: bytes_max, progress }
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

/// Returns whether a body could not be read for what it holds: hyper says so in an error of the system's kind.
fn is_malformed(error: &(dyn Error + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let kinds = errors.find_map(|error| error.downcast_ref::<io::Error>().map(io::Error::kind));
    matches!(kinds, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    type Data = Bytes;
    type Error = UploadError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError<B::Error>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
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
        if frame.is_none() || self.body.is_end_stream() {
            self.progress.note(|state| &state.complete);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Source)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
