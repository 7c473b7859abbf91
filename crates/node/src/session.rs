//! One link's life, from registration to its end. The same on both sides.

use std::{sync::Arc, time::Duration};

use adit_core::{
    conduct::{Act, Syncs, excerpt},
    id::{Group, SessionId},
    limits::{Limits, Timeouts},
    wire::{
        config::ConfigVersion,
        control::{ConfigOutcome, Control, Drain, Heartbeat},
    },
};
use tokio::{
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    access::{Record, Recorder},
    clock::millis,
    egress::service::{Egress, Origin},
    exchange::{self, Bounds},
    link::{
        Close, ConfigAck, Link,
        control::{ControlError, ControlStream},
        handshake::Joined,
    },
    push::{self, Packed, Pushed, Wanted},
    stream::{RecvStream, SendStream, StreamError},
    together::Together,
    unread::Unread,
};

/// How often a link's pulse is felt.
const PULSE: Duration = Duration::from_millis(250);

/// How long a peer has to make room for a control message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a pushed configuration may take to arrive, once its stream is open.
const PUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long exchanges have to notice that their link is gone.
const LAST_EXCHANGES_TIMEOUT: Duration = Duration::from_secs(1);

/// Which side of the link a session is on: what it does about heartbeats and pushed configuration.
#[derive(Clone, Debug)]
pub enum Side {
    /// The client's: sends heartbeats, applies what is pushed.
    Client {
        /// Where pushed rules go.
        pushed: Arc<Pushed>,
        /// How often to ask for what was missed.
        config_sync: Duration,
    },
    /// The server's: misses heartbeats, pushes what the group's clients are to have.
    Server {
        /// How often to look for heartbeats.
        sweep: Duration,
        /// How long there may be none.
        stale: Duration,
        /// What the client is to have.
        wanted: Wanted,
    },
}

/// When a session is to end.
#[derive(Clone, Debug)]
pub struct Stopping {
    /// Cancelled when the node stops: the peer is told, and asks nothing more.
    pub started: CancellationToken,
    /// Cancelled when this node's own entries have no request in flight any more.
    pub entries_closed: CancellationToken,
}

/// What a session answers with, and within which bounds.
#[derive(Clone, Debug)]
pub struct Answering {
    /// The group of the link.
    pub group: Group,
    /// Where requests go.
    pub egress: Arc<Egress>,
    /// What the peer has pushed.
    pub pushed: Arc<Pushed>,
    /// Bounds.
    pub limits: Limits,
    /// How long bodies may stop, and how long the peer has when this node stops.
    pub timeouts: Timeouts,
    /// Takes down what is answered.
    pub recorder: Recorder,
    /// Looks after upstreams that do not read, and peers that do not take.
    pub unread: Unread,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Both sides were done with it.
    #[error("drained")]
    Drained,
    /// The peer closed it, or it was lost.
    #[error("{0}")]
    Lost(#[from] quinn::ConnectionError),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer sent no heartbeat for too long.
    #[error("no heartbeat for {0:?}")]
    Stale(Duration),
}

impl Ended {
    /// Returns whether the peer did what no peer should.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Protocol(_) => true,
            Self::Drained | Self::Lost(_) | Self::Stale(_) => false,
        }
    }
}

/// Runs a session until it ends, closes its link, lets `membership` go, and waits for the exchanges that this ends.
///
/// Dropped early, it leaves the link to be closed by the last handle to it.
pub async fn run<M>(joined: Joined, answering: Answering, side: Side, stopping: Stopping, membership: M) -> Ended {
    let Joined { link, control, heartbeat } = joined;
    let grace = answering.timeouts.drain;
    let conversation = Conversation::new(link.clone(), control, side, stopping, grace);
    let mut answers = JoinSet::new();
    answers.spawn(answer_all(link.clone(), answering).in_current_span());
    let ended = tokio::select! {
        ended = conversation.hold(heartbeat) => ended.unwrap_or_else(|ended| ended),
        error = link.closed() => Ended::Lost(error),
        // It goes on for as long as the link does.
        Some(_) = answers.join_next() => Ended::Lost(link.closed().await),
        misconduct = link.conduct().misconduct() => Ended::Protocol(misconduct.to_string()),
        never = link.follow_tail() => match never {},
    };
    link.close(match ended {
        Ended::Drained => Close::GoingAway,
        Ended::Lost(_) => Close::GoingAway,
        Ended::Protocol(_) => Close::Protocol,
        Ended::Stale(_) => Close::Stale,
    });
    drop(membership);
    // They end of themselves, a few at a time; dropped, a thousand would keep everybody else waiting.
    let _ = timeout(LAST_EXCHANGES_TIMEOUT, async { while answers.join_next().await.is_some() {} }).await;
    ended
}

