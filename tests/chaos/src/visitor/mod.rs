//! A visitor: makes a request, checks every byte of what comes back, and says what came of it.

mod connection;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use self::connection::{Body, Pool};
use crate::{
    content,
    outcome::{Outcome, Trouble},
    question::{Kind, Question, RECEIPT_BYTES, pause},
    scene::Lane,
};

/// Nobody waits longer than this. Nothing may take so long: a response head 30 s, a dead link 20 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// The visitors of one lane.
#[derive(Debug)]
pub(crate) struct Visitors {
    lane: Lane,
    pool: Pool,
}

/// What a visitor has of a response.
#[derive(Debug, Default)]
struct Seen {
    head: Option<Instant>,
    generation: Option<u32>,
}

impl Visitors {
    pub(crate) fn new(lane: Lane, entry: SocketAddr) -> Self {
        Self { lane, pool: Pool::new(entry) }
    }

    /// Makes a request that was to be sent at `at`, on a fresh connection or on one that was used before.
    pub(crate) async fn ask(&self, question: Question, fresh: bool, at: Instant) -> Outcome {
        let mut seen = Seen::default();
        let result = timeout_at(at + PATIENCE + question.takes(), self.exchange(&question, fresh, &mut seen)).await;
        Outcome {
            question,
            lane: self.lane,
            at,
            head: seen.head,
            end: Instant::now(),
            result: result.unwrap_or(Err(Trouble::Unanswered)),
            generation: seen.generation,
        }
    }

    async fn exchange(&self, question: &Question, fresh: bool, seen: &mut Seen) -> Result<(), Trouble> {
        let connection = self.pool.take(fresh || question.kind == Kind::Switch).await;
        let mut connection = connection.map_err(|error| Trouble::Unreachable(format!("{error:#}")))?;
        let request = self.request(question).map_err(|error| Trouble::Strange(error.to_string()))?;
        let mut response = connection.ask(request).await.map_err(|error| cut(&error))?;
        seen.head = Some(Instant::now());
        self.check_head(question, &response)?;
        seen.generation = text(response.headers(), "x-generation").and_then(|number| number.parse().ok());
        match question.kind {
            Kind::Get | Kind::Stream | Kind::Trailers => self.check_body(question, question.bytes, response).await?,
            Kind::Post | Kind::Put => self.check_body(question, RECEIPT_BYTES, response).await?,
            Kind::Switch => return converse(question, hyper::upgrade::on(&mut response)).await,
        }
        self.pool.give_back(connection);
        Ok(())
    }

    fn request(&self, question: &Question) -> http::Result<Request<Body>> {
        let request = Request::builder().uri(question.to_string()).header("host", self.lane.host());
        match question.kind {
            Kind::Get | Kind::Stream => request.body(empty()),
            Kind::Trailers => request.header("te", "trailers").header("connection", "te").body(empty()),
            Kind::Post => request.method(Method::POST).header("content-length", question.bytes).body(body(*question)),
            Kind::Put => request.method(Method::PUT).body(body(*question)),
            Kind::Switch => request
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
                .body(empty()),
        }
    }

    fn check_head(&self, question: &Question, response: &Response<Incoming>) -> Result<(), Trouble> {
        let status = response.status();
        if let Some(code) = text(response.headers(), "adit-error") {
            return Err(Trouble::Refused(status.as_u16(), code.to_owned()));
        }
        let due = if question.kind == Kind::Switch { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
        if status != due {
            return Err(Trouble::Strange(format!("answered {status} without adit-error")));
        }
        let (id, backend) = (text(response.headers(), "x-id"), text(response.headers(), "x-backend"));
        if id != Some(question.id.to_string().as_str()) || backend != Some(self.lane.backend()) {
            return Err(Trouble::Corrupt(format!("the response to {id:?} from {backend:?}")));
        }
        Ok(())
    }

    async fn check_body(&self, question: &Question, bytes: u64, response: Response<Incoming>) -> Result<(), Trouble> {
        let seed = content::seed(question.id, self.lane.backend());
        let (mut offset, mut sum) = (0, None);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| cut(&error))?;
            match frame.into_data() {
                Ok(data) if content::matches(seed, offset, &data) => offset += data.len() as u64,
                Ok(_) => return Err(Trouble::Corrupt(format!("other bytes from {offset} on"))),
                Err(frame) => sum = frame.trailers_ref().and_then(|trailers| text(trailers, "x-sum")?.parse().ok()),
            }
        }
        if offset != bytes {
            return Err(Trouble::Corrupt(format!("an end after {offset} of {bytes} bytes")));
        }
        if question.kind == Kind::Trailers && sum != Some(seed) {
            return Err(Trouble::Corrupt(format!("trailers {sum:?}")));
        }
        Ok(())
    }
}

