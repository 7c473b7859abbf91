//! Bodies that come byte by byte: slow, but whole, and no larger in memory than any other.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use adit_tests::{
    Upstream,
    body::{Body, Cut, full},
    upstream,
    visitor::Visitor,
};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{process::Process, resources::Tunnel};

/// What the bytes are, over and over.
const PATTERN: &[u8; 251] = &{
    let mut pattern = [0; 251];
    let mut at = 0;
    while at < pattern.len() {
        #[expect(clippy::cast_possible_truncation, reason = "it is less than 251")]
        {
            pattern[at] = at as u8;
        }
        at += 1;
    }
    pattern
};

/// A body of unknown length in pieces of one byte.
struct Single {
    sent: usize,
    length: usize,
}

impl HttpBody for Single {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.sent == self.length {
            return Poll::Ready(None);
        }
        let at = self.sent % PATTERN.len();
        self.sent += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PATTERN[at..=at])))))
    }
}

fn single(length: usize) -> Body {
    Single { sent: 0, length }.boxed_unsync()
}

/// Reads a body of bytes of the pattern, and returns how many there were.
async fn count(mut body: Incoming) -> usize {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        for byte in frame.unwrap().into_data().unwrap_or_default() {
            assert_eq!(usize::from(byte), count % PATTERN.len());
            count += 1;
        }
    }
    count
}

/// Returns how long each way took, in seconds.
async fn crosses(length: usize) -> [f64; 2] {
    let upstream = Upstream::answering(move |request: Request<Incoming>| async move {
        if request.method() == Method::GET {
            return Response::new(single(length));
        }
        upstream::response(200, &[], full(count(request.into_body()).await.to_string()))
    });
    let tunnel = Tunnel::start_to(upstream, |_| ()).await;
    let mut visitor = Visitor::http1(tunnel.entry).await;
    let before = tunnel.processes().map(Process::memory_peak);
    let mut took = [0.0; 2];
    let start = Instant::now();
    let answer = visitor.send(visitor.request("GET", "/").empty()).await;
    assert_eq!(count(answer.into_body()).await, length);
    took[0] = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let pending = visitor.start(visitor.request("POST", "/").body(single(length))).await;
    let answer = pending.patiently().await;
    assert_eq!(answer.text(), length.to_string());
    took[1] = start.elapsed().as_secs_f64();
    for (before, after) in before.into_iter().zip(tunnel.processes().map(Process::memory_peak)) {
        assert!(after < before + 64 * 1024 * 1024, "{before} bytes before, {after} after");
    }
    tunnel.stop().await;
    took
}

#[tokio::test]
async fn a_body_of_single_bytes_is_whole_and_takes_no_more_memory_than_others() {
    crosses(64 * 1024).await;
}

#[tokio::test]
#[ignore = "takes minutes with optimisation, and much longer without"]
async fn all_24_mib_of_single_bytes_cross() {
    let [down, up] = crosses(24 * 1024 * 1024).await;
    let line = format!("24 MiB of single bytes: {down:.1} s down, {up:.1} s up\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}
