//! From a QUIC connection to a link: the registration on the control stream.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adit_core::{
    admission::Shown,
    handshakes::Outcome,
    id::{Identity, SessionId},
    limits::Limits,
    wire::control::{Control, StreamOpen, StreamOpenResponse},
};
use quinn::Incoming;
use tokio::time::timeout;

use super::{
    Close, Link,
    control::{ControlError, ControlStream},
    doorway::Place,
    reason::{Broken, End},
    tls, transport,
};

/// How long a client has from its first packet to its registration, and a server to answer that.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The QUIC or TLS handshake failed.
    #[error(transparent)]
    Connection(#[from] Broken),
    /// The control stream broke.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The peer took more than five seconds.
    #[error("no registration within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The peer's first message is not the one that comes first.
    #[error("the peer said something else first")]
    Unexpected,
    /// The peer's certificate has no name.
    #[error("the peer's certificate has neither a DNS name nor a common name that is printable")]
    Nameless,
    /// The server does not take this client.
    #[error("the server says: {0}")]
    Denied(String),
}

impl HandshakeError {
    /// Returns what it counts as.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Timeout => Outcome::Timeout,
            Self::Denied(_) => Outcome::Denied,
            Self::Connection(_) | Self::Control(_) | Self::Unexpected | Self::Nameless => Outcome::Failed,
        }
    }
}

/// A client that wants to join. A certificate that it has shown was verified, a token was not.
#[derive(Debug)]
pub struct Applicant {
    /// What it asks for. Holds no token any more.
    pub open: StreamOpen,
    /// What it has shown.
    pub shown: Shown,
    quic: quinn::Connection,
    control: ControlStream,
}

/// A link that is ready, seen from either side.
#[derive(Debug)]
pub struct Joined {
    /// The link.
    pub link: Link,
    /// Its control stream.
    pub control: ControlStream,
    /// How often the client shows that it lives.
    pub heartbeat: Duration,
}

/// The client's side: opens the control stream and registers.
///
/// # Errors
///
/// When the server denies, is silent for five seconds, or the connection breaks.
pub async fn join(quic: quinn::Connection, open: StreamOpen, limits: &Limits) -> Result<Joined, HandshakeError> {
    let peer = certificate(&quic)?.ok_or(HandshakeError::Nameless)?;
    let register = async {
        let mut control = ControlStream::open(&quic).await.map_err(|error| Broken { error, end: End::Client })?;
        control.write(&Control::StreamOpen(open)).await?;
        let answer = control.read().await?;
        Ok::<_, HandshakeError>((control, answer))
    };
    let registered = timeout(HANDSHAKE_TIMEOUT, register).await.map_err(|_| HandshakeError::Timeout)?;
    // A server looks at a client's certificate when the client thinks that it is connected.
    let (control, answer) = registered.map_err(|error| match quic.close_reason() {
        Some(error) => Broken { error, end: End::Client }.into(),
        None => error,
    })?;
    match answer {
        Some(Control::StreamOpenResponse(StreamOpenResponse::Accepted { session, heartbeat_ms, features: _ })) => {
            let link = Link::new(quic, session, Identity::certified(&peer), limits);
            let heartbeat = Duration::from_millis(heartbeat_ms.max(1).into());
            Ok(Joined { link, control, heartbeat })
        }
        Some(Control::StreamOpenResponse(StreamOpenResponse::Denied { reason })) => Err(HandshakeError::Denied(reason)),
        Some(
            Control::StreamOpen(_)
            | Control::Heartbeat(_)
            | Control::Drain(_)
            | Control::Drained
            | Control::ConfigSync { .. }
            | Control::ConfigAck { .. },
        )
        | None => Err(HandshakeError::Unexpected),
    }
}

/// The server's side: shakes hands, and waits for the control stream and the registration on it.
///
/// Nothing else is read from the peer before that, nor may it send anything else. It keeps its `place` until then.
///
/// # Errors
///
/// When the peer has not registered five seconds after its first packet, says something else first, or the connection
/// breaks.
pub async fn welcome(incoming: Incoming, place: Place) -> Result<Applicant, HandshakeError> {
    timeout(HANDSHAKE_TIMEOUT, receive(incoming, place)).await.unwrap_or(Err(HandshakeError::Timeout))
}

async fn receive(incoming: Incoming, mut place: Place) -> Result<Applicant, HandshakeError> {
    let broken = |error| Broken { error, end: End::Server };
    let quic = incoming.await.map_err(broken)?;
    place.proven();
    let certificate = certificate(&quic)?;
    let mut control = ControlStream::accept(&quic).await.map_err(broken)?;
    let first = control.read().await.map_err(|error| match quic.close_reason() {
        Some(error) => broken(error).into(),
        None => HandshakeError::Control(error),
    })?;
    let Some(Control::StreamOpen(mut open)) = first else { return Err(HandshakeError::Unexpected) };
    // From here on nothing that is shown or kept has it.
    let shown = Shown { certificate, token: open.token.take() };
    Ok(Applicant { open, shown, quic, control })
}

/// Returns the name in the peer's certificate, where it has one.
fn certificate(quic: &quinn::Connection) -> Result<Option<Arc<str>>, HandshakeError> {
    let chain = tls::peer_chain(quic);
    chain.first().map(|leaf| tls::name_of(leaf).ok_or(HandshakeError::Nameless)).transpose()
}

impl Applicant {
    /// Tells the client that it is a member, known as `identity` from then on.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn accept(
        mut self,
        session: SessionId,
        identity: Identity,
        heartbeat: Duration,
        limits: &Limits,
    ) -> Result<Joined, HandshakeError> {
        let heartbeat_ms = u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX);
        // What it may send from now on goes with the news that it is in.
        transport::open_up(&self.quic);
        let accepted = StreamOpenResponse::Accepted { session, features: 0, heartbeat_ms };
        let told = timeout(HANDSHAKE_TIMEOUT, self.control.write(&Control::StreamOpenResponse(accepted))).await;
        told.map_err(|_| HandshakeError::Timeout)??;
        let link = Link::new(self.quic, session, identity, limits);
        Ok(Joined { link, control: self.control, heartbeat })
    }

    /// Returns where the client is.
    pub fn remote_address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// Tells the client why it is no member, and closes the link once it has heard it.
    pub async fn deny(mut self, reason: String) {
        let denied = Control::StreamOpenResponse(StreamOpenResponse::Denied { reason });
        if timeout(HANDSHAKE_TIMEOUT, self.control.write(&denied)).await.is_ok_and(|told| told.is_ok()) {
            // `close` drops what was not sent yet, so the client closes first; a client that doesn't is not
            // waited for.
            let _ = timeout(HANDSHAKE_TIMEOUT, self.quic.closed()).await;
        }
        self.quic.close(Close::Denied.code(), b"denied");
    }
}
