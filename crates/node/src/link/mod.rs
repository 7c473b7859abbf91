//! One authenticated QUIC connection between a client and a server.

pub mod client_trust;
pub mod control;
pub mod dial;
pub mod doorway;
pub mod handshake;
pub mod listen;
mod pinned;
mod provider;
pub mod reason;
pub mod roam;
mod secrets;
pub mod standing;
pub mod tls;
pub mod transport;
mod witness;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use adit_core::{
    failure::Failure,
    group::{Carrier, Health},
    id::{Identity, SessionId},
    limits::Limits,
    wire::{config::ConfigVersion, control::ConfigOutcome},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use quinn::VarInt;
use rustls::pki_types::CertificateDer;

use self::standing::Standing;
use crate::{
    clock::millis,
    conduct::Conduct,
    stream::{RecvStream, SendStream, Sending, StreamError},
    tail::Tail,
    turns::{Turn, Turns},
};

/// Why a link is closed by one of its ends: the application error code of CONNECTION_CLOSE (RFC 9000 §19.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The node stops, or both ends have drained.
    #[error("the peer is going away")]
    GoingAway,
    /// The peer broke the protocol.
    #[error("broke the protocol")]
    Protocol,
    /// The registration was denied.
    #[error("denied")]
    Denied,
    /// There was no heartbeat for too long.
    #[error("no heartbeat for too long")]
    Stale,
    /// The same client has come back on another link.
    #[error("replaced by a newer link of the same client")]
    Replaced,
}

impl Close {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::GoingAway => 1,
            Self::Protocol => 2,
            Self::Denied => 3,
            Self::Stale => 4,
            Self::Replaced => 5,
        })
    }
}

/// One link. Cloning makes another handle to it.
#[derive(Clone, Debug)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    quic: quinn::Connection,
    session: SessionId,
    peer: Identity,
    since: SystemTime,
    exchanges_max: u32,
    /// One permit for every exchange that this side may ask.
    permits: Turns,
    standing: Standing,
    suspect: AtomicBool,
    draining: AtomicBool,
    /// Streams that the peer may have open at once, as last granted.
    granted: AtomicU32,
    pulse: Pulse,
    /// Where the peer was when its pulse was last felt.
    peer_at: ArcSwap<SocketAddr>,
    sending: Sending,
    tail: Tail,
    conduct: Conduct,
    config_ack: ArcSwapOption<ConfigAck>,
}

/// What the client of a link did with the configuration that was last pushed over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigAck {
    /// Which configuration.
    pub version: ConfigVersion,
    /// What became of it.
    pub outcome: ConfigOutcome,
}

/// When something was last acknowledged, in terms of what quinn counts.
#[derive(Debug, Default)]
struct Pulse {
    rtt_ns: AtomicU64,
    questions: AtomicU64,
    /// Milliseconds after `Link::new`, since when something has been sent and nothing has come back.
    waiting_since_ms: AtomicU64,
}

/// The right to ask one exchange. Given back when dropped.
#[derive(Debug)]
pub struct ExchangePermit {
    _link: Turn,
    /// Where its group has so many and no more.
    group: Option<Turn>,
}

impl ExchangePermit {
    /// Gives back a turn of the group as well, when it is dropped.
    pub fn keep(&mut self, turn: Turn) {
        self.group = Some(turn);
    }
}

impl Link {
    /// Wraps a connection whose registration succeeded.
    pub fn new(quic: quinn::Connection, session: SessionId, peer: Identity, limits: &Limits) -> Self {
        Self(Arc::new(Shared {
            peer_at: ArcSwap::from_pointee(quic.remote_address()),
            quic,
            session,
            peer,
            since: SystemTime::now(),
            exchanges_max: limits.exchanges_per_link_max,
            permits: Turns::new(limits.exchanges_per_link_max),
            standing: Standing::default(),
            suspect: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            granted: AtomicU32::new(transport::BIDI_STREAMS_START),
            pulse: Pulse::default(),
            sending: room_to_send(limits.exchanges_per_link_max),
            tail: Tail::default(),
            conduct: Conduct::default(),
            config_ack: ArcSwapOption::empty(),
        }))
    }

    /// Returns the number of the session, as the server counts.
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// Returns who the peer proved to be.
    pub fn peer(&self) -> &Identity {
        &self.0.peer
    }

    /// Returns when the link was ready.
    pub fn since(&self) -> SystemTime {
        self.0.since
    }

