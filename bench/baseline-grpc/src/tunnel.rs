//! The table of requests that wait for the message with their response.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

use crate::{
    QUEUE_MESSAGES, REQUEST_TIMEOUT,
    message::{FromClient, FromServer},
};

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No client has opened the stream.
    #[error("no client is connected")]
    NoClient,
    /// The stream ended first.
    #[error("the tunnel was lost")]
    Lost,
    /// 30 seconds passed first.
    #[error("no response in time")]
    Timeout,
}

/// The stream of the client that connected last, if there is one.
#[derive(Debug, Default)]
pub struct Tunnels {
    latest: ArcSwapOption<Tunnel>,
}

/// One client's stream.
#[derive(Debug)]
pub struct Tunnel {
    to_client: mpsc::Sender<Result<FromServer, Status>>,
    waiting: DashMap<u64, oneshot::Sender<FromClient>>,
    next_id: AtomicU64,
    lost: AtomicBool,
}

impl Tunnels {
    /// Takes a client's stream into use, in place of an earlier one; returns what is to be sent to the client.
    pub fn join(&self) -> (Arc<Tunnel>, mpsc::Receiver<Result<FromServer, Status>>) {
        let (to_client, messages) = mpsc::channel(QUEUE_MESSAGES);
        let tunnel = Arc::new(Tunnel {
            to_client,
            waiting: DashMap::new(),
            next_id: AtomicU64::new(1),
            lost: AtomicBool::new(false),
        });
        self.latest.store(Some(Arc::clone(&tunnel)));
        (tunnel, messages)
    }

    /// Ends a stream: whoever waits for it gets [`AskError::Lost`].
    pub fn leave(&self, tunnel: &Arc<Tunnel>) {
        // First the mark, then the table: a request that comes in between sees one or the other.
        tunnel.lost.store(true, Ordering::SeqCst);
        tunnel.waiting.clear();
        self.latest.rcu(|latest| latest.clone().filter(|latest| !Arc::ptr_eq(latest, tunnel)));
    }

    /// Sends a request and waits for its response, [`REQUEST_TIMEOUT`] in all. `request_id` is set here.
    ///
    /// # Errors
    ///
    /// See [`AskError`]. Dropped early, it forgets the request; the client answers it in vain.
    pub async fn ask(&self, request: FromServer) -> Result<FromClient, AskError> {
        let tunnel = self.latest.load_full().ok_or(AskError::NoClient)?;
        timeout(REQUEST_TIMEOUT, tunnel.ask(request)).await.unwrap_or(Err(AskError::Timeout))
    }
}

impl Tunnel {
    /// Hands a response to who waits for it; one that nobody waits for any more is dropped.
    pub fn answered(&self, response: FromClient) {
        if let Some((_, waiting)) = self.waiting.remove(&response.request_id) {
            // The visitor may be gone.
            let _ = waiting.send(response);
        }
    }

    async fn ask(&self, mut request: FromServer) -> Result<FromClient, AskError> {
        let request_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        request.request_id = request_id;
        let (answer, answered) = oneshot::channel();
        self.waiting.insert(request_id, answer);
        let _forget = Forget { tunnel: self, request_id };
        if self.lost.load(Ordering::SeqCst) || self.to_client.send(Ok(request)).await.is_err() {
            return Err(AskError::Lost);
        }
        answered.await.map_err(|_| AskError::Lost)
    }
}

/// Takes a request out of the table when nobody waits any more.
struct Forget<'a> {
    tunnel: &'a Tunnel,
    request_id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.tunnel.waiting.remove(&self.request_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_response_goes_to_the_request_with_its_id() {
        let tunnels = Tunnels::default();
        let (tunnel, mut messages) = tunnels.join();
        let answer_in_reverse = async {
            let ids = [next(&mut messages).await.request_id, next(&mut messages).await.request_id];
            for request_id in [ids[1], ids[0]] {
                tunnel.answered(FromClient {
                    request_id,
                    status: u32::try_from(request_id).unwrap(),
                    ..FromClient::default()
                });
            }
            ids.map(|id| u32::try_from(id).unwrap())
        };
        let asked = FromServer::default;
        let (first, second, ids) = tokio::join!(tunnels.ask(asked()), tunnels.ask(asked()), answer_in_reverse);
        assert_eq!([first.unwrap().status, second.unwrap().status], ids);
        assert!(tunnel.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_fails_the_requests_that_wait() {
        let tunnels = Tunnels::default();
        let (tunnel, mut messages) = tunnels.join();
        let lose = async {
            next(&mut messages).await;
            tunnels.leave(&tunnel);
        };
        let (asked, ()) = tokio::join!(tunnels.ask(FromServer::default()), lose);
        assert_eq!(asked, Err(AskError::Lost));
        assert_eq!(tunnels.ask(FromServer::default()).await, Err(AskError::NoClient));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_response_fails_after_its_time_and_is_forgotten() {
        let tunnels = Tunnels::default();
        let (tunnel, _messages) = tunnels.join();
        assert_eq!(tunnels.ask(FromServer::default()).await, Err(AskError::Timeout));
        assert!(tunnel.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_stream_that_ends_leaves_the_newer_one_in_use() {
        let tunnels = Tunnels::default();
        let (older, _older_messages) = tunnels.join();
        let (newer, mut messages) = tunnels.join();
        tunnels.leave(&older);
        let answer = async {
            let request_id = next(&mut messages).await.request_id;
            newer.answered(FromClient { request_id, ..FromClient::default() });
        };
        let (asked, ()) = tokio::join!(tunnels.ask(FromServer::default()), answer);
        assert!(asked.is_ok());
    }

    async fn next(messages: &mut mpsc::Receiver<Result<FromServer, Status>>) -> FromServer {
        // The clock jumps when nothing moves any more.
        timeout(REQUEST_TIMEOUT, messages.recv()).await.unwrap().unwrap().unwrap()
    }
}