/// Answers every exchange that the peer asks, until the link is gone and with it all of them.
async fn answer_all(link: Link, answering: Answering) {
    let answering = Arc::new(answering);
    let mut exchanges = Together::default();
    let mut open = true;
    while open || exchanges.count() > 0 {
        exchanges.let_others_run().await;
        let in_flight = exchanges.count();
        tokio::select! {
            // Finished exchanges first: they hold memory until they are joined.
            biased;
            ended = exchanges.next() => {
                if ended.is_err() {
                    tracing::error!("an exchange panicked");
                }
            }
            accepted = link.accept(in_flight), if open => match accepted {
                Ok((send, recv)) => {
                    let mut record = answering.recorder.begin();
                    record.carried_by(link.peer());
                    exchanges.push(answer_one(link.session(), Arc::clone(&answering), record, send, recv));
                }
                Err(_) => open = false,
            },
        }
    }
}

async fn answer_one(
    session: SessionId,
    answering: Arc<Answering>,
    mut record: Record,
    send: SendStream,
    recv: RecvStream,
) {
    let Answering { group, egress, pushed, limits, timeouts, recorder: _, unread } = &*answering;
    let origin = Origin { group, session, stream: send.id(), pushed: pushed.routes() };
    let handle = |head, body| egress.call(head, body, origin);
    let bounds = Bounds { limits: *limits, timeouts, unread, session };
    match exchange::answer(send, recv, bounds, &mut record, handle).await {
        Ok(()) => record.completed(),
        Err(failure) => {
            record.failed(failure);
            tracing::debug!(stream = origin.stream, code = failure.code(), "exchange failed: {failure}");
        }
    }
}

/// The control stream after registration.
struct Conversation {
    link: Link,
    control: ControlStream,
    side: Side,
    stopping: Stopping,
    grace: Duration,
    farewell: Farewell,
    started: Instant,
    syncs: Syncs,
    /// Configurations that were pushed and not acknowledged.
    unacknowledged: u32,
}

/// How far the end of the link has come. It is over when nobody asks any more and nothing is in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Farewell {
    /// We have told the peer that this node stops.
    told: bool,
    /// The peer has told us that it stops.
    heard: bool,
    /// We have told the peer that nothing that we asked is in flight.
    told_drained: bool,
    /// The peer has told us so.
    heard_drained: bool,
}

impl Conversation {
    fn new(link: Link, control: ControlStream, side: Side, stopping: Stopping, grace: Duration) -> Self {
        Self {
            link,
            control,
            side,
            stopping,
            grace,
            farewell: Farewell::default(),
            started: Instant::now(),
            syncs: Syncs::default(),
            unacknowledged: 0,
        }
    }

