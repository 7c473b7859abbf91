//! One backend server.

use std::{
    net::SocketAddr,
    ops::Deref,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adit_core::{
    failure::Failure,
    health::{Attempt, Change},
    limits::Timeouts,
};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    connection::{self, ConnectError, Connector, Driver, Sender, Sent},
    pool::Pool,
    request::{Address, RequestBody, Upload},
    standing::Standing,
};
use crate::settings::ServerUrl;

/// How often to look for connections without use at most.
const SWEEP_MIN: Duration = Duration::from_millis(50);

/// One backend server with its connections and its standing.
#[derive(Debug)]
pub struct Server {
    upstream: Arc<str>,
    connector: Connector,
    connect_timeout: Duration,
    /// What times in `standing` are counted from.
    started: Instant,
    standing: Standing,
    pool: Mutex<Pool>,
    /// What drives the connections. Dropping the server ends them.
    drivers: Mutex<JoinSet<()>>,
}

/// The right to have a request on a server; counted as in flight until dropped.
#[derive(Debug)]
pub struct Lease(Arc<Server>);

/// Which connections may take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// One that is kept, or a new one.
    Any,
    /// A new one.
    None,
}

/// The head of a response.
#[derive(Debug)]
pub struct Answered {
    /// The response.
    pub response: Response<Incoming>,
    /// The connection that the rest of it comes from.
    pub sender: Sender,
    /// When the request was handed to the connection.
    sent_at: Instant,
}

/// Why there is no response.
#[derive(Debug)]
pub enum NotAnswered {
    /// Nothing of the request went out: here it is again.
    Unsent(Box<Request<RequestBody>>, ServerError),
    /// The request may have had an effect, or it is no use trying again.
    Lost(Failure),
}

/// What is wrong with a server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It cannot be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It closes a new connection before it takes a request.
    #[error("it closes new connections at once")]
    Closed,
    /// It closes a new connection instead of answering.
    #[error("it closed the connection before it answered: {0}")]
    Reset(hyper::Error),
}

impl ServerError {
    /// Returns what it means for whoever asked.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Connect(error) => error.failure(),
            Self::Closed => Failure::UpstreamReset,
            Self::Reset(_) => Failure::UpstreamReset,
        }
    }
}

impl Server {
    /// Prepares a server of an upstream; connects to nothing.
    pub fn new(upstream: Arc<str>, connector: Connector, pool: Pool, timeouts: &Timeouts, started: Instant) -> Self {
        Self {
            upstream,
            connector,
            connect_timeout: timeouts.connect,
            started,
            standing: Standing::default(),
            pool: Mutex::new(pool),
            drivers: Mutex::default(),
        }
    }

    /// Returns where it is.
    pub fn url(&self) -> &ServerUrl {
        self.connector.url()
    }

    /// Returns how it is doing.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Counts a request in.
    pub fn enter(self: &Arc<Self>) -> Lease {
        self.standing.enter();
        Lease(Arc::clone(self))
    }

    /// Sends a visitor's request, and learns from how that goes.
    ///
    /// # Errors
    ///
    /// When the head of the response does not come.
    pub async fn send(
        &self,
        address: &Address,
        request: Request<RequestBody>,
        upload: Option<&Upload>,
        attempt: Attempt,
    ) -> Result<Answered, NotAnswered> {
        let mut waiting = Waiting { server: self, upload, chosen_at: attempt.chosen_at, answered: false };
        match self.exchange(address, request, Reuse::Any).await {
            Ok(answered) => {
                let now = waiting.answered(answered.sent_at);
                self.tell(self.standing.aside().succeeded(attempt, now), None::<ServerError>);
                Ok(answered)
            }
            Err(NotSent::Malformed) => Err(NotAnswered::Lost(Failure::BadRequest)),
            Err(NotSent::Unswitchable) => Err(NotAnswered::Lost(Failure::UpstreamUnswitchable)),
            Err(NotSent::Unsent(request, error)) => {
                self.failed(attempt, &error);
                Err(NotAnswered::Unsent(request, error))
            }
            // What breaks a request on its way in is the visitor's fault, or its link's.
            Err(NotSent::Lost { .. }) if upload.is_some_and(Upload::is_broken) => {
                Err(NotAnswered::Lost(Failure::Cancelled))
            }
            Err(NotSent::Lost { error, reused }) => {
                let failure = connection::failure(&error);
                // A kept connection may be closed at any time (RFC 9112 §9.5), which says nothing of the server.
                if !reused && failure == Failure::UpstreamReset {
                    self.failed(attempt, &ServerError::Reset(error));
                }
                Err(NotAnswered::Lost(failure))
            }
        }
    }

