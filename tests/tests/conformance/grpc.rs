//! gRPC between tonic and tonic, which do not know that there is a tunnel.

use std::{pin::Pin, time::Duration};

use adit_tests::{
    Cell, Tunnel, Upstream,
    body::{Body, Cut},
    conformance, within,
};
use bytes::{Buf, BufMut};
use http::{Request as HttpRequest, Response as HttpResponse, uri::PathAndQuery};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
    server::{ClientStreamingService, Grpc as GrpcServer, ServerStreamingService, StreamingService, UnaryService},
    transport::{Channel, Endpoint},
};

conformance! { "gRPC":
    a_unary_call_is_answered_with_its_metadata [h2 to h2],
    a_message_of_a_mebibyte_arrives_whole [h2 to h2],
    a_server_streams_message_by_message [h2 to h2],
    a_client_streams_message_by_message [h2 to h2],
    both_stream_at_once [h2 to h2],
    a_status_without_a_message_is_all_there_is [h2 to h2],
    a_status_behind_messages_arrives_after_them [h2 to h2],
    every_status_arrives_as_it_is [h2 to h2],
    a_deadline_reaches_the_server_and_cancels_the_call [h2 to h2],
    a_call_that_is_cancelled_is_cancelled_at_the_server [h2 to h2],
    a_stream_that_is_cancelled_is_cancelled_at_the_server [h2 to h2],
}

/// Messages of text: what is in them is no business of gRPC's.
#[derive(Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let text = message.copy_to_bytes(message.remaining());
        String::from_utf8(text.into()).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// A server with one method of each kind, and some that misbehave.
#[derive(Clone)]
struct Service {
    /// Told of what the server sees.
    seen: UnboundedSender<String>,
}

/// Tells that a call is over, however it ends.
struct Ends(UnboundedSender<String>);

impl Drop for Ends {
    fn drop(&mut self) {
        // Nobody may be left who wants to know.
        let _ = self.0.send("ended".to_owned());
    }
}

impl UnaryService<String> for Service {
    type Response = String;
    type Future = Answer<String>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let seen = self.seen.clone();
        Box::pin(async move {
            let ends = Ends(seen.clone());
            let deadline = request.metadata().get("grpc-timeout").map(|timeout| timeout.to_str().unwrap().to_owned());
            let _ = seen.send(deadline.unwrap_or_default());
            let text = match request.get_ref().split_once(' ') {
                Some(("hang", _)) => std::future::pending().await,
                Some(("fail", code)) => {
                    return Err(Status::new(Code::from_i32(code.parse().unwrap()), "what & why: 'é' %"));
                }
                _ => format!("{} to you", request.get_ref()),
            };
            drop(ends);
            let mut response = Response::new(text);
            for key in ["x-twice"] {
                for value in request.metadata().get_all(key) {
                    response.metadata_mut().append(key, value.clone());
                }
            }
            if let Some(bytes) = request.metadata().get_bin("x-bytes-bin") {
                response.metadata_mut().insert_bin("x-bytes-bin", bytes.clone());
            }
            Ok(response)
        })
    }
}

impl ServerStreamingService<String> for Service {
    type Response = String;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let ends = Ends(self.seen.clone());
        Box::pin(async move {
            let fails = request.get_ref() == "fail";
            let numbers = (0..if fails { 3 } else { 1_000_000 }).map(|number| Ok(number.to_string()));
            let last = fails.then(|| Err(Status::data_loss("after all")));
            let messages = tokio_stream::iter(numbers.chain(last)).map(move |message| {
                let _alive = &ends;
                message
            });
            Ok(Response::new(Box::pin(messages) as Messages))
        })
    }
}

impl ClientStreamingService<String> for Service {
    type Response = String;
    type Future = Answer<String>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let seen = self.seen.clone();
        Box::pin(async move {
            let (mut messages, mut all) = (request.into_inner(), Vec::new());
            while let Some(message) = messages.message().await? {
                let _ = seen.send(message.clone());
                all.push(message);
            }
            Ok(Response::new(all.join(" ")))
        })
    }
}