    async fn hold(mut self, heartbeat: Duration) -> Result<Ended, Ended> {
        let mut heard_at = self.started;
        let mut seq = 0;
        let mut pulse = ticker(PULSE);
        let (beat, sync) = match &self.side {
            Side::Client { config_sync, .. } => (heartbeat, *config_sync),
            Side::Server { sweep, .. } => (*sweep, *sweep),
        };
        let (mut beat, mut sync) = (ticker(beat), ticker(sync));
        let mut wanted = match &self.side {
            Side::Client { .. } => None,
            Side::Server { wanted, .. } => Some(wanted.clone()),
        };
        if let Some(wanted) = &mut wanted {
            wanted.mark_changed();
        }
        loop {
            let Farewell { told, heard, told_drained, heard_drained } = self.farewell;
            let link = self.link.clone();
            tokio::select! {
                message = self.control.read() => {
                    if let Some(Control::Heartbeat(_)) = self.receive(message).await? {
                        heard_at = Instant::now();
                    }
                }
                _ = pulse.tick() => self.link.feel_pulse(self.started.elapsed()),
                _ = beat.tick() => match &self.side {
                    Side::Client { .. } => {
                        self.send(&Control::Heartbeat(Heartbeat { seq, in_flight: self.link.in_flight() })).await?;
                        seq += 1;
                    }
                    Side::Server { stale, .. } if heard_at.elapsed() > *stale => {
                        return Ok(Ended::Stale(heard_at.elapsed()));
                    }
                    Side::Server { .. } => {}
                },
                _ = sync.tick() => {
                    if let Side::Client { pushed, .. } = &self.side {
                        let have = pushed.seen();
                        self.send(&Control::ConfigSync { have }).await?;
                    }
                }
                packed = changed(&mut wanted) => self.push(packed).await?,
                stream = link.accept_push() => self.apply(stream.map_err(Ended::Lost)?).await?,
                () = self.stopping.started.cancelled(), if !told => {
                    self.farewell.told = true;
                    let grace_ms = u32::try_from(self.grace.as_millis()).unwrap_or(u32::MAX);
                    self.send(&Control::Drain(Drain { reason: "the node stops".into(), grace_ms })).await?;
                }
                () = link.idle(), if heard && !told_drained => {
                    self.farewell.told_drained = true;
                    self.send(&Control::Drained).await?;
                }
                () = async { self.stopping.entries_closed.cancelled().await; link.idle().await }, if told && heard_drained => {
                    return Ok(Ended::Drained);
                }
            }
        }
    }

    /// Pushes a configuration to the client; the server's side.
    async fn push(&mut self, packed: Packed) -> Result<(), Ended> {
        tracing::debug!(version = %packed.version, "pushing configuration");
        match timeout(PUSH_TIMEOUT, self.link.push(packed.frame)).await {
            Ok(pushed) => pushed.map_err(|error| self.broken(&error.into()))?,
            Err(_) => return Err(Ended::Protocol("it does not take its configuration".into())),
        }
        self.unacknowledged += 1;
        Ok(())
    }

    /// Applies what the server has pushed; the client's side.
    async fn apply(&mut self, stream: RecvStream) -> Result<(), Ended> {
        let Side::Client { pushed, .. } = &self.side else {
            return Err(Ended::Protocol("it pushed configuration to a server".into()));
        };
        self.note(Act::PushedConfig)?;
        let frame = match timeout(PUSH_TIMEOUT, push::read(stream)).await {
            Ok(read) => read.map_err(|error| self.broken(&error.into()))?,
            Err(_) => return Err(Ended::Protocol("its pushed configuration took too long".into())),
        };
        let pushed = Arc::clone(pushed);
        // Thousands of rules take a while, in which everything else on this thread would wait.
        let taken = tokio::task::spawn_blocking(move || pushed.take(&frame)).await;
        let taken = taken.map_err(|error| Ended::Protocol(format!("its configuration cannot be applied: {error}")))?;
        let (version, outcome) = taken.map_err(|error| self.broken(&StreamError::from(error).into()))?;
        self.link.acknowledged(ConfigAck { version, outcome: outcome.clone() });
        self.send(&Control::ConfigAck { version, outcome }).await
    }

