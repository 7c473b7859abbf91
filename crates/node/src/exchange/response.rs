//! A response that came over a link.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use adit_core::wire::exchange::ReplyHead;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;

use super::upload::Leftover;
use crate::{
    body::RecvBody,
    link::ExchangePermit,
    stream::StreamError,
    turns::Turn,
    unread::{Unread, Who},
    upgrade::Raw,
};

/// The body of an answer, and with it everything that is still going on in the exchange.
///
/// Dropped before its end, it cancels the exchange: both halves of the stream are reset with
/// [`Failure::Cancelled`](adit_core::failure::Failure::Cancelled).
#[derive(Debug)]
pub struct AnswerBody {
    body: RecvBody,
    /// The rest of the request body, where the response came before its end.
    upload: Option<Leftover>,
    /// Whether nobody has asked for it.
    unasked: bool,
    /// The stream, where the answerer has agreed to switch protocols.
    pub(super) raw: Option<Raw>,
    permit: Option<ExchangePermit>,
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

    /// Gives back a turn of the group when the exchange is over.
    pub fn keep(&mut self, turn: Turn) {
        if let Some(permit) = &mut self.permit {
            permit.keep(turn);
        }
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

pub(super) fn answer_from(
    head: ReplyHead,
    body: RecvBody,
    upload: Option<Leftover>,
    permit: ExchangePermit,
) -> Response<AnswerBody> {
    let unasked = matches!(upload, Some(Leftover::Unasked(_)));
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