impl StreamingService<String> for Service {
    type Response = String;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let echo = request.into_inner().map(|message| message.map(|text| format!("{text}!")));
        Box::pin(async { Ok(Response::new(Box::pin(echo) as Messages)) })
    }
}

const UNARY: &str = "/test.Test/Unary";
const SERVER: &str = "/test.Test/Server";
const CLIENT: &str = "/test.Test/Client";
const BOTH: &str = "/test.Test/Both";

async fn answer(request: HttpRequest<Incoming>, service: Service) -> HttpResponse<Body> {
    let mut grpc = GrpcServer::new(Text);
    let response = match request.uri().path() {
        UNARY => grpc.unary(service, request).await,
        SERVER => grpc.server_streaming(service, request).await,
        CLIENT => grpc.client_streaming(service, request).await,
        BOTH => grpc.streaming(service, request).await,
        _ => Status::unimplemented("no such method").into_http(),
    };
    response.map(|body| body.map_err(|_| Cut).boxed_unsync())
}

struct Setup {
    client: Grpc<Channel>,
    seen: UnboundedReceiver<String>,
    upstream: Upstream,
    _tunnel: Tunnel,
}

async fn set_up(cell: Cell) -> Setup {
    let (sender, seen) = mpsc::unbounded_channel();
    let service = Service { seen: sender };
    let upstream = Upstream::answering(move |request| answer(request, service.clone()));
    let tunnel = cell.tunnel(&upstream).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", tunnel.entry())).unwrap();
    let channel = within("a channel", endpoint.connect()).await.expect("a channel");
    Setup { client: Grpc::new(channel), seen, upstream, _tunnel: tunnel }
}

impl Setup {
    async fn unary(&mut self, request: Request<String>) -> Result<Response<String>, Status> {
        within("the channel", self.client.ready()).await.expect("a channel");
        within("an answer", self.client.unary(request, PathAndQuery::from_static(UNARY), Text)).await
    }

    async fn stream(&mut self, what: &str) -> Streaming<String> {
        within("the channel", self.client.ready()).await.expect("a channel");
        let call = self.client.server_streaming(Request::new(what.to_owned()), PathAndQuery::from_static(SERVER), Text);
        within("a stream", call).await.expect("a stream").into_inner()
    }

    async fn sees(&mut self, what: &str) {
        assert_eq!(within(what, self.seen.recv()).await.as_deref(), Some(what));
    }
}

async fn next(messages: &mut Streaming<String>) -> Result<Option<String>, Status> {
    within("a message", messages.message()).await
}

async fn a_unary_call_is_answered_with_its_metadata(cell: Cell) {
    let mut setup = set_up(cell).await;
    let mut request = Request::new("good day".to_owned());
    for value in ["one", "two"] {
        request.metadata_mut().append("x-twice", value.parse().unwrap());
    }
    request.metadata_mut().insert_bin("x-bytes-bin", MetadataValue::from_bytes(&[0, 255, 10]));
    let response = setup.unary(request).await.expect("an answer");
    assert_eq!(response.get_ref(), "good day to you");
    let twice: Vec<_> = response.metadata().get_all("x-twice").iter().collect();
    assert_eq!(twice, ["one", "two"]);
    let bytes = response.metadata().get_bin("x-bytes-bin").unwrap().to_bytes().unwrap();
    assert_eq!(bytes.as_ref(), [0, 255, 10]);
    let head = setup.upstream.saw().last();
    assert_eq!((head.values("te"), head.values("content-type")), (vec!["trailers"], vec!["application/grpc"]));
}

async fn a_message_of_a_mebibyte_arrives_whole(cell: Cell) {
    let mut setup = set_up(cell).await;
    let large = "all work and no play ".repeat(50_000);
    let response = setup.unary(Request::new(large.clone())).await.expect("an answer");
    assert!(*response.get_ref() == format!("{large} to you"));
}

async fn a_server_streams_message_by_message(cell: Cell) {
    let mut setup = set_up(cell).await;
    let mut messages = setup.stream("a million").await;
    for number in 0..1_000 {
        assert_eq!(next(&mut messages).await.unwrap(), Some(number.to_string()));
    }
}

