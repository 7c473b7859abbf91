//! Versions of HTTP, and reading what has arrived: whole messages, or chunk by chunk.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;

use crate::wait::within;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A message that has arrived in full.
#[derive(Debug)]
pub struct Whole {
    /// The status.
    pub status: StatusCode,
    /// The fields of its head.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Bytes,
    /// The fields after its body.
    pub trailers: Option<HeaderMap>,
}

impl Whole {
    /// Returns the body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// Returns all values of a field, in order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    /// Returns status and `adit-error`, which is empty on a response that adit did not make.
    pub fn failure(&self) -> (u16, &str) {
        (self.status.as_u16(), self.values("adit-error").first().copied().unwrap_or_default())
    }
}

/// Returns all values of a field, in order.
pub fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().expect("a value of text")).collect()
}

/// Reads a message to its end.
///
/// # Errors
///
/// When it breaks off.
pub async fn read<B: Body<Data = Bytes>>(response: Response<B>) -> Result<Whole, B::Error> {
    let (head, body) = response.into_parts();
    let collected = within("the end of a body", body.collect()).await?;
    let trailers = collected.trailers().cloned();
    Ok(Whole { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
}

/// Reads a message that is to be complete.
///
/// # Panics
///
/// When it breaks off.
pub async fn whole<B: Body<Data = Bytes, Error: std::fmt::Debug>>(response: Response<B>) -> Whole {
    read(response).await.expect("a message that is complete")
}

/// Reads the next chunk of a body, or `None` at its end.
///
/// # Errors
///
/// When it breaks off.
pub async fn next_chunk<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<Option<Bytes>, B::Error> {
    loop {
        match within("the next chunk", body.frame()).await.transpose()? {
            None => return Ok(None),
            Some(frame) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_) => return Ok(None),
            },
        }
    }
}

/// Reads as many bytes of a body as `expected` has, and checks that they are the same.
///
/// # Panics
///
/// When they are not, or the body ends before.
pub async fn expect<B>(body: &mut B, expected: impl AsRef<[u8]>)
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let expected = expected.as_ref();
    let mut read = Vec::new();
    while read.len() < expected.len() {
        let chunk = next_chunk(body).await.expect("a body that goes on");
        read.extend_from_slice(&chunk.expect("a body that has not ended"));
    }
    assert!(read == expected, "{:?} instead of {:?}", Bytes::from(read), Bytes::copy_from_slice(expected));
}

/// Checks that a body is complete.
///
/// # Panics
///
/// When it goes on or breaks off.
pub async fn expect_end<B>(body: &mut B)
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let end = next_chunk(body).await;
    assert!(matches!(end, Ok(None)), "{end:?} instead of the end");
}

/// Checks that a body breaks off, possibly after some more of it.
///
/// # Panics
///
/// When it looks complete.
pub async fn expect_cut<B>(body: &mut B)
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    while let Ok(more) = next_chunk(body).await {
        assert!(more.is_some(), "a body that was cut looks complete");
    }
}
