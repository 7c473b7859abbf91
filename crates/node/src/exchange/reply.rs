//! What comes back before the body of a response.

use adit_core::{
    failure::Failure,
    http::head,
    limits::Limits,
    wire::exchange::{self, BodyKind, Reply, ReplyHead},
};
use http::{Method, StatusCode};

use crate::stream::RecvStream;

/// Reads the response head of a request with this method.
pub(super) async fn read_reply(
    recv: &mut RecvStream,
    limits: &Limits,
    method: &Method,
) -> Result<(ReplyHead, BodyKind), Failure> {
    loop {
        match next_reply(recv, limits, method).await? {
            Next::Interim(_) => {}
            Next::Final(head, kind) => return Ok((head, kind)),
        }
    }
}

/// A response head that was read.
pub(super) enum Next {
    Interim(StatusCode),
    Final(ReplyHead, BodyKind),
}

/// Reads one response head of a request with this method. Cancel-safe.
pub(super) async fn next_reply(recv: &mut RecvStream, limits: &Limits, method: &Method) -> Result<Next, Failure> {
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
