use proptest::prelude::*;

use super::*;
use crate::wire::codec::frame_length;

fn limits() -> Limits {
    Limits::default()
}

fn request() -> RequestHead {
    let mut headers = HeaderMap::new();
    headers.append("accept", HeaderValue::from_static("*/*"));
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("2"));
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: "a.example".into(),
        target: PathAndQuery::from_static("/p?q"),
        version: Version::HTTP_11,
        headers,
        body: BodyKind::Length(300),
        upgrade: Some(Upgrade::WebSocket),
        visitor: ([127, 0, 0, 1], 80).into(),
        remaining_ms: 30_000,
    }
}

fn reply() -> Reply {
    let mut headers = HeaderMap::new();
    headers.append("set-cookie", HeaderValue::from_static("a=1"));
    Reply::Head(ReplyHead { status: StatusCode::OK, reason: None, headers }, BodyKind::Stream)
}

/// Splits one frame off `out` and returns its message.
fn message(out: BytesMut) -> Bytes {
    let limit = limits().head_frame_bytes_max();
    let length = frame_length(&out, limit).unwrap().unwrap();
    assert_eq!(length.prefix + length.message, out.len());
    out.freeze().slice(length.prefix..)
}

#[test]
fn a_request_head_has_these_bytes() {
    let mut out = BytesMut::new();
    encode_request(&request(), &limits(), &mut out).unwrap();
    let expected = b"\x3b\x03GET\x00\x09a.example\x04/p?q\x01\
        \x03\x06accept\x03*/*\x03x-a\x011\x03x-a\x012\
        \x01\xac\x02\x01\x00\x00\x7f\x00\x00\x01\x50\xb0\xea\x01";
    assert_eq!(&out[..], &expected[..]);
    assert_eq!(decode_request(&message(out), &limits()).unwrap(), request());
}

#[test]
fn replies_have_these_bytes() {
    let interim =
        Reply::Informational(ReplyHead { status: StatusCode::EARLY_HINTS, reason: None, headers: HeaderMap::new() });
    let failed = Reply::Failed(Failure::UpstreamRefused);
    let worded =
        ReplyHead { status: StatusCode::OK, reason: Some(Bytes::from_static(b"Fine")), headers: HeaderMap::new() };
    let worded = Reply::Head(worded, BodyKind::None);
    for (reply, expected) in [
        (reply(), &b"\x14\x01\xc8\x01\x01\x0aset-cookie\x03a=1\x02"[..]),
        (interim, &b"\x03\x00\x67\x00"[..]),
        (failed, &b"\x02\x02\x0a"[..]),
        (worded, &b"\x0a\x03\xc8\x01\x00\x00\x04Fine"[..]),
    ] {
        let mut out = BytesMut::new();
        encode_reply(&reply, &limits(), &mut out).unwrap();
        assert_eq!(&out[..], expected, "{reply:?}");
        assert_eq!(decode_reply(&message(out), &limits()).unwrap(), reply);
    }
}

#[test]
fn body_frames_have_these_bytes() {
    let mut trailers = HeaderMap::new();
    trailers.append("grpc-status", HeaderValue::from_static("0"));
    for (frame, expected) in [
        (BodyFrame::Data(300), &b"\x03\x00\xac\x02"[..]),
        (BodyFrame::End, &b"\x01\x01"[..]),
        (BodyFrame::Trailers(trailers), &b"\x10\x02\x01\x0bgrpc-status\x010"[..]),
    ] {
        let mut out = BytesMut::new();
        encode_body_frame(&frame, &limits(), &mut out).unwrap();
        assert_eq!(&out[..], expected, "{frame:?}");
        assert_eq!(decode_body_frame(&message(out), &limits()).unwrap(), frame);
    }
}

#[test]
fn data_and_end_frames_are_as_short_as_promised() {
    for frame in [BodyFrame::Data(u32::MAX), BodyFrame::End] {
        let mut out = BytesMut::new();
        encode_body_frame(&frame, &limits(), &mut out).unwrap();
        assert!(out.len() <= BODY_FRAME_BYTES_MAX);
    }
}

#[test]
fn a_hostile_count_of_fields_is_refused_before_memory_is_spent() {
    // Trailers that announce 2^40 fields.
    let frame = Bytes::from_static(b"\x02\x80\x80\x80\x80\x80\x20");
    assert!(decode_body_frame(&frame, &limits()).is_err());
}

#[test]
fn more_fields_than_the_limit_are_refused() {
    let mut headers = HeaderMap::new();
    for _ in 0..=limits().head_frame_fields_max() {
        headers.append("a", HeaderValue::from_static("b"));
    }
    let mut out = BytesMut::new();
    encode_body_frame(&BodyFrame::Trailers(headers), &limits(), &mut out).unwrap();
    let refused = decode_body_frame(&message(out), &limits());
    assert_eq!(refused, Err(DecodeError::Invalid("the number of header fields")));
}

