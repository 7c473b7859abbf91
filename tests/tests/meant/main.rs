//! What is parsed at one end is what was meant at the other, whatever it is: generated messages, as bytes over HTTP/1.1 and
//! as frames over HTTP/2, in both directions.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod requests;
mod responses;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};

/// How many messages each test sends in each direction.
const CASES: u32 = 96;

/// A name and a value.
type Field = (&'static str, Vec<u8>);

fn config() -> Config {
    Config { cases: CASES, max_shrink_iters: 512, failure_persistence: None, ..Config::default() }
}

/// All values of each name.
type ByName = Vec<(String, Vec<Vec<u8>>)>;

/// What comes behind a head.
#[derive(Clone, Debug)]
enum Content {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>, Vec<Field>),
}

fn field(names: &'static [&'static str]) -> impl Strategy<Value = Field> {
    let value = "[!-~\u{a1}-\u{24f}]([\\t -~\u{a1}-\u{24f}]{0,30}[!-~\u{a1}-\u{24f}])?";
    let value = prop_oneof![1 => Just(String::new()), 9 => value].prop_map(String::into_bytes);
    // Bytes that are no text of any encoding.
    let beyond = vec(0x80..=0xff_u8, 1..8);
    (select(names), prop_oneof![4 => value, 1 => beyond])
}

fn trailer() -> impl Strategy<Value = Field> {
    (select(&["p-t", "p-u"][..]), "[!-~]{1,20}".prop_map(String::into_bytes))
}

fn content() -> impl Strategy<Value = Content> {
    let bytes = |max| vec(any::<u8>(), 0..max);
    let chunks = vec(vec(any::<u8>(), 1..3_000), 0..6);
    prop_oneof![
        2 => Just(Content::None),
        2 => bytes(70_000_usize).prop_map(Content::Length),
        1 => bytes(10).prop_map(Content::Length),
        3 => (chunks, vec(trailer(), 0..4)).prop_map(|(chunks, trailers)| Content::Chunked(chunks, trailers)),
    ]
}

impl Content {
    /// Returns all of the body, and the fields behind it.
    fn parts(&self) -> (Vec<u8>, &[Field]) {
        match self {
            Self::None => (Vec::new(), &[]),
            Self::Length(body) => (body.clone(), &[]),
            Self::Chunked(chunks, trailers) => (chunks.concat(), trailers),
        }
    }

    /// Ends a head of HTTP/1.1 with the fields that frame it, and writes it.
    fn write_http1(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::None => bytes.extend_from_slice(b"\r\n"),
            Self::Length(body) => {
                bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                bytes.extend_from_slice(body);
            }
            Self::Chunked(chunks, trailers) => {
                bytes.extend_from_slice(b"Trailer: p-t, P-U\r\nTRANSFER-ENCODING:Chunked \r\n\r\n");
                for chunk in chunks {
                    bytes.extend_from_slice(format!("{:X};p=q\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
                }
                bytes.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Writes fields as somebody with a taste of their own would.
fn write_fields(fields: &[Field], bytes: &mut Vec<u8>) {
    for (number, (name, value)) in fields.iter().enumerate() {
        let name = if number % 2 == 0 { (*name).to_owned() } else { name.to_ascii_uppercase() };
        bytes.extend_from_slice(&[name.as_bytes(), b": \t", value, b" \r\n"].concat());
    }
}

fn map(fields: &[Field]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    map
}

/// All values of each name in order; in what order the names come means nothing (RFC 9110 §5.3).
fn by_name(map: &HeaderMap) -> ByName {
    let values = |name| map.get_all(name).into_iter().map(|value: &HeaderValue| value.as_bytes().to_vec()).collect();
    let mut fields: Vec<_> = map.keys().map(|name| (name.as_str().to_owned(), values(name))).collect();
    fields.sort();
    fields
}

/// Runs a test for each direction and version.
#[macro_export]
macro_rules! versions {
    ($scene:ident: $($name:ident: $http2:literal, $other_http2:literal;)+) => {
        $(
            #[test]
            fn $name() {
                for direction in [adit_tests::Direction::Reverse, adit_tests::Direction::Forward] {
                    $scene::new(direction, $other_http2).check($http2);
                }
            }
        )+
    };
}
