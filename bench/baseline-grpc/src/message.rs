//! What crosses the stream. The types are what `protoc` would have made of:
//!
//! ```proto
//! service Tunnel { rpc Open(stream FromClient) returns (stream FromServer); }
//! message Field { string name = 1; bytes value = 2; }
//! message FromServer { uint64 request_id = 1; string method = 2; string target = 3; repeated Field fields = 4; bytes body = 5; }
//! message FromClient { uint64 request_id = 1; uint32 status = 2; repeated Field fields = 3; bytes body = 4; }
//! ```

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A header field.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Field {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value: not always UTF-8.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// A request on its way to the upstream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromServer {
    /// Pairs the response with it.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
    /// `GET`, `POST`, …
    #[prost(string, tag = "2")]
    pub method: String,
    /// Path and query.
    #[prost(string, tag = "3")]
    pub target: String,
    /// Header fields, without those of one connection.
    #[prost(message, repeated, tag = "4")]
    pub fields: Vec<Field>,
    /// The whole body.
    #[prost(bytes = "bytes", tag = "5")]
    pub body: Bytes,
}

/// A response on its way back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromClient {
    /// That of the request. 0 greets: it makes the server's half of the stream begin.
    #[prost(uint64, tag = "1")]
    pub request_id: u64,
    /// The status code.
    #[prost(uint32, tag = "2")]
    pub status: u32,
    /// Header fields, without those of one connection.
    #[prost(message, repeated, tag = "3")]
    pub fields: Vec<Field>,
    /// The whole body.
    #[prost(bytes = "bytes", tag = "4")]
    pub body: Bytes,
}

/// Returns the fields that cross: hop-by-hop ones (RFC 9110 §7.6.1) don't, and the length is that of the body.
pub fn fields_from(headers: &HeaderMap) -> Vec<Field> {
    headers
        .iter()
        .filter(|(name, _)| crosses(name))
        .map(|(name, value)| Field { name: name.as_str().to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) })
        .collect()
}

/// Adds `fields` to `headers`; what is no field is left out.
pub fn fields_into(fields: Vec<Field>, headers: &mut HeaderMap) {
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(field.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
}

fn crosses(name: &HeaderName) -> bool {
    ![
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::CONTENT_LENGTH,
    ]
    .contains(name)
        && name != "keep-alive"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_one_connection_does_not_cross() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append("connection", HeaderValue::from_static("close"));
        headers.append("keep-alive", HeaderValue::from_static("timeout=5"));
        headers.append("content-length", HeaderValue::from_static("9"));

        let mut crossed = HeaderMap::new();
        fields_into(fields_from(&headers), &mut crossed);

        assert_eq!(crossed.len(), 2);
        assert_eq!(crossed.get_all("x-a").iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(), [&b"1"[..], b"\xff"]);
    }
}