async fn a_client_streams_message_by_message(cell: Cell) {
    let mut setup = set_up(cell).await;
    let (messages, requests) = mpsc::channel(1);
    let mut client = setup.client.clone();
    within("the channel", client.ready()).await.expect("a channel");
    let request = Request::new(ReceiverStream::new(requests));
    let call = async move { client.client_streaming(request, PathAndQuery::from_static(CLIENT), Text).await };
    let talk = async {
        for word in ["one", "two", "three"] {
            messages.send(word.to_owned()).await.unwrap();
            setup.sees(word).await;
        }
        drop(messages);
    };
    let (response, ()) = within("the call", async { tokio::join!(call, talk) }).await;
    assert_eq!(response.expect("an answer").get_ref(), "one two three");
}

async fn both_stream_at_once(cell: Cell) {
    let mut setup = set_up(cell).await;
    let (messages, requests) = mpsc::channel(1);
    within("the channel", setup.client.ready()).await.expect("a channel");
    let request = Request::new(ReceiverStream::new(requests));
    let call = setup.client.streaming(request, PathAndQuery::from_static(BOTH), Text);
    let mut answers = within("the head", call).await.expect("a stream").into_inner();
    for number in 0..50 {
        messages.send(format!("word {number}")).await.unwrap();
        assert_eq!(next(&mut answers).await.unwrap(), Some(format!("word {number}!")));
    }
    drop(messages);
    assert_eq!(next(&mut answers).await.unwrap(), None);
}

async fn a_status_without_a_message_is_all_there_is(cell: Cell) {
    let mut setup = set_up(cell).await;
    let status = setup.unary(Request::new("fail 5".to_owned())).await.expect_err("a status");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "what & why: 'é' %"));
    // Trailers-only: the status is in the head, and there is no body.
    let mut visitor = cell.visitor(&setup._tunnel).await;
    let request = visitor.request("POST", "/test.Test/None").header("content-type", "application/grpc").empty();
    let answer = visitor.ask(request).await;
    assert_eq!((answer.status.as_u16(), answer.values("grpc-status"), answer.body.len()), (200, vec!["12"], 0));
    assert_eq!(answer.trailers, None);
}

async fn a_status_behind_messages_arrives_after_them(cell: Cell) {
    let mut setup = set_up(cell).await;
    let mut messages = setup.stream("fail").await;
    for number in 0..3 {
        assert_eq!(next(&mut messages).await.unwrap(), Some(number.to_string()));
    }
    let status = next(&mut messages).await.expect_err("a status");
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "after all"));
}

async fn every_status_arrives_as_it_is(cell: Cell) {
    let mut setup = set_up(cell).await;
    for code in 1..=16 {
        let status = setup.unary(Request::new(format!("fail {code}"))).await.expect_err("a status");
        assert_eq!(status.code() as i32, code);
    }
}

async fn a_deadline_reaches_the_server_and_cancels_the_call(cell: Cell) {
    let mut setup = set_up(cell).await;
    let mut request = Request::new("hang on".to_owned());
    // Long enough for the request to arrive on a busy machine.
    request.set_timeout(Duration::from_secs(2));
    let status = setup.unary(request).await.expect_err("a status");
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status}");
    setup.sees("2000000u").await;
    setup.sees("ended").await;
}

async fn a_call_that_is_cancelled_is_cancelled_at_the_server(cell: Cell) {
    let mut setup = set_up(cell).await;
    let mut client = setup.client.clone();
    within("the channel", client.ready()).await.expect("a channel");
    let request = Request::new("hang on".to_owned());
    let mut call = Box::pin(client.unary(request, PathAndQuery::from_static(UNARY), Text));
    tokio::select! {
        answered = &mut call => panic!("{answered:?}"),
        () = setup.sees("") => {}
    }
    drop(call);
    setup.sees("ended").await;
}

async fn a_stream_that_is_cancelled_is_cancelled_at_the_server(cell: Cell) {
    let mut setup = set_up(cell).await;
    let mut messages = setup.stream("a million").await;
    assert_eq!(next(&mut messages).await.unwrap(), Some("0".to_owned()));
    drop(messages);
    setup.sees("ended").await;
}