    /// Returns the certificates that the peer presented, leaf first; none where it has a token.
    pub fn peer_chain(&self) -> Vec<CertificateDer<'static>> {
        tls::peer_chain(&self.0.quic)
    }

    /// Returns the key exchange that was negotiated, by its name in the registry of TLS.
    pub fn key_exchange(&self) -> Option<String> {
        tls::key_exchange(&self.0.quic)
    }

    /// Returns how the peer is doing as a member of its group.
    pub fn standing(&self) -> &Standing {
        &self.0.standing
    }

    /// Returns how many exchanges this side has asked that are in flight.
    pub fn in_flight(&self) -> u32 {
        self.0.permits.taken()
    }

    /// Returns how many wait to be asked.
    pub fn waiting(&self) -> u32 {
        self.0.permits.waiting()
    }

    /// Returns where the peer is now: it may move.
    pub fn remote_address(&self) -> SocketAddr {
        self.0.quic.remote_address()
    }

    /// Returns what QUIC has counted and estimated. Takes the connection's lock: not for requests.
    pub fn stats(&self) -> quinn::ConnectionStats {
        self.0.quic.stats()
    }

    /// Takes down what became of a pushed configuration.
    pub fn acknowledged(&self, ack: ConfigAck) {
        self.0.config_ack.store(Some(Arc::new(ack)));
    }

    /// Returns what became of the configuration that was pushed last; none before there was one.
    pub fn config_ack(&self) -> Option<Arc<ConfigAck>> {
        self.0.config_ack.load_full()
    }

    /// Waits for the right to ask an exchange for a visitor, who waits in turn with others. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Failure::Draining`] when the link goes away, [`Failure::Overloaded`] when too many wait.
    pub async fn permit(&self, visitor: IpAddr) -> Result<ExchangePermit, Failure> {
        if self.0.draining.load(Ordering::Acquire) {
            return Err(Failure::Draining);
        }
        if self.0.conduct.is_hasty() {
            self.0.conduct.restrained().await;
        }
        let turn = self.0.permits.take(visitor).await?;
        // It may have come to that while we waited.
        if self.health() == Health::Draining {
            return Err(Failure::Draining);
        }
        Ok(ExchangePermit { _link: turn, group: None })
    }

    /// Waits until this side has no exchange in flight that it asked. Cancel-safe.
    pub async fn idle(&self) {
        self.0.permits.idle().await;
    }

    /// Sends `frame` on a unidirectional stream of its own. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// When the link is lost or the peer does not want it.
    pub async fn push(&self, frame: Bytes) -> Result<(), StreamError> {
        let stream = self.0.quic.open_uni().await.map_err(|_| StreamError::LinkLost)?;
        let mut stream = SendStream::new(stream).within(self.0.sending.clone());
        stream.write(&mut [frame]).await?;
        stream.finish();
        Ok(())
    }

    /// Accepts a unidirectional stream. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the link is lost or closed; the error says why.
    pub async fn accept_push(&self) -> Result<RecvStream, quinn::ConnectionError> {
        Ok(RecvStream::new(self.0.quic.accept_uni().await?))
    }

    /// Opens the stream of a new exchange. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the link is lost.
    pub async fn open(&self) -> Result<(SendStream, RecvStream), Failure> {
        let (send, recv) = self.0.quic.open_bi().await.map_err(|_| Failure::LinkLost)?;
        let (send, recv) = self.halves(send, recv);
        Ok((send, recv.asking(self.0.conduct.clone())))
    }

    /// Waits until the link is closed or lost, and returns why. Cancel-safe.
    pub async fn closed(&self) -> quinn::ConnectionError {
        self.0.quic.closed().await
    }

    /// Accepts the stream of an exchange that the peer asks. Cancel-safe.
    ///
    /// `answering` is how many are being answered already. The peer starts with a small allowance, since quinn
    /// allocates for all of it; it grows before it is used up.
    ///
    /// # Errors
    ///
    /// When the link is lost or closed; the error says why.
    pub async fn accept(&self, answering: usize) -> Result<(SendStream, RecvStream), quinn::ConnectionError> {
        let granted = self.0.granted.load(Ordering::Relaxed);
        let most = granted_max(self.0.exchanges_max);
        if answering >= usize::try_from(granted / 2).unwrap_or(usize::MAX) && granted < most {
            let more = granted.saturating_mul(2).min(most);
            self.0.granted.store(more, Ordering::Relaxed);
            self.0.quic.set_max_concurrent_bi_streams(VarInt::from_u32(more));
        }
        let (send, recv) = self.0.quic.accept_bi().await?;
        let (send, recv) = self.halves(send, recv);
        Ok((send, recv.answering(self.0.conduct.clone())))
    }

    fn halves(&self, send: quinn::SendStream, recv: quinn::RecvStream) -> (SendStream, RecvStream) {
        let send = SendStream::new(send).with_tail(self.0.tail.clone()).within(self.0.sending.clone());
        (send, RecvStream::new(recv))
    }

    /// Returns how the two ends behave.
    pub fn conduct(&self) -> &Conduct {
        &self.0.conduct
    }

    /// Sends probes behind what is written to exchanges, as long as it is polled.
    pub async fn follow_tail(&self) -> Infallible {
        self.0.tail.follow(&self.0.quic).await
    }

    /// Takes no new exchange from now on.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Counts a link as suspect until [`Link::feel_pulse`] hears something from it.
    pub fn suspect(&self) {
        self.0.suspect.store(true, Ordering::Relaxed);
    }

    /// Looks whether the peer still answers; to be called a few times a second.
    ///
    /// A link is suspect when something was sent and nothing of it acknowledged for `max(1 s, 5 × srtt)`. Keep-alives
    /// make sure that something is sent. What else the peer sends proves nothing: it does so too where nothing reaches
    /// it any more.
    pub fn feel_pulse(&self, since_start: Duration) {
        self.notice_move();
        let stats = self.0.quic.stats();
        let pulse = &self.0.pulse;
        let now_ms = millis(since_start);
        // quinn counts acknowledgements also where they say nothing new; the round-trip time changes only with those
        // that do, by nanoseconds at least.
        let rtt_ns = u64::try_from(stats.path.rtt.as_nanos()).unwrap_or(u64::MAX);
        let heard = pulse.rtt_ns.swap(rtt_ns, Ordering::Relaxed) != rtt_ns;
        // What a link sends again until it is acknowledged.
        let questions = stats.frame_tx.stream + stats.frame_tx.ping + stats.frame_tx.datagram;
        let sent = pulse.questions.swap(questions, Ordering::Relaxed) != questions;
        if heard {
            pulse.waiting_since_ms.store(0, Ordering::Relaxed);
            if self.0.suspect.swap(false, Ordering::Relaxed) {
                tracing::info!(session = %self.0.session, "link answers again");
            }
            return;
        }
        let waiting_since = pulse.waiting_since_ms.load(Ordering::Relaxed);
        if waiting_since == 0 {
            if sent {
                pulse.waiting_since_ms.store(now_ms.max(1), Ordering::Relaxed);
            }
            return;
        }
        let patience = Duration::from_secs(1).max(stats.path.rtt * 5);
        let waited = Duration::from_millis(now_ms.saturating_sub(waiting_since));
        if waited >= patience && !self.0.suspect.swap(true, Ordering::Relaxed) {
            tracing::warn!(session = %self.0.session, ?waited, "link is suspect: nothing comes back");
        }
    }

    /// Says so when the peer is not where it was.
    fn notice_move(&self) {
        let (old, new) = (**self.0.peer_at.load(), self.remote_address());
        if old != new {
            self.0.peer_at.store(Arc::new(new));
            tracing::info!(session = %self.0.session, %old, %new, "the peer's address changed, its link stays");
        }
    }

    /// Returns why the link is closed, when it is.
    pub fn close_reason(&self) -> Option<quinn::ConnectionError> {
        self.0.quic.close_reason()
    }

    /// Closes the link. Whatever is in flight on it fails.
    pub fn close(&self, why: Close) {
        self.0.quic.close(why.code(), why.to_string().as_bytes());
    }
}

