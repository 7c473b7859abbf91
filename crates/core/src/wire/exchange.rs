//! What an exchange stream carries.
//!
//! ```text
//! asker     RequestHead  BodyFrame*  ⟶            finish, or reset with a Failure code
//! answerer  Reply::Informational*  Reply::Head  BodyFrame*  ⟶  finish
//!           Reply::Failed  ⟶                      finish
//! ```
//!
//! A body announced as [`BodyKind::None`] has no frames at all. Any other body ends with
//! [`BodyFrame::End`] or [`BodyFrame::Trailers`]; the end of the stream before that is truncation.
//! `BodyFrame::Data` is followed by as many raw bytes as it says, outside of the frame, so that they are
//! passed on without a copy.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeSeq};

use crate::{
    failure::Failure,
    limits::Limits,
    wire::codec::{self, DecodeError, EncodeError},
};

/// The most bytes that [`encode_body_frame`] takes for anything but trailers.
pub const BODY_FRAME_BYTES_MAX: usize = 8;

/// The first frame of an exchange: what is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method as the visitor sent it.
    pub method: Method,
    /// How the visitor reached the entry.
    pub scheme: Scheme,
    /// The `Host` or `:authority` as the visitor sent it; empty for an HTTP/1.0 request without one.
    pub authority: String,
    /// Path and query as the visitor sent them, byte for byte, or `*`.
    pub target: PathAndQuery,
    /// The HTTP version the visitor spoke.
    pub version: Version,
    /// End-to-end fields, without `Host`.
    pub headers: HeaderMap,
    /// What follows the head.
    pub body: BodyKind,
    /// The protocol that the visitor wants to switch to (RFC 9110 §7.8). Once the answerer has agreed with 101,
    /// both sides of the stream are raw bytes, each up to its own end.
    pub upgrade: Option<Upgrade>,
    /// Who asked, for logs at the other end.
    pub visitor: SocketAddr,
    /// How long the asker waits for the reply, in milliseconds.
    pub remaining_ms: u32,
}

/// A protocol that a connection can be switched to.
///
/// Append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
    /// Whatever the visitor and the upstream speak: the method is CONNECT (RFC 9110 §9.3.6).
    Connect,
}

impl Upgrade {
    /// Returns its token in the `Upgrade` field, where it is asked for there.
    pub fn token(self) -> Option<&'static str> {
        match self {
            Self::WebSocket => Some("websocket"),
            Self::Connect => None,
        }
    }

    /// Returns whether a final response with this status agrees to it.
    pub fn is_agreed_by(self, status: StatusCode) -> bool {
        match self {
            Self::WebSocket => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Connect => status.is_success(),
        }
    }
}

/// The scheme of a request at the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// Returns the scheme as it stands in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How a body is framed on the side it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyKind {
    /// There is no body: nothing follows the head.
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// As many bytes as come.
    Stream,
}

/// A response head: of a final or an interim response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// The status.
    pub status: StatusCode,
    /// What stands behind the status in HTTP/1.1 where it is not the usual phrase (RFC 9112 §4); an interim response
    /// crosses without it.
    pub reason: Option<Bytes>,
    /// End-to-end fields.
    pub headers: HeaderMap,
}

/// What the answerer sends before any body.
///
/// Append-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A 1xx response; another reply follows.
    Informational(ReplyHead),
    /// The final response, then its body.
    Head(ReplyHead, BodyKind),
    /// There is no response.
    Failed(Failure),
}

/// What a body is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFrame {
    /// This many bytes follow.
    Data(u32),
    /// The body is complete.
    End,
    /// The body is complete, and these fields come after it.
    Trailers(HeaderMap),
}

/// Appends a request head to `out` as one frame.
///
/// # Errors
///
/// When the head is over the limits. `out` is then as it was before.
pub fn encode_request(head: &RequestHead, limits: &Limits, out: &mut BytesMut) -> Result<(), EncodeError> {
    let message = RequestMessage {
        method: head.method.as_str(),
        scheme: head.scheme,
        authority: &head.authority,
        target: head.target.as_str(),
        version: HttpVersion::from(head.version),
        fields: Fields::Map(&head.headers),
        body: head.body,
        upgrade: head.upgrade,
        visitor: head.visitor,
        remaining_ms: head.remaining_ms,
    };
    codec::encode(&message, limits.head_frame_bytes_max(), out)
}