#[test]
fn an_authority_that_cannot_stand_in_a_field_is_refused() {
    let decode = |authority: &str| {
        let mut out = BytesMut::new();
        encode_request(&RequestHead { authority: authority.into(), ..request() }, &limits(), &mut out).unwrap();
        decode_request(&message(out), &limits())
    };
    for authority in ["", "a.example:80", "[::1]:80", "a_b~c"] {
        assert_eq!(decode(authority).unwrap().authority, authority);
    }
    for authority in ["a\r\nx: y", "a b", "a\0", "a\x7f", "\t", "b\u{fc}cher.example"] {
        assert_eq!(decode(authority), Err(DecodeError::Invalid("the authority")), "{authority:?}");
    }
}

#[test]
fn what_http_does_not_allow_does_not_decode() {
    let reply = |status: u16| {
        let mut out = BytesMut::new();
        let empty = HeaderMap::new();
        let wire = ReplyMessage::Head(status, Fields::Map(&empty), BodyKind::None);
        codec::encode(&wire, 1_000, &mut out).unwrap();
        decode_reply(&message(out), &limits())
    };
    assert!(reply(200).is_ok());
    assert_eq!(reply(100), Err(DecodeError::Invalid("the status")));
    assert_eq!(reply(99), Err(DecodeError::Invalid("the status")));

    let reason = |reason: &[u8]| {
        let mut out = BytesMut::new();
        let empty = HeaderMap::new();
        let wire = ReplyMessage::HeadWithReason(200, Fields::Map(&empty), BodyKind::None, Raw(reason));
        codec::encode(&wire, 1_000, &mut out).unwrap();
        decode_reply(&message(out), &limits())
    };
    assert!(reason(b"").is_ok() && reason(b"Not\tso \xe9vident~").is_ok());
    for bad in [&b"a\r\nx: y"[..], b"\n", b"\0", b"\x7f"] {
        assert_eq!(reason(bad), Err(DecodeError::Invalid("the reason phrase")), "{bad:?}");
    }

    let trailers = |name: &[u8], value: &[u8]| {
        let mut out = BytesMut::new();
        let wire = BodyMessage::Trailers(Fields::List(vec![(name, value)]));
        codec::encode(&wire, 1_000, &mut out).unwrap();
        decode_body_frame(&message(out), &limits())
    };
    assert!(trailers(b"x-a", b"\xffobs").is_ok());
    assert_eq!(trailers(b"x a", b"b"), Err(DecodeError::Invalid("a field name")));
    assert_eq!(trailers(b"x-a", b"b\r\nc: d"), Err(DecodeError::Invalid("a field value")));

    for target in ["", "p", "http://a/", "/a b"] {
        let frame = Bytes::copy_from_slice(target.as_bytes());
        let text = std::str::from_utf8(&frame).unwrap();
        assert!(super::target(&frame, text).is_err(), "{target:?} passed");
    }
}

fn header_map() -> impl Strategy<Value = HeaderMap> {
    let field = ("[a-z][a-z0-9-]{0,20}", prop::collection::vec(0x20..=0x7e_u8, 0..80));
    prop::collection::vec(field, 0..30).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(&value).unwrap());
        }
        map
    })
}

fn body_kind() -> impl Strategy<Value = BodyKind> {
    prop_oneof![Just(BodyKind::None), any::<u64>().prop_map(BodyKind::Length), Just(BodyKind::Stream)]
}

fn reason() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of("[\t -~]{0,40}".prop_map(Bytes::from))
}

proptest! {
    #[test]
    fn any_request_head_comes_back(headers in header_map(), body in body_kind(), target in "/[!$-;=?-Z_a-z~]{0,60}", remaining_ms: u32) {
        let head = RequestHead { headers, body, target: target.parse().unwrap(), remaining_ms, ..request() };
        let mut out = BytesMut::new();
        encode_request(&head, &limits(), &mut out).unwrap();
        prop_assert_eq!(decode_request(&message(out), &limits()).unwrap(), head);
    }

    #[test]
    fn any_reply_comes_back(headers in header_map(), body in body_kind(), status in 200..1000_u16, reason in reason()) {
        let reply = Reply::Head(ReplyHead { status: StatusCode::from_u16(status).unwrap(), reason, headers }, body);
        let mut out = BytesMut::new();
        encode_reply(&reply, &limits(), &mut out).unwrap();
        prop_assert_eq!(decode_reply(&message(out), &limits()).unwrap(), reply);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let frame = Bytes::from(bytes);
        let _ = decode_request(&frame, &limits());
        let _ = decode_reply(&frame, &limits());
        let _ = decode_body_frame(&frame, &limits());
    }

    #[test]
    fn a_changed_byte_never_panics(at: prop::sample::Index, value: u8) {
        let mut out = BytesMut::new();
        encode_request(&request(), &limits(), &mut out).unwrap();
        let mut bytes = message(out).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = decode_request(&Bytes::from(bytes), &limits());
    }
}
