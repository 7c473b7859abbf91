//! What an upstream parses is what a visitor meant, whatever it is: generated requests, sent as bytes over HTTP/1.1 and as
//! frames over HTTP/2, to upstreams of either version.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use adit_core::http::path;
use adit_node::settings::ServerUrl;
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::{chunked, empty, full, with_trailer_fields},
    visitor::raw::Raw,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, request::Parts};
use http_body_util::BodyExt;
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::{Builder, Runtime};

/// How many requests each test sends.
const CASES: u32 = 96;

/// Fields that mean something to no one but the two ends, so that they are to arrive as they were sent.
const NAMES: [&str; 6] = ["p-a", "p-b", "p-c", "accept-language", "if-none-match", "authorization"];

const METHODS: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "PURGE"];

/// A name and a value.
type Field = (&'static str, Vec<u8>);

#[derive(Clone, Debug)]
enum Content {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>, Vec<Field>),
}

/// A request as a visitor means it.
#[derive(Clone, Debug)]
struct Meant {
    method: String,
    target: String,
    fields: Vec<Field>,
    content: Content,
    /// Which of [`NAMES`] the visitor says are for the next hop only.
    nominated: Vec<&'static str>,
    /// Where the bytes are cut into what is sent at once.
    cuts: Vec<usize>,
}

/// What there was of a request at the upstream.
#[derive(Clone, Debug, PartialEq)]
struct Parsed {
    method: String,
    target: String,
    fields: Vec<(String, Vec<Vec<u8>>)>,
    body: Bytes,
    trailers: Vec<(String, Vec<Vec<u8>>)>,
}

