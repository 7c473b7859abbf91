//! The gRPC method on both sides, written by hand instead of generated, so that building needs no `protoc`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::uri::PathAndQuery;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Response, Status, Streaming, body::Body, client, server, server::StreamingService,
    transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::{
    MESSAGE_BYTES_MAX,
    message::{FromClient, FromServer},
    tunnel::{Tunnel, Tunnels},
};

/// Path of the method.
const OPEN: &str = "/baseline.Tunnel/Open";

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens the stream to a server; returns what the server sends.
///
/// # Errors
///
/// When the server cannot be reached or refuses.
pub async fn open(channel: Channel, responses: mpsc::Receiver<FromClient>) -> Result<Streaming<FromServer>, Status> {
    let mut grpc = client::Grpc::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
    let outbound = Request::new(ReceiverStream::new(responses));
    let codec: ProstCodec<FromClient, FromServer> = ProstCodec::default();
    Ok(grpc.streaming(outbound, PathAndQuery::from_static(OPEN), codec).await?.into_inner())
}

/// The server's half.
#[derive(Clone, Debug)]
pub struct Service {
    tunnels: Arc<Tunnels>,
}

impl Service {
    /// Makes a service that lets clients join `tunnels`.
    pub fn new(tunnels: Arc<Tunnels>) -> Self {
        Self { tunnels }
    }
}

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != OPEN {
            return Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) });
        }
        let join = Join { tunnels: Arc::clone(&self.tunnels) };
        Box::pin(async move {
            let codec: ProstCodec<FromServer, FromClient> = ProstCodec::default();
            let mut grpc = server::Grpc::new(codec)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(join, request).await)
        })
    }
}

struct Join {
    tunnels: Arc<Tunnels>,
}

impl StreamingService<FromClient> for Join {
    type Response = FromServer;
    type ResponseStream = Messages;
    type Future = BoxFuture<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<FromClient>>) -> Self::Future {
        let (tunnel, to_client) = self.tunnels.join();
        let joined = Joined { tunnels: Arc::clone(&self.tunnels), tunnel: Arc::clone(&tunnel) };
        let mut reader = JoinSet::new();
        reader.spawn(hand_out(request.into_inner(), tunnel));
        Box::pin(async move { Ok(Response::new(Messages { to_client, reader, _joined: joined })) })
    }
}

/// Hands out what the client sends, until it stops.
async fn hand_out(mut from_client: Streaming<FromClient>, tunnel: Arc<Tunnel>) {
    while let Ok(Some(response)) = from_client.message().await {
        tunnel.answered(response);
    }
}

/// What is sent to the client; it ends with what comes from the client. h2 drops it with the connection, and with it
/// the reader, which must not be polled in here: this stream is polled only while there is room to send.
#[derive(Debug)]
struct Messages {
    to_client: mpsc::Receiver<Result<FromServer, Status>>,
    reader: JoinSet<()>,
    _joined: Joined,
}

impl Stream for Messages {
    type Item = Result<FromServer, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.reader.poll_join_next(context) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => self.to_client.poll_recv(context),
        }
    }
}

/// Leaves when dropped.
#[derive(Debug)]
struct Joined {
    tunnels: Arc<Tunnels>,
    tunnel: Arc<Tunnel>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.tunnels.leave(&self.tunnel);
    }
}