/// Returns how many streams the peer may have open at once, when it may ask so many exchanges.
fn granted_max(exchanges_max: u32) -> u32 {
    // quinn tells of new room only in steps of an eighth, and a client's control stream takes one as well: a quarter
    // more lets the peer have as many as its permits say.
    exchanges_max.saturating_add(exchanges_max / 4 + 1)
}

/// Makes the room that the exchanges of a link share, those that are asked and those that are answered.
fn room_to_send(exchanges_max: u32) -> Sending {
    Sending::new(exchanges_max.saturating_add(granted_max(exchanges_max)))
}

impl Carrier for Link {
    fn health(&self) -> Health {
        if self.0.draining.load(Ordering::Acquire) || self.0.quic.close_reason().is_some() {
            return Health::Draining;
        }
        if self.0.suspect.load(Ordering::Relaxed) {
            return Health::Suspect;
        }
        if !self.0.standing.is_open() {
            return Health::Aside;
        }
        if self.0.permits.is_full() { Health::Full } else { Health::Healthy }
    }

    fn cost(&self, now: Duration) -> f32 {
        self.0.standing.cost(self.in_flight(), now)
    }

    fn take_probe(&self, now: Duration) -> bool {
        !self.0.draining.load(Ordering::Acquire)
            && !self.0.suspect.load(Ordering::Relaxed)
            && self.0.standing.take_probe(now)
    }
}

#[cfg(test)]
mod tests {
    use adit_core::limits::CHUNK_BYTES_MAX;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_link_has_room_for_one_more_than_all_that_are_blocked_both_ways() {
        let exchanges_max = 2_000;
        let sending = room_to_send(exchanges_max);
        let write = Bytes::from(vec![0; CHUNK_BYTES_MAX]);
        let mut blocked = Vec::new();
        for _ in 0..exchanges_max + granted_max(exchanges_max) + 1 {
            let room = timeout(Duration::from_secs(60), sending.room_for(write.clone())).await;
            blocked.push(room.unwrap());
        }
    }
}
