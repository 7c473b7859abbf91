//! One end of HTTP/1.1 without a network, and a strict reader of what comes out of it.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};

/// What is in flight without being read.
pub const BUFFER_BYTES: usize = 1024 * 1024;

/// What a body of ours is made of: whoever takes it for the start of a message sees one.
pub const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nhost: smuggled\r\n\r\n";

/// A body of which each side says the same.
#[derive(Debug)]
pub struct Sent {
    length: Option<u64>,
    left: u64,
}

impl Sent {
    /// Makes a body of so many bytes, or of some without saying how many.
    pub fn new(length: Option<u64>) -> Self {
        Self { length, left: length.unwrap_or(SMUGGLED.len() as u64) }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        let some = usize::try_from(self.left).unwrap_or(usize::MAX).min(SMUGGLED.len());
        if some == 0 {
            return Poll::Ready(None);
        }
        self.left -= some as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&SMUGGLED[..some])))))
    }

    fn is_end_stream(&self) -> bool {
        self.length.is_some() && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.length.is_some() { SizeHint::with_exact(self.left) } else { SizeHint::default() }
    }
}

/// Runs futures on this thread until nothing moves any more or so many bytes have come out of `far`, and returns those.
///
/// Nothing here waits for anything but the others, so whoever is not ready after all had their turn never is.
pub fn drive(futures: &mut [Pin<&mut dyn Future<Output = ()>>], far: &mut DuplexStream, bytes_max: usize) -> Vec<u8> {
    let mut context = Context::from_waker(Waker::noop());
    let mut done = vec![false; futures.len()];
    let mut came = Vec::new();
    let mut idle = 0;
    while idle < 3 && came.len() < bytes_max {
        idle += 1;
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if !*done && future.as_mut().poll(&mut context).is_ready() {
                (*done, idle) = (true, 0);
            }
        }
        let mut room = [0; 4096];
        let mut read = ReadBuf::new(&mut room);
        if let Poll::Ready(Ok(())) = Pin::new(&mut *far).poll_read(&mut context, &mut read)
            && !read.filled().is_empty()
        {
            came.extend_from_slice(read.filled());
            idle = 0;
        }
    }
    came
}

/// Puts bytes on their way, as if they had arrived.
///
/// # Panics
///
/// When there is no room for them.
pub fn put(near: &mut DuplexStream, bytes: &[u8]) {
    let mut context = Context::from_waker(Waker::noop());
    let mut rest = bytes;
    while !rest.is_empty() {
        match pin!(&mut *near).poll_write(&mut context, rest) {
            Poll::Ready(Ok(written)) => rest = &rest[written..],
            Poll::Ready(Err(_)) | Poll::Pending => panic!("no room for {} bytes", rest.len()),
        }
    }
}

/// The start line and fields of a message, as a reader takes them that forgives nothing.
#[derive(Debug)]
pub struct Message {
    /// The three parts of the first line.
    pub start: [Vec<u8>; 3],
    /// The fields.
    pub headers: HeaderMap,
    /// How long the head is, in bytes.
    pub length: usize,
}

impl Message {
    /// Reads a head.
    ///
    /// # Panics
    ///
    /// When it is none: every line ends with CR LF and holds no other control character, every field has a name of
    /// token characters, a colon right behind it, and no second line.
    pub fn read(bytes: &[u8]) -> Self {
        let shown = bytes.escape_ascii().to_string();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {shown}"));
        let mut lines = bytes[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let start: Vec<_> =
            lines.next().unwrap_or_default().splitn(3, |byte| *byte == b' ').map(<[u8]>::to_vec).collect();
        let start = start.try_into().unwrap_or_else(|_| panic!("no start line: {shown}"));
        let mut headers = HeaderMap::new();
        for line in lines {
            assert!(line.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f), "{shown}");
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or_else(|| panic!("no field: {shown}"));
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let name = HeaderName::from_bytes(name).unwrap_or_else(|_| panic!("no field name: {shown}"));
            headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        Self { start, headers, length: end + 4 }
    }

    /// Returns how many bytes of `body` belong to this message and how many they are without their framing, as
    /// RFC 9112 §6.3 has it for a request. `None` where more has to come.
    ///
    /// # Panics
    ///
    /// When there is more than one way to tell.
    pub fn body(&self, body: &[u8]) -> Option<(usize, usize)> {
        let lengths: Vec<_> = self.headers.get_all("content-length").into_iter().collect();
        let codings: Vec<_> = self.headers.get_all("transfer-encoding").into_iter().collect();
        match (&lengths[..], &codings[..]) {
            ([], []) => Some((0, 0)),
            ([length], []) => {
                let length = length.to_str().expect("digits").parse().expect("a length");
                (body.len() >= length).then_some((length, length))
            }
            ([], [coding]) if *coding == "chunked" => chunked(body),
            both => panic!("framed in two ways: {both:?}"),
        }
    }
}

fn chunked(mut body: &[u8]) -> Option<(usize, usize)> {
    let (start, mut content) = (body.len(), 0);
    loop {
        let httparse::Status::Complete((head, size)) = httparse::parse_chunk_size(body).expect("a chunk") else {
            return None;
        };
        let size = usize::try_from(size).expect("a size that fits");
        let chunk = body.get(head..)?.get(..size + 2)?;
        assert_eq!(&chunk[size..], b"\r\n");
        (content, body) = (content + size, &body[head + size + 2..]);
        if size == 0 {
            return Some((start - body.len(), content));
        }
    }
}
