//! What a visitor parses is the response that an upstream meant.

use std::sync::{Arc, Mutex};

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{self, chunked, empty, full, with_trailer_fields},
    message::read,
    visitor::Visitor,
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
};

use crate::{ByName, Content, Field, by_name, config, content, field, map, versions, write_fields};

/// Fields that mean something to no one but the two ends, so that they are to arrive as they were sent.
const NAMES: [&str; 6] = ["p-a", "p-b", "set-cookie", "etag", "www-authenticate", "x-own"];

/// What HTTP itself adds to a response; whatever else arrives has to be meant.
const ADDED: [&str; 4] = ["date", "content-length", "transfer-encoding", "trailer"];

/// A response as an upstream means it.
#[derive(Clone, Debug)]
struct Meant {
    status: u16,
    reason: String,
    fields: Vec<Field>,
    content: Content,
    method: &'static str,
}

/// What there was of a response at the visitor.
#[derive(Clone, Debug, PartialEq)]
struct Parsed {
    status: u16,
    reason: Option<String>,
    fields: ByName,
    length: Option<String>,
    body: Bytes,
    trailers: ByName,
}

fn meant() -> impl Strategy<Value = Meant> {
    let statuses = [200, 201, 204, 206, 207, 301, 304, 400, 401, 404, 418, 429, 500, 503, 599, 799];
    let method = prop_oneof![4 => Just("GET"), 1 => Just("HEAD"), 2 => Just("POST")];
    let reason = prop_oneof![Just("Own Words".to_owned()), "[!-~]([\\t -~]{0,20}[!-~])?"];
    (select(statuses.to_vec()), reason, vec(field(&NAMES), 0..12), content(), method)
        .prop_map(|(status, reason, fields, content, method)| Meant { status, reason, fields, content, method })
}

impl Meant {
    fn has_body(&self) -> bool {
        self.method != "HEAD" && !matches!(self.status, 204 | 304)
    }

    fn as_http1(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).into_bytes();
        write_fields(&self.fields, &mut bytes);
        bytes.extend_from_slice(b"Connection: p-gone, close\r\nP-Gone: 1\r\n");
        let mut rest = Vec::new();
        self.content.write_http1(&mut rest);
        if !self.has_body() {
            let head = rest.windows(4).position(|end| end == b"\r\n\r\n").map_or(rest.len(), |at| at + 4);
            rest.truncate(head);
        }
        [bytes, rest].concat()
    }

    fn as_http2(&self) -> Response<body::Body> {
        let body = match &self.content {
            Content::None => empty(),
            Content::Length(body) => full(body.clone()),
            Content::Chunked(chunks, trailers) => {
                let chunks = chunks.iter().cloned().map(Bytes::from);
                if trailers.is_empty() { chunked(chunks) } else { with_trailer_fields(chunks, map(trailers)) }
            }
        };
        let mut response = Response::new(if self.has_body() { body } else { empty() });
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        *response.headers_mut() = map(&self.fields);
        if let Content::Length(body) = &self.content {
            response.headers_mut().insert("content-length", body.len().into());
        }
        // HTTP/1.1 visitors get only what is announced.
        response.headers_mut().insert("trailer", HeaderValue::from_static("p-t, p-u"));
        response
    }

    /// What is to arrive. Words behind the status do where both ends have a place for them.
    fn expected(&self, http2: bool, upstream_http2: bool) -> Parsed {
        let (body, trailers) = if self.has_body() { self.content.parts() } else { (Vec::new(), &[][..]) };
        let usual = StatusCode::from_u16(self.status).unwrap().canonical_reason();
        let said = if upstream_http2 { usual.unwrap_or_default() } else { &self.reason };
        let length = match &self.content {
            Content::Length(body) if self.status != 204 => Some(body.len().to_string()),
            Content::None | Content::Length(_) | Content::Chunked(..) => None,
        };
        Parsed {
            status: self.status,
            reason: (!http2 && usual != Some(said)).then(|| said.to_owned()),
            fields: by_name(&map(&self.fields)),
            length,
            body: body.into(),
            trailers: by_name(&map(trailers)),
        }
    }
}

/// A tunnel to an upstream that says what it is told to say.
struct Scene {
    runtime: Runtime,
    _upstream: Upstream,
    tunnel: Tunnel,
    says: Arc<Mutex<Option<Meant>>>,
    upstream_http2: bool,
}

impl Scene {
    fn new(direction: Direction, upstream_http2: bool) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let says = Arc::new(Mutex::new(None::<Meant>));
        let told = Arc::clone(&says);
        let (upstream, tunnel) = runtime.block_on(async {
            let (upstream, url) = if upstream_http2 {
                let upstream = Upstream::answering(move |_| {
                    let meant = told.lock().unwrap().take().unwrap();
                    async move { meant.as_http2() }
                });
                let url = upstream.h2c();
                (upstream, url)
            } else {
                let upstream = Upstream::raw(move |tcp| say(tcp, Arc::clone(&told)));
                let url = upstream.http();
                (upstream, url)
            };
            let tunnel = Tunnel::to(url).start(direction).await;
            (upstream, tunnel)
        });
        Self { runtime, _upstream: upstream, tunnel, says, upstream_http2 }
    }

    fn check(&self, http2: bool) {
        let mut runner = TestRunner::new(config());
        let checked = runner.run(&meant(), |meant| {
            *self.says.lock().unwrap() = Some(meant.clone());
            let expected = meant.expected(http2, self.upstream_http2);
            let parsed = self.runtime.block_on(async {
                let visitor = if http2 { self.tunnel.http2().await } else { self.tunnel.http1().await };
                ask(visitor, meant.method).await
            });
            let mut parsed = parsed.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            // A body that is empty may say so or not, and a length may be known that was not said.
            if parsed.body.is_empty() && meant.has_body() {
                parsed.length = expected.length.clone();
            }
            prop_assert_eq!(parsed, expected);
            Ok(())
        });
        if let Err(failed) = checked {
            panic!("{failed}");
        }
    }
}

async fn say(mut tcp: TcpStream, told: Arc<Mutex<Option<Meant>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let Some(meant) = told.lock().unwrap().take() else { return };
    // What comes back tells.
    let _ = tcp.write_all(&meant.as_http1()).await;
}

async fn ask(mut visitor: Visitor, method: &str) -> hyper::Result<Parsed> {
    let mut asked = visitor.request(method, "/");
    if visitor.is_http1() {
        asked = asked.header("connection", "te");
    }
    let response = visitor.send(asked.header("te", "trailers").empty()).await;
    let reason = response.extensions().get::<ReasonPhrase>();
    let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
    let mut whole = read(response).await?;
    let length = whole.values("content-length").first().map(ToString::to_string);
    for name in ADDED {
        whole.headers.remove(name);
    }
    Ok(Parsed {
        status: whole.status.as_u16(),
        reason,
        fields: by_name(&whole.headers),
        length,
        body: whole.body,
        trailers: whole.trailers.as_ref().map(by_name).unwrap_or_default(),
    })
}

versions! { Scene:
    a_response_of_http_1_is_parsed_over_http_1: false, false;
    a_response_of_http_1_is_parsed_over_http_2: true, false;
    a_response_of_http_2_is_parsed_over_http_1: false, true;
    a_response_of_http_2_is_parsed_over_http_2: true, true;
}