    /// Sends a request, and takes note of nothing.
    ///
    /// # Errors
    ///
    /// When the head of the response does not come.
    pub async fn exchange(
        &self,
        address: &Address,
        mut request: Request<RequestBody>,
        reuse: Reuse,
    ) -> Result<Answered, NotSent> {
        loop {
            let (mut sender, mut reused) = match self.checkout(reuse, address.visitor()).await {
                Ok(connection) => connection,
                Err(error) => return Err(NotSent::Unsent(Box::new(request), error.into())),
            };
            if address.asks_to_switch() && !self.can_switch(&mut sender, address).await {
                if !self.connector.offers_http1() {
                    return Err(NotSent::Unswitchable);
                }
                (sender, reused) =
                    match self.connect_with(Box::pin(self.connector.connect_http1(address.visitor()))).await {
                        Ok(sender) => (sender, false),
                        Err(error) => return Err(NotSent::Unsent(Box::new(request), error.into())),
                    };
            }
            address.write(&mut request, self.url(), sender.is_http2()).map_err(|_| NotSent::Malformed)?;
            let sent_at = Instant::now();
            match sender.send(request).await {
                Sent::Answered(response) => return Ok(Answered { response, sender, sent_at }),
                // It was closed while nobody used it.
                Sent::Returned(returned) if reused => request = *returned,
                Sent::Returned(returned) => return Err(NotSent::Unsent(returned, ServerError::Closed)),
                Sent::Failed(error) => return Err(NotSent::Lost { error, reused }),
            }
        }
    }

    /// Connects a visitor for raw bytes, and learns from how that goes.
    ///
    /// # Errors
    ///
    /// When there is no connection within the connect timeout.
    pub async fn connect(&self, visitor: SocketAddr, attempt: Attempt) -> Result<TcpStream, Failure> {
        let connected = timeout(self.connect_timeout, self.connector.connect_tcp(Some(visitor))).await;
        connected.unwrap_or(Err(ConnectError::Late(self.connect_timeout))).map_err(|error| {
            let failure = error.failure();
            self.failed(attempt, &error.into());
            failure
        })
    }

    /// Gives back a connection whose exchange is over.
    pub fn give_back(&self, sender: Sender) {
        if !self.connector.names_visitors() {
            self.lock_pool().give_back(sender);
        }
    }

    /// Closes the connections that nobody has used for `idle_timeout`, soon after; runs for ever. Asked for one it would
    /// do so as well, but nobody may ask any more.
    pub async fn close_idle(self: Arc<Self>, idle_timeout: Duration) {
        loop {
            sleep(idle_timeout.max(SWEEP_MIN)).await;
            self.lock_pool().close_idle();
            drop(self.forget_ended());
        }
    }

    /// Takes in how an active check went.
    pub fn checked<E: std::fmt::Display>(&self, result: Result<(), E>) {
        let change = self.standing.aside().checked(result.is_ok(), self.started.elapsed());
        self.tell(change, result.err());
    }

    /// Takes a connection that is there, or makes one. Returns whether it was there.
    async fn checkout(&self, reuse: Reuse, visitor: Option<SocketAddr>) -> Result<(Sender, bool), ConnectError> {
        let kept = match reuse {
            Reuse::Any => self.lock_pool().take(),
            Reuse::None => None,
        };
        if let Some(sender) = kept {
            return Ok((sender, true));
        }
        let sender = self.connect_with(Box::pin(self.connector.connect(visitor))).await?;
        if !self.connector.names_visitors() {
            self.lock_pool().add(&sender);
        }
        Ok((sender, false))
    }

