//! The body of a response, on its way back.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use adit_core::failure::Failure;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    connection::{self, Sender},
    server::Lease,
};

/// The body of a response, and with it the connection that it comes from.
///
/// At its end the connection is given back; dropped before that, the connection is closed. Until then the
/// request counts as in flight; a connection that was switched does as long as this is not dropped.
#[derive(Debug)]
pub struct UpstreamBody {
    body: Incoming,
    lease: Option<(Sender, Lease)>,
}

impl UpstreamBody {
    /// Takes over the body of a response and where it comes from.
    pub fn new(body: Incoming, status: StatusCode, sender: Sender, in_flight: Lease) -> Self {
        let ended = body.is_end_stream() && status != StatusCode::SWITCHING_PROTOCOLS;
        let mut this = Self { body, lease: Some((sender, in_flight)) };
        if ended {
            this.give_back();
        }
        this
    }

    fn give_back(&mut self) {
        if let Some((sender, server)) = self.lease.take() {
            server.give_back(sender);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Err(_)) => self.lease = None,
            // Trailers come last; a body of unknown length has no other sign of its end than that it is over.
            Some(Ok(frame)) if frame.is_trailers() => self.give_back(),
            None => self.give_back(),
            Some(Ok(_)) if self.body.is_end_stream() => self.give_back(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| connection::failure(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