fn field() -> impl Strategy<Value = Field> {
    let value = "[!-~\u{a1}-\u{24f}]([\\t -~\u{a1}-\u{24f}]{0,30}[!-~\u{a1}-\u{24f}])?";
    let value = prop_oneof![1 => Just(String::new()), 9 => value].prop_map(String::into_bytes);
    // Bytes that are no text of any encoding.
    let beyond = vec(0x80..=0xff_u8, 1..8);
    (select(&NAMES[..]), prop_oneof![4 => value, 1 => beyond])
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

fn meant() -> impl Strategy<Value = Meant> {
    let method = prop_oneof![8 => select(&METHODS[..]).prop_map(str::to_owned), 1 => "[A-Za-z!#$%&'*+.^_`|~-]{1,12}"];
    // An own method could be one of those that mean more than themselves.
    let method =
        method.prop_filter("another kind of request", |method| !["CONNECT", "TRACE", "HEAD"].contains(&&**method));
    let target = "/[!$&'()*+,;=:@A-Z\\[\\]^_a-z|~{}\"0-9/.-]{0,30}(%[0-9a-fA-F]{2}){0,3}(\\?[!$-;=?-~]{0,20})?";
    let target = target.prop_filter("a path that is refused", |target: &String| {
        let path = target.split('?').next().unwrap_or_default();
        path::normalise(path).is_ok() && target.parse::<http::Uri>().is_ok()
    });
    let cuts = vec(any::<usize>(), 0..4);
    (method, target, vec(field(), 0..12), content(), proptest::sample::subsequence(&NAMES[..3], 0..3), cuts).prop_map(
        |(method, target, fields, content, nominated, cuts)| Meant { method, target, fields, content, nominated, cuts },
    )
}

impl Meant {
    /// Writes it as a visitor with a taste of its own would.
    fn as_http1(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhOST:app.test\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &[u8]| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": \t");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b" \r\n");
        };
        for (number, (name, value)) in self.fields.iter().enumerate() {
            if number % 2 == 0 { line(name, value) } else { line(&name.to_ascii_uppercase(), value) }
        }
        line("Connection", format!("close,{}", self.nominated.join(" , ")).as_bytes());
        line("Keep-Alive", b"timeout=5");
        line("Proxy-Connection", b"keep-alive");
        match &self.content {
            Content::None => {}
            Content::Length(body) => line("Content-Length", body.len().to_string().as_bytes()),
            Content::Chunked(..) => {
                line("Trailer", b"p-t, P-U");
                line("TRANSFER-ENCODING", b"Chunked");
            }
        }
        bytes.extend_from_slice(b"\r\n");
        match &self.content {
            Content::None => {}
            Content::Length(body) => bytes.extend_from_slice(body),
            Content::Chunked(chunks, trailers) => {
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
        bytes
    }

    fn as_http2(&self) -> Request<adit_tests::body::Body> {
        let body = match &self.content {
            Content::None => empty(),
            Content::Length(body) => full(body.clone()),
            Content::Chunked(chunks, trailers) => {
                let chunks = chunks.iter().cloned().map(Bytes::from);
                if trailers.is_empty() { chunked(chunks) } else { with_trailer_fields(chunks, map(trailers)) }
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).unwrap();
        *request.uri_mut() = format!("http://app.test{}", self.target).parse().unwrap();
        *request.headers_mut() = map(&self.fields);
        // HTTP/1.1 upstreams get only what is announced.
        request.headers_mut().insert("trailer", HeaderValue::from_static("p-t, p-u"));
        request
    }

    /// What is to arrive. Over HTTP/2 nothing can be nominated.
    fn expected(&self, http2: bool) -> Parsed {
        let nominated = if http2 { &[][..] } else { &self.nominated };
        let (body, trailers) = match &self.content {
            Content::None => (Bytes::new(), &[][..]),
            Content::Length(body) => (body.clone().into(), &[][..]),
            Content::Chunked(chunks, trailers) => (chunks.concat().into(), trailers.as_slice()),
        };
        let fields: Vec<_> = self.fields.iter().filter(|(name, _)| !nominated.contains(name)).cloned().collect();
        Parsed {
            method: self.method.clone(),
            target: self.target.clone(),
            fields: by_name(&map(&fields)),
            body,
            trailers: by_name(&map(trailers)),
        }
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
fn by_name(map: &HeaderMap) -> Vec<(String, Vec<Vec<u8>>)> {
    let values = |name| map.get_all(name).into_iter().map(|value: &HeaderValue| value.as_bytes().to_vec()).collect();
    let mut fields: Vec<_> = map.keys().map(|name| (name.as_str().to_owned(), values(name))).collect();
    fields.sort();
    fields
}

/// What adit and HTTP itself add to a request; whatever else arrives has to be meant.
const ADDED: [&str; 11] = [
    "host",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "traceparent",
    "adit-hop",
    "content-length",
    "transfer-encoding",
    "trailer",
];

fn parsed(head: &Parts, body: Bytes, trailers: Option<&HeaderMap>) -> Parsed {
    let mut fields = head.headers.clone();
    for name in ADDED {
        fields.remove(name);
    }
    Parsed {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        fields: by_name(&fields),
        body,
        trailers: trailers.map(by_name).unwrap_or_default(),
    }
}

/// A tunnel to an upstream that keeps what it parses.
struct Scene {
    runtime: Runtime,
    upstream: Upstream,
    tunnel: Tunnel,
    seen: Arc<Mutex<Vec<Parsed>>>,
}

impl Scene {
    fn new(direction: Direction, url: impl FnOnce(&Upstream) -> ServerUrl) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&seen);
        let (upstream, tunnel) = runtime.block_on(async {
            let upstream = Upstream::answering(move |request| {
                let keeps = Arc::clone(&keeps);
                async move {
                    let (head, body) = request.into_parts();
                    let Ok(body) = body.collect().await else { return Response::new(full("broken")) };
                    let trailers = body.trailers().cloned();
                    keeps.lock().unwrap().push(parsed(&head, body.to_bytes(), trailers.as_ref()));
                    Response::new(full("seen"))
                }
            });
            let tunnel = Tunnel::to(url(&upstream)).start(direction).await;
            (upstream, tunnel)
        });
        Self { runtime, upstream, tunnel, seen }
    }

    fn check(&self, http2: bool) {
        let mut runner = TestRunner::new(Config { cases: CASES, max_shrink_iters: 512, ..Config::default() });
        let checked = runner.run(&meant(), |meant| {
            let answer = self.runtime.block_on(self.ask(&meant, http2));
            let seen = std::mem::take(&mut *self.seen.lock().unwrap());
            prop_assert_eq!(seen, [meant.expected(http2)], "{}", answer);
            prop_assert!(answer.contains("200") && answer.contains("seen"), "{}", answer);
            Ok(())
        });
        if let Err(failed) = checked {
            panic!("{failed}");
        }
        assert!(self.upstream.saw().requests() >= usize::try_from(CASES).unwrap());
    }

    async fn ask(&self, meant: &Meant, http2: bool) -> String {
        if http2 {
            let mut visitor: Visitor = self.tunnel.http2().await;
            let answer = visitor.ask(meant.as_http2()).await;
            let mut shown = answer.status.to_string();
            let _ = write!(shown, " {}", answer.text());
            return shown;
        }
        let bytes = meant.as_http1();
        let mut cuts: Vec<_> = meant.cuts.iter().map(|cut| cut % bytes.len()).collect();
        cuts.sort_unstable();
        let mut visitor = Raw::connect(self.tunnel.entry()).await;
        let mut sent = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            visitor.send(&bytes[sent..cut]).await;
            tokio::task::yield_now().await;
            sent = cut;
        }
        visitor.rest().await
    }
}

macro_rules! versions {
    ($($name:ident: $http2:literal to $upstream:ident,)+) => {
        $(
            #[test]
            fn $name() {
                for direction in [Direction::Reverse, Direction::Forward] {
                    Scene::new(direction, Upstream::$upstream).check($http2);
                }
            }
        )+
    };
}

versions! {
    what_is_meant_over_http_1_is_parsed_by_http_1: false to http,
    what_is_meant_over_http_1_is_parsed_by_http_2: false to h2c,
    what_is_meant_over_http_2_is_parsed_by_http_1: true to http,
    what_is_meant_over_http_2_is_parsed_by_http_2: true to h2c,
}