    /// Connects. Boxed: with TLS in it, it would make the future of every exchange many times as large.
    async fn connect_with(
        &self,
        connect: Pin<Box<impl Future<Output = Result<(Sender, Driver), ConnectError>>>>,
    ) -> Result<Sender, ConnectError> {
        let connected = timeout(self.connect_timeout, connect).await;
        let (sender, driver) = connected.map_err(|_| ConnectError::Late(self.connect_timeout))??;
        self.forget_ended().spawn(driver);
        Ok(sender)
    }

    /// Returns what drives the connections that have not ended.
    fn forget_ended(&self) -> MutexGuard<'_, JoinSet<()>> {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        while drivers.try_join_next().is_some() {}
        drivers
    }

    /// Returns whether a connection can be switched: one over HTTP/2 only where the server has said so.
    async fn can_switch(&self, sender: &mut Sender, address: &Address) -> bool {
        if sender.is_http2() && !address.switches_over_http2() {
            return false;
        }
        timeout(self.connect_timeout, sender.can_switch()).await.unwrap_or(false)
    }

    fn failed(&self, attempt: Attempt, error: &ServerError) {
        tracing::debug!(upstream = %self.upstream, server = %self.url(), %error, "no response");
        self.tell(self.standing.aside().failed(attempt, self.started.elapsed()), Some(error));
    }

    fn tell(&self, change: Change, error: Option<impl std::fmt::Display>) {
        let (upstream, server) = (&self.upstream, self.url());
        match (change, error) {
            (Change::None, _) => {}
            (Change::SetAside, Some(error)) => tracing::warn!(%upstream, %server, %error, "server set aside"),
            (Change::SetAside, None) => tracing::warn!(%upstream, %server, "server set aside"),
            (Change::Recovered, _) => tracing::info!(%upstream, %server, "server is back"),
        }
    }

    fn lock_pool(&self) -> MutexGuard<'_, Pool> {
        // What a panic left behind is still a list of connections.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the head of a response does not come.
#[derive(Debug)]
pub enum NotSent {
    /// The request cannot be written.
    Malformed,
    /// It asks to switch protocols, and the server cannot.
    Unswitchable,
    /// Nothing of the request went out: here it is again.
    Unsent(Box<Request<RequestBody>>, ServerError),
    /// The connection broke after that.
    Lost {
        /// How.
        error: hyper::Error,
        /// Whether the connection had been used before.
        reused: bool,
    },
}

/// A wait for the head of a response, measured from the end of the request: a slow visitor does not make a
/// slow server.
///
/// Dropped without an answer it counts as well, or a server that hangs would have no latency to be judged by.
struct Waiting<'a> {
    server: &'a Server,
    upload: Option<&'a Upload>,
    chosen_at: Duration,
    answered: bool,
}

impl Waiting<'_> {
    /// Takes in that the head has come. Returns when.
    fn answered(&mut self, sent_at: Instant) -> Duration {
        self.answered = true;
        let now = self.server.started.elapsed();
        if let Some(since) = self.since(sent_at.saturating_duration_since(self.server.started)) {
            self.server.standing.observe(now.saturating_sub(since), now);
        }
        now
    }

    /// Returns when the wait began for a request that was sent at a time; `None` when the server has not read
    /// everything, so that it is not known who waits for whom.
    fn since(&self, sent_at: Duration) -> Option<Duration> {
        let Some(upload) = self.upload else { return Some(sent_at) };
        let ended_at = upload.ended_at()?.saturating_duration_since(self.server.started);
        Some(ended_at.max(sent_at))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let now = self.server.started.elapsed();
        if let Some(since) = self.since(self.chosen_at) {
            self.server.standing.waited(now.saturating_sub(since), now);
        }
    }
}

impl Deref for Lease {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.standing.leave();
    }
}