/// Sends pieces on a connection that was switched; each comes back before the next one goes.
async fn converse(question: &Question, on: OnUpgrade) -> Result<(), Trouble> {
    let mut connection = TokioIo::new(on.await.map_err(|error| cut(&error))?);
    let seed = content::seed(question.id, "visitor");
    let mut back = Vec::new();
    for piece in 0..question.pieces {
        pause(question.gap).await;
        let (from, to) = (question.offset(piece), question.offset(piece + 1));
        let sent = content::slice(seed, from, usize::try_from(to - from).unwrap_or(0));
        connection.write_all(&sent).await.map_err(|error| cut(&error))?;
        back.resize(sent.len(), 0);
        connection.read_exact(&mut back).await.map_err(|error| cut(&error))?;
        if back != sent {
            return Err(Trouble::Corrupt(format!("other bytes in piece {piece} came back")));
        }
    }
    connection.shutdown().await.map_err(|error| cut(&error))?;
    match connection.read(&mut [0; 1]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(Trouble::Corrupt("more came back than was sent".to_owned())),
        Err(error) => Err(cut(&error)),
    }
}

fn empty() -> Body {
    Empty::new().boxed_unsync()
}

fn body(question: Question) -> Body {
    let seed = content::seed(question.id, "visitor");
    let frames = stream::unfold(0, move |piece| async move {
        if piece == question.pieces {
            return None;
        }
        pause(question.gap).await;
        let (from, to) = (question.offset(piece), question.offset(piece + 1));
        let data: Bytes = content::slice(seed, from, usize::try_from(to - from).unwrap_or(0));
        Some((Ok::<_, Infallible>(Frame::data(data)), piece + 1))
    });
    StreamBody::new(Box::pin(frames)).boxed_unsync()
}

fn text<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

fn cut(error: &(dyn std::error::Error + 'static)) -> Trouble {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        why = format!("{why}: {error}");
        source = error.source();
    }
    Trouble::Cut(why)
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    /// Asks somebody who says these very bytes and closes.
    async fn ask(question: &str, said: Vec<u8>) -> Result<(), Trouble> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let visitors = Visitors::new(Lane::WebReverse, listener.local_addr().unwrap());
        let mut backend = JoinSet::new();
        backend.spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let _head = tcp.read(&mut [0; 4096]).await.unwrap();
            tcp.write_all(&said).await.unwrap();
            tcp.shutdown().await.unwrap();
        });
        visitors.ask(question.parse().unwrap(), true, Instant::now()).await.result
    }

    fn response(id: u64, backend: &str, length: usize, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 200 OK\r\nx-id: {id}\r\nx-backend: {backend}\r\ncontent-length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    #[tokio::test]
    async fn only_the_whole_response_of_the_right_backend_to_this_request_is_one() {
        let body = content::slice(content::seed(7, "web"), 0, 1000);
        let mut wrong = body.to_vec();
        wrong[900] ^= 1;
        let get = "/get/7/1000/1/0";
        assert_eq!(ask(get, response(7, "web", 1000, &body)).await, Ok(()));
        let corrupt = [
            response(7, "web", 1000, &wrong),
            response(8, "web", 1000, &body),
            response(7, "solo", 1000, &body),
            response(7, "web", 999, &body[..999]),
            response(7, "web", 1001, &[&body[..], b"x"].concat()),
        ];
        for said in corrupt {
            let result = ask(get, said).await;
            assert!(matches!(result, Err(Trouble::Corrupt(_))), "{result:?}");
        }
        let cut = ask(get, response(7, "web", 1000, &body[..999])).await;
        assert!(matches!(cut, Err(Trouble::Cut(_))), "{cut:?}");
    }

    #[tokio::test]
    async fn a_failure_that_does_not_say_whose_it_is_is_strange() {
        let says = |fields: &str| format!("HTTP/1.1 502 Bad Gateway\r\n{fields}content-length: 0\r\n\r\n").into_bytes();
        let refused = ask("/get/7/10/1/0", says("adit-error: no-client\r\n")).await;
        assert_eq!(refused, Err(Trouble::Refused(502, "no-client".to_owned())));
        let strange = ask("/get/7/10/1/0", says("")).await;
        assert!(matches!(strange, Err(Trouble::Strange(_))), "{strange:?}");
    }
}
