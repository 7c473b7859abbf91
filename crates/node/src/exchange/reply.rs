//! What comes back before the body of a response.

use adit_core::{
    failure::Failure,
    http::head,
    limits::Limits,
    wire::exchange::{self, BodyKind, Reply, ReplyHead},
};
use http::{Method, StatusCode};

use crate::stream::{RecvStream, StreamError};

/// How many interim responses one exchange may have: they are read as fast as they come, and nobody waits for them.
const INTERIM_MAX: usize = 100;

/// Reads the response head of a request with this method.
pub(super) async fn read_reply(
    recv: &mut RecvStream,
    limits: &Limits,
    method: &Method,
) -> Result<(ReplyHead, BodyKind), Failure> {
    for _ in 0..INTERIM_MAX {
        match next_reply(recv, limits, method).await? {
            Next::Interim(_) => {}
            Next::Final(head, kind) => return Ok((head, kind)),
        }
    }
    recv.broke();
    Err(Failure::Protocol)
}

/// A response head that was read.
pub(super) enum Next {
    Interim(StatusCode),
    Final(ReplyHead, BodyKind),
}

/// Reads one response head of a request with this method. Cancel-safe.
pub(super) async fn next_reply(recv: &mut RecvStream, limits: &Limits, method: &Method) -> Result<Next, Failure> {
    let reply = match read(recv, limits).await {
        Ok(reply) => reply,
        Err(error) => {
            recv.judge(&error);
            return Err(error.failure());
        }
    };
    match reply {
        Reply::Informational(head) => Ok(Next::Interim(head.status)),
        Reply::Head(mut head, kind) => {
            recv.answered();
            head::from_answerer(&mut head, kind, method).inspect_err(|_| recv.broke())?;
            Ok(Next::Final(head, kind))
        }
        Reply::Failed(failure) => {
            recv.answered();
            Err(failure)
        }
    }
}

async fn read(recv: &mut RecvStream, limits: &Limits) -> Result<Reply, StreamError> {
    let frame = recv.frame(limits.head_frame_bytes_max()).await?.ok_or(StreamError::Truncated)?;
    Ok(exchange::decode_reply(&frame, limits)?)
}