/// Reads a request head from the message of a frame; field values share its memory.
///
/// # Errors
///
/// When the message is malformed, has too many fields, or holds what HTTP does not allow.
pub fn decode_request(frame: &Bytes, limits: &Limits) -> Result<RequestHead, DecodeError> {
    let message = codec::decode::<RequestMessage<'_>>(frame)?;
    let target = target(frame, message.target)?;
    // What cannot stand in `Host` gets no further than this: a line break in it would begin a line of the head that
    // an upstream reads.
    if !message.authority.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(DecodeError::Invalid("the authority"));
    }
    Ok(RequestHead {
        method: Method::from_bytes(message.method.as_bytes()).map_err(|_| DecodeError::Invalid("the method"))?,
        scheme: message.scheme,
        authority: message.authority.to_owned(),
        target,
        version: message.version.into(),
        headers: message.fields.into_map(frame, limits)?,
        body: message.body,
        upgrade: message.upgrade,
        visitor: message.visitor,
        remaining_ms: message.remaining_ms,
    })
}

/// Appends a reply to `out` as one frame.
///
/// # Errors
///
/// When the head is over the limits. `out` is then as it was before.
pub fn encode_reply(reply: &Reply, limits: &Limits, out: &mut BytesMut) -> Result<(), EncodeError> {
    let message = match reply {
        Reply::Informational(head) => ReplyMessage::Informational(head.status.as_u16(), Fields::Map(&head.headers)),
        Reply::Head(head, body) => {
            let (status, fields) = (head.status.as_u16(), Fields::Map(&head.headers));
            match &head.reason {
                None => ReplyMessage::Head(status, fields, *body),
                Some(reason) => ReplyMessage::HeadWithReason(status, fields, *body, Raw(reason)),
            }
        }
        Reply::Failed(failure) => ReplyMessage::Failed(*failure),
    };
    codec::encode(&message, limits.head_frame_bytes_max(), out)
}

/// Reads a reply from the message of a frame; field values share its memory.
///
/// # Errors
///
/// When the message is malformed, has too many fields, or holds what HTTP does not allow.
pub fn decode_reply(frame: &Bytes, limits: &Limits) -> Result<Reply, DecodeError> {
    Ok(match codec::decode::<ReplyMessage<'_>>(frame)? {
        ReplyMessage::Informational(status, fields) => {
            let status =
                self::status(status, |status| status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS)?;
            Reply::Informational(ReplyHead { status, reason: None, headers: fields.into_map(frame, limits)? })
        }
        ReplyMessage::Head(status, fields, body) => Reply::Head(final_head(status, fields, None, frame, limits)?, body),
        ReplyMessage::HeadWithReason(status, fields, body, reason) => {
            Reply::Head(final_head(status, fields, Some(reason), frame, limits)?, body)
        }
        ReplyMessage::Failed(failure) => Reply::Failed(failure),
    })
}

fn final_head(
    status: u16,
    fields: Fields<'_>,
    reason: Option<Raw<'_>>,
    frame: &Bytes,
    limits: &Limits,
) -> Result<ReplyHead, DecodeError> {
    let is_final = |status: StatusCode| !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS;
    let status = self::status(status, is_final)?;
    // A line break in it would begin a field of the head that a visitor reads.
    if !reason.as_ref().is_none_or(|reason| reason.0.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..))) {
        return Err(DecodeError::Invalid("the reason phrase"));
    }
    let reason = reason.map(|reason| frame.slice_ref(reason.0));
    Ok(ReplyHead { status, reason, headers: fields.into_map(frame, limits)? })
}

/// Appends a body frame to `out`.
///
/// # Errors
///
/// When trailers are over the limits. `out` is then as it was before.
pub fn encode_body_frame(frame: &BodyFrame, limits: &Limits, out: &mut BytesMut) -> Result<(), EncodeError> {
    let message = match frame {
        BodyFrame::Data(length) => BodyMessage::Data(*length),
        BodyFrame::End => BodyMessage::End,
        BodyFrame::Trailers(map) => BodyMessage::Trailers(Fields::Map(map)),
    };
    codec::encode(&message, limits.head_frame_bytes_max(), out)
}

/// Reads a body frame from the message of a frame.
///
/// # Errors
///
/// When the message is malformed, has too many fields, or holds what HTTP does not allow.
pub fn decode_body_frame(frame: &Bytes, limits: &Limits) -> Result<BodyFrame, DecodeError> {
    Ok(match codec::decode::<BodyMessage<'_>>(frame)? {
        BodyMessage::Data(length) => BodyFrame::Data(length),
        BodyMessage::End => BodyFrame::End,
        BodyMessage::Trailers(fields) => BodyFrame::Trailers(fields.into_map(frame, limits)?),
    })
}

