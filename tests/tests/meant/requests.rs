//! What an upstream parses is the request that a visitor meant.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use adit_core::http::path;
use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{self, chunked, empty, full, with_trailer_fields},
    visitor::raw::Raw,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, request::Parts};
use http_body_util::BodyExt;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
    test_runner::TestRunner,
};
use tokio::runtime::{Builder, Runtime};

use crate::{ByName, CASES, Content, Field, by_name, config, content, field, map, versions, write_fields};

/// Fields that mean something to no one but the two ends, so that they are to arrive as they were sent.
const NAMES: [&str; 6] = ["p-a", "p-b", "p-c", "accept-language", "if-none-match", "authorization"];

const METHODS: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "PURGE"];

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
    fields: ByName,
    body: Bytes,
    trailers: ByName,
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
    let (fields, cuts) = (vec(field(&NAMES), 0..12), vec(any::<usize>(), 0..4));
    (method, target, fields, content(), subsequence(&NAMES[..3], 0..3), cuts).prop_map(
        |(method, target, fields, content, nominated, cuts)| Meant { method, target, fields, content, nominated, cuts },
    )
}

impl Meant {
    fn as_http1(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhOST:app.test\r\n", self.method, self.target).into_bytes();
        write_fields(&self.fields, &mut bytes);
        let for_one_hop = format!("Connection: close,{}\r\nKeep-Alive: timeout=5\r\n", self.nominated.join(" , "));
        bytes.extend_from_slice(for_one_hop.as_bytes());
        self.content.write_http1(&mut bytes);
        bytes
    }

    fn as_http2(&self) -> Request<body::Body> {
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
        let fields: Vec<_> = self.fields.iter().filter(|(name, _)| !nominated.contains(name)).cloned().collect();
        let (body, trailers) = self.content.parts();
        Parsed {
            method: self.method.clone(),
            target: self.target.clone(),
            fields: by_name(&map(&fields)),
            body: body.into(),
            trailers: by_name(&map(trailers)),
        }
    }
}

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
    fn new(direction: Direction, upstream_http2: bool) -> Self {
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
            let url = if upstream_http2 { upstream.h2c() } else { upstream.http() };
            let tunnel = Tunnel::to(url).start(direction).await;
            (upstream, tunnel)
        });
        Self { runtime, upstream, tunnel, seen }
    }

    fn check(&self, http2: bool) {
        let mut runner = TestRunner::new(config());
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
            let answer = self.tunnel.http2().await.ask(meant.as_http2()).await;
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

versions! { Scene:
    a_request_over_http_1_is_parsed_by_http_1: false, false;
    a_request_over_http_1_is_parsed_by_http_2: false, true;
    a_request_over_http_2_is_parsed_by_http_1: true, false;
    a_request_over_http_2_is_parsed_by_http_2: true, true;
}