    /// Takes in one message, and returns it where it is not dealt with here.
    async fn receive(&mut self, message: Result<Option<Control>, ControlError>) -> Result<Option<Control>, Ended> {
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Err(Ended::Protocol("it closed the control stream".into())),
            Err(error) => return Err(self.broken(&error)),
        };
        self.note(Act::SentControl)?;
        match &message {
            Control::Heartbeat(_) => {
                if let Side::Server { .. } = self.side {
                    self.send(&message).await?;
                }
                return Ok(Some(message));
            }
            Control::ConfigSync { have } => {
                let missing = self.missing(*have)?;
                if let Some(packed) = missing.filter(|_| self.syncs.allow(millis(self.started.elapsed()))) {
                    self.push(packed).await?;
                }
            }
            Control::ConfigAck { version, outcome } => {
                let Some(unacknowledged) = self.unacknowledged.checked_sub(1) else {
                    return Err(Ended::Protocol("it acknowledged what was not pushed".into()));
                };
                self.unacknowledged = unacknowledged;
                self.acknowledged(*version, outcome);
            }
            Control::Drain(_) if self.farewell.heard => return Err(Ended::Protocol("it drained twice".into())),
            Control::Drain(drain) => {
                tracing::info!(reason = excerpt(&drain.reason), grace_ms = drain.grace_ms, "peer drains");
                self.link.drain();
                self.farewell.heard = true;
            }
            Control::Drained if !self.farewell.told || self.farewell.heard_drained => {
                return Err(Ended::Protocol("it has drained and was not asked to".into()));
            }
            Control::Drained => self.farewell.heard_drained = true,
            Control::StreamOpen(_) => return Err(Ended::Protocol("it registered twice".into())),
            Control::StreamOpenResponse(_) => return Err(Ended::Protocol("it answered twice".into())),
        }
        Ok(None)
    }

    /// Takes down what the peer did, and ends the session where that is too much: while there is more to read, nothing
    /// else gets its turn.
    fn note(&self, act: Act) -> Result<(), Ended> {
        let conduct = self.link.conduct();
        conduct.note(act);
        conduct.verdict().map_or(Ok(()), |misconduct| Err(Ended::Protocol(misconduct.to_string())))
    }

    /// Takes down what the client did with a configuration.
    fn acknowledged(&self, version: ConfigVersion, outcome: &ConfigOutcome) {
        match outcome {
            ConfigOutcome::Applied => tracing::info!(%version, "client applied its configuration"),
            ConfigOutcome::Rejected { why } => {
                tracing::warn!(%version, why = excerpt(why), "client refused its configuration");
            }
        }
        let outcome = match outcome {
            ConfigOutcome::Applied => ConfigOutcome::Applied,
            ConfigOutcome::Rejected { why } => ConfigOutcome::Rejected { why: excerpt(why).to_owned() },
        };
        self.link.acknowledged(ConfigAck { version, outcome });
    }

    /// Returns the configuration that the client should have and has not; the server's side.
    fn missing(&self, have: Option<ConfigVersion>) -> Result<Option<Packed>, Ended> {
        let Side::Server { wanted, .. } = &self.side else {
            return Err(Ended::Protocol("it asked a client for configuration".into()));
        };
        Ok(wanted.borrow().clone().filter(|packed| Some(packed.version) != have))
    }

    async fn send(&mut self, message: &Control) -> Result<(), Ended> {
        match timeout(WRITE_TIMEOUT, self.control.write(message)).await {
            Ok(written) => written.map_err(|error| self.broken(&error)),
            Err(_) => Err(Ended::Protocol("it does not read its control stream".into())),
        }
    }

    /// Tells a control stream that broke with its link from one that the peer broke.
    fn broken(&self, error: &ControlError) -> Ended {
        match self.link.close_reason() {
            Some(reason) => Ended::Lost(reason),
            None => Ended::Protocol(error.to_string()),
        }
    }
}

/// Waits for the next configuration to push. Never returns where there is nothing to push. Cancel-safe.
async fn changed(wanted: &mut Option<Wanted>) -> Packed {
    if let Some(wanted) = wanted {
        while wanted.changed().await.is_ok() {
            if let Some(packed) = wanted.borrow_and_update().clone() {
                return packed;
            }
        }
    }
    std::future::pending().await
}

/// Ticks at every `period`, the first time after one.
fn ticker(period: Duration) -> time::Interval {
    let mut ticker = time::interval_at(Instant::now() + period, period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
