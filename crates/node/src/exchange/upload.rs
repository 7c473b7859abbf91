//! A request body on its way over a link.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use adit_core::failure::Failure;
use bytes::Bytes;
use http_body::Body;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    body::{Outbox, SendError},
    progress::Progress,
    stream::{SendStream, StreamError},
};

/// What is left of a request body when the response comes.
#[derive(Debug)]
pub(super) enum Leftover {
    /// It goes on beside the response, until this is dropped.
    Running(#[expect(dead_code, reason = "dropping it ends the task")] AbortOnDropHandle<()>),
    /// Nobody has asked for it. Reset before the response has ended, the stream would take the response with it.
    Unasked(#[expect(dead_code, reason = "dropping it resets the stream")] SendStream),
}

impl Leftover {
    /// Goes on with an upload beside its response.
    pub(super) fn beside(upload: Pin<Box<impl Future<Output = Result<(), Failure>> + Send + 'static>>) -> Self {
        let rest = async move {
            // How it went is seen in the response: it ends early where the upload mattered.
            let _ = upload.await;
        };
        #[expect(clippy::disallowed_methods, reason = "the response body owns the task")]
        let rest = AbortOnDropHandle::new(tokio::spawn(rest));
        Self::Running(rest)
    }
}

/// Starts an upload that was not asked for before its response came, which takes it for granted.
///
/// hyper tells a visitor to continue when it is asked for the body, and only before it has the response: it gets its
/// turn in between.
pub(super) async fn start_late<U>(mut upload: Pin<Box<U>>) -> Option<Leftover>
where
    U: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let ended = poll_fn(|cx| Poll::Ready(upload.as_mut().poll(cx).is_ready())).await;
    if ended {
        return None;
    }
    tokio::task::yield_now().await;
    Some(Leftover::beside(upload))
}

/// Sends a body to its end, and counts every step.
pub(super) async fn upload<B>(
    mut outbox: Outbox,
    mut body: B,
    mut send: SendStream,
    progress: Arc<Progress>,
) -> Result<(), Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    loop {
        match step(&mut outbox, &mut body, &mut send, &progress).await {
            Ok(false) => {}
            Ok(true) => {
                send.finish();
                return Ok(());
            }
            Err(failure) => {
                send.reset(failure);
                return Err(failure);
            }
        }
    }
}

/// Sends what a request body has ready and returns whether that was all.
pub(super) async fn step<B>(
    outbox: &mut Outbox,
    body: &mut B,
    send: &mut SendStream,
    progress: &Progress,
) -> Result<bool, Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    progress.starves();
    let filled = outbox.fill(body).await;
    progress.is_fed();
    let complete = filled.map_err(|error| upload_failure(&error))?;
    let complete = match outbox.flush(send).await {
        Ok(()) => complete,
        // There will be no reply: whoever should make it is the one who does not read.
        Err(StreamError::Peer(Failure::SlowReader)) => return Err(Failure::SlowReader),
        // An answerer that wants no more of it is no failure: its reply says what is.
        Err(StreamError::Peer(_)) => true,
        Err(error) => return Err(error.failure()),
    };
    progress.step();
    Ok(complete)
}

/// What the early end of a request body means: its own failure when it broke where it came from.
fn upload_failure(error: &SendError<Failure>) -> Failure {
    match error {
        SendError::Source(failure) => *failure,
        SendError::Unencodable(_) => Failure::HeadTooLarge,
        SendError::Stream(error) => error.failure(),
    }
}
