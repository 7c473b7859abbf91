//! What answers all requests in the end.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    bulk,
    content::{Content, digest},
    small,
};

/// How much of a download is made at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            Some(_) = connections.join_next() => continue,
        };
        tcp.set_nodelay(true)?;
        let answer = service_fn(async |request| Ok::<_, Infallible>(answer(request).await));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
    }
}

/// Binds where the client of a tunnel, or a visitor across the path, finds it.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind(address).await?)
}

type Body = Either<Full<Bytes>, Download>;

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if path == small::PATH {
        return match Limited::new(request.into_body(), small::REQUEST_BYTES).collect().await {
            Ok(body) => {
                let seed = digest(&body.to_bytes());
                Response::new(Either::Left(Full::new(Content::new(seed).next(small::RESPONSE_BYTES))))
            }
            Err(_) => refusal(StatusCode::BAD_REQUEST),
        };
    }
    match path.strip_prefix(bulk::PATH).and_then(|length| length.parse().ok()) {
        Some(left) => Response::new(Either::Right(Download { content: Content::new(bulk::SEED), left })),
        None => refusal(StatusCode::NOT_FOUND),
    }
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}

/// The body of a download, made as it is sent.
#[derive(Debug)]
struct Download {
    content: Content,
    left: u64,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.min(CHUNK_BYTES);
        self.left -= length;
        let chunk = usize::try_from(length).ok().filter(|length| *length > 0);
        std::task::Poll::Ready(chunk.map(|length| Ok(Frame::data(self.content.next(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::small::Load;

    const LOAD: Load =
        Load { per_second: 400.0, warm_up: Duration::from_millis(100), length: Duration::from_millis(400), seed: 1 };

    #[tokio::test]
    async fn small_requests_are_answered_with_what_belongs_to_them() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let entry = listener.local_addr().unwrap();
        let answers = tokio::select! {
            served = serve(listener) => panic!("the backend ended: {served:?}"),
            answers = small::run(entry, LOAD) => answers.unwrap(),
        };
        let after_warm_up =
            crate::schedule::poisson(LOAD.per_second, LOAD.warm_up + LOAD.length, LOAD.seed).into_iter();
        assert_eq!(usize::try_from(answers.requests).unwrap(), after_warm_up.filter(|at| *at >= LOAD.warm_up).count());
        assert_eq!((answers.errors, answers.timeouts, answers.wrong), (0, 0, 0), "{answers:?}");
    }

    #[tokio::test]
    async fn a_response_that_belongs_to_another_request_is_wrong() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let entry = listener.local_addr().unwrap();
        let same_for_all = async {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let answer = service_fn(async |_| {
                    let body = Content::new(1).next(small::RESPONSE_BYTES);
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
            }
        };
        let answers = tokio::select! {
            () = same_for_all => panic!("the backend ended"),
            answers = small::run(entry, LOAD) => answers.unwrap(),
        };
        assert!(answers.requests > 0);
        assert_eq!(answers.wrong, answers.requests);
    }

    #[tokio::test]
    async fn a_download_arrives_complete() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let entry = listener.local_addr().unwrap();
        let downloaded = tokio::select! {
            served = serve(listener) => panic!("the backend ended: {served:?}"),
            downloaded = bulk::alone(entry) => downloaded.unwrap(),
        };
        assert!(downloaded.complete, "{downloaded:?}");
        assert_eq!(downloaded.bytes, 64 * 1024 * 1024);
    }
}