#[derive(Serialize, Deserialize)]
struct RequestMessage<'a> {
    method: &'a str,
    scheme: Scheme,
    authority: &'a str,
    target: &'a str,
    version: HttpVersion,
    #[serde(borrow)]
    fields: Fields<'a>,
    body: BodyKind,
    upgrade: Option<Upgrade>,
    visitor: SocketAddr,
    remaining_ms: u32,
}

#[derive(Serialize, Deserialize)]
enum ReplyMessage<'a> {
    Informational(u16, #[serde(borrow)] Fields<'a>),
    Head(u16, Fields<'a>, BodyKind),
    Failed(Failure),
    HeadWithReason(u16, Fields<'a>, BodyKind, #[serde(borrow)] Raw<'a>),
}

#[derive(Serialize, Deserialize)]
enum BodyMessage<'a> {
    Data(u32),
    End,
    Trailers(#[serde(borrow)] Fields<'a>),
}

#[derive(Serialize, Deserialize)]
enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

impl From<Version> for HttpVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::HTTP_2 => Self::Http2,
            Version::HTTP_10 => Self::Http10,
            _ => Self::Http11,
        }
    }
}

impl From<HttpVersion> for Version {
    fn from(version: HttpVersion) -> Self {
        match version {
            HttpVersion::Http10 => Version::HTTP_10,
            HttpVersion::Http11 => Version::HTTP_11,
            HttpVersion::Http2 => Version::HTTP_2,
        }
    }
}

/// Header fields on their way: borrowed from a map when they go out, from a frame when they come in.
///
/// On the wire it is a sequence of (name, value), in order among equal names.
enum Fields<'a> {
    Map(&'a HeaderMap),
    List(Vec<(&'a [u8], &'a [u8])>),
}

/// Counts more fields than any limit of ours before they are parsed.
const FIELDS_MAX: usize = 4_096;

impl Fields<'_> {
    fn into_map(self, frame: &Bytes, limits: &Limits) -> Result<HeaderMap, DecodeError> {
        let list = match self {
            Self::Map(map) => return Ok(map.clone()),
            Self::List(list) => list,
        };
        if list.len() > limits.head_frame_fields_max() {
            return Err(DecodeError::Invalid("the number of header fields"));
        }
        let mut map = HeaderMap::with_capacity(list.len());
        for (name, value) in list {
            let name = HeaderName::from_bytes(name).map_err(|_| DecodeError::Invalid("a field name"))?;
            let value = HeaderValue::from_maybe_shared(frame.slice_ref(value))
                .map_err(|_| DecodeError::Invalid("a field value"))?;
            map.try_append(name, value).map_err(|_| DecodeError::Invalid("the number of header fields"))?;
        }
        Ok(map)
    }
}

/// Writes bytes as a length and a slice; serde's own rule for `[u8]` is one element at a time.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Map(map) => {
                let mut fields = serializer.serialize_seq(Some(map.len()))?;
                for (name, value) in *map {
                    fields.serialize_element(&(Raw(name.as_str().as_bytes()), Raw(value.as_bytes())))?;
                }
                fields.end()
            }
            Self::List(list) => {
                let mut fields = serializer.serialize_seq(Some(list.len()))?;
                for (name, value) in list {
                    fields.serialize_element(&(Raw(name), Raw(value)))?;
                }
                fields.end()
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("header fields")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                // A hostile count must not reserve memory: it is bounded before the first field is read.
                let count = seq.size_hint().unwrap_or_default();
                if count > FIELDS_MAX {
                    return Err(de::Error::invalid_length(count, &self));
                }
                let mut list = Vec::with_capacity(count);
                while let Some(field) = seq.next_element()? {
                    list.push(field);
                }
                Ok(Fields::List(list))
            }
        }

        deserializer.deserialize_seq(Visitor)
    }
}

fn target(frame: &Bytes, target: &str) -> Result<PathAndQuery, DecodeError> {
    if target != "*" && !target.starts_with('/') {
        return Err(DecodeError::Invalid("the request target"));
    }
    PathAndQuery::from_maybe_shared(frame.slice_ref(target.as_bytes()))
        .map_err(|_| DecodeError::Invalid("the request target"))
}

fn status(code: u16, allowed: impl Fn(StatusCode) -> bool) -> Result<StatusCode, DecodeError> {
    StatusCode::from_u16(code).ok().filter(|status| allowed(*status)).ok_or(DecodeError::Invalid("the status"))
}

#[cfg(test)]
mod tests;
