//! Requests that the test itself answers.

use http::{Request, Response, StatusCode, request::Parts};
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};

use crate::{
    body::{self, Body},
    wait::within,
};

/// The requests that a server gets whose test answers them by hand.
#[derive(Debug)]
pub struct Calls(pub(super) mpsc::UnboundedReceiver<Call>);

impl Calls {
    /// Waits for the next request.
    pub async fn next(&mut self) -> Call {
        within("a request to reach the upstream", self.0.recv()).await.expect("an upstream that runs")
    }

    /// Returns whether a request has come that nobody looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A request that waits for its answer. Dropped without one, it is answered with 500.
#[derive(Debug)]
pub struct Call {
    /// The head of the request.
    pub head: Parts,
    /// Its body, as it comes in.
    pub body: Incoming,
    answer: oneshot::Sender<Response<Body>>,
}

impl Call {
    /// Answers with 200 and `body`.
    pub fn answer(self, body: Body) {
        self.answer_with(Response::new(body));
    }

    /// Answers.
    ///
    /// # Panics
    ///
    /// When whoever asked has gone.
    pub fn answer_with(self, response: Response<Body>) {
        let _body = self.answer_early(response);
    }

    /// Answers, and returns the body of the request, to be read on.
    ///
    /// # Panics
    ///
    /// When whoever asked has gone.
    pub fn answer_early(self, response: Response<Body>) -> Incoming {
        assert!(self.answer.send(response).is_ok(), "whoever asked has gone");
        self.body
    }

    /// Waits until whoever asked gives up.
    pub async fn abandoned(mut self) {
        within("the request to be abandoned", self.answer.closed()).await;
    }

    /// Returns whether whoever asked has given up.
    pub fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Hands a request to the test, and waits for its answer.
pub(super) async fn by_hand(request: Request<Incoming>, calls: mpsc::UnboundedSender<Call>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (answer, answered) = oneshot::channel();
    // A test that is over takes no more calls.
    let _ = calls.send(Call { head, body, answer });
    answered.await.unwrap_or_else(|_| {
        let mut response = Response::new(body::full("the test did not answer"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
