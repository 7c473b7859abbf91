//! What a hostile peer does on a link that it was let into, in rounds: a test runs a few, `just hostile` runs them for
//! a minute.

mod bodies;
mod control;
mod pushes;
pub mod stranger;
mod streams;
mod transport;

use std::{pin::Pin, time::Duration};

use adit_core::failure::Failure;
use quinn::{Connection, ConnectionError, VarInt};
use tokio::time::timeout;

use crate::{
    peer::{Peer, Stream, upload},
    wait::within,
};

/// How long a hostile peer waits for room for one more stream before it lets go of those that it has.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// How many streams it holds: more than it may have open.
const HELD_MAX: usize = 2_000;

/// The link is closed: the attack is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl From<ConnectionError> for Over {
    fn from(_: ConnectionError) -> Self {
        Self
    }
}

/// How one round of an attack went.
pub type Round = Result<(), Over>;

/// How an attack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The link is closed, since the peer broke the protocol; the log says how.
    Closed(&'static str),
    /// The link goes on: the attack costs whoever attacks as much as anybody else.
    Borne,
}

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A client, its server.
    Client,
    /// A server, its client.
    Server,
    /// Either.
    Either,
}

/// One way to be hostile.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// Who can do it.
    pub by: By,
    /// How it ends.
    pub end: End,
    round: for<'a> fn(&'a mut Foe) -> Pin<Box<dyn Future<Output = Round> + Send + 'a>>,
}

impl std::fmt::Debug for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A hostile peer on its link.
#[derive(Debug)]
pub struct Foe {
    /// The link.
    pub peer: Peer,
    /// Streams that it does not let go.
    held: Vec<Stream>,
    rounds: usize,
    opened: u64,
}

impl Foe {
    /// Makes a peer hostile.
    pub fn new(peer: Peer) -> Self {
        Self { peer, held: Vec::new(), rounds: 0, opened: 0 }
    }

    /// Runs one round of an attack.
    ///
    /// # Errors
    ///
    /// When the link is closed.
    pub async fn round(&mut self, attack: &Attack) -> Round {
        self.rounds += 1;
        (attack.round)(self).await
    }

    /// Runs so many rounds, or as many as the link lasts. Returns whether it lasted.
    pub async fn rounds(&mut self, attack: &Attack, count: usize) -> bool {
        for _ in 0..count {
            if self.round(attack).await.is_err() {
                return false;
            }
            // The other end may be on the same thread.
            tokio::task::yield_now().await;
        }
        self.peer.quic.close_reason().is_none()
    }

    /// Returns how many streams it has opened since it was last asked.
    pub fn opened(&mut self) -> u64 {
        std::mem::take(&mut self.opened)
    }

    /// Opens a stream. With all the streams that it may have open, it lets go of them first.
    async fn open(&mut self) -> Result<Stream, Over> {
        loop {
            if let Ok(opened) = timeout(ROOM_WAIT, self.peer.quic.open_bi()).await {
                let (send, recv) = opened?;
                self.opened += 1;
                return Ok(Stream { send, recv });
            }
            for mut stream in self.held.drain(..) {
                let cancelled = VarInt::from_u32(Failure::Cancelled.reset_code());
                let _ = stream.send.reset(cancelled);
                let _ = stream.recv.stop(cancelled);
            }
        }
    }

    /// Opens a stream, writes these bytes as all there is, and holds it.
    async fn ask(&mut self, bytes: &[u8]) -> Round {
        let mut stream = self.open().await?;
        // What was reset meanwhile has been read well enough.
        let _ = stream.send.write_all(bytes).await;
        stream.finish();
        self.held.push(stream);
        if self.held.len() > HELD_MAX {
            self.held.drain(..HELD_MAX / 2);
        }
        Ok(())
    }

    /// Waits until the other end has closed the link.
    async fn is_closed(&self) -> Round {
        within("the link to be closed", self.peer.quic.closed()).await;
        Err(Over)
    }

    /// Waits until the other end has closed the link, since the protocol was broken.
    ///
    /// An end that is kept from listening until the other one has forgotten the link gets both the reason and a stateless
    /// reset at once, of which quinn-proto keeps the later; what the log says tells more then.
    pub async fn is_shown_out(&self) {
        let closed = within("the link to be closed", self.peer.quic.closed()).await;
        if closed == ConnectionError::Reset {
            return;
        }
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed} instead") };
        assert_eq!(close.reason, "broke the protocol");
    }

    /// Says something on the control stream.
    async fn say(&mut self, bytes: &[u8]) -> Round {
        self.peer.control.send.write_all(bytes).await.map_err(|_| Over)
    }
}

macro_rules! attacks {
    ($($name:literal $by:ident $end:expr => $module:ident::$round:ident;)+) => {
        /// Every attack.
        pub const ATTACKS: &[Attack] = &[$(Attack {
            name: $name,
            by: By::$by,
            end: $end,
            round: |foe| Box::pin($module::$round(foe)),
        },)+];
    };
}

use End::{Borne, Closed};

attacks! {
    "control-garbage" Either Closed("malformed message") => control::garbage;
    "control-bomb" Either Closed("over the limit of 65536 bytes") => control::bomb;
    "control-cut" Either Closed("ended too early") => control::cut;
    "control-end" Either Closed("closed the control stream") => control::end;
    "control-flood" Either Closed("floods the control stream") => control::heartbeats;
    "register-twice" Client Closed("registered twice") => control::register_twice;
    "accept-twice" Server Closed("answered twice") => control::accept_twice;
    "drain-twice" Either Closed("drained twice") => control::drain_twice;
    "drained-unasked" Either Closed("was not asked to") => control::drained_unasked;
    "drain-and-ask" Client Borne => control::drain_and_ask;
    "acknowledge-unpushed" Either Closed("acknowledged what was not pushed") => control::acknowledge;
    "sync-flood" Client Closed("floods the control stream") => control::syncs;
    "sync-a-client" Server Closed("asked a client for configuration") => control::syncs;
    "silent-streams" Either Borne => streams::silent;
    "head-dribble" Either Borne => streams::dribble;
    "reset-empty" Either Closed("gives up too many") => streams::reset_empty;
    "reset-asked" Either Closed("gives up too many") => streams::reset_asked;
    "stop-asked" Either Closed("gives up too many") => streams::stop_asked;
    "head-bomb" Either Closed("gives up too many") => streams::bomb;
    "head-garbage" Either Closed("carry no exchange") => streams::garbage;
    "head-cut" Either Closed("carry no exchange") => streams::cut;
    "answer-unasked" Either Closed("carry no exchange") => streams::answer_unasked;
    "no-rule" Either Borne => streams::no_rule;
    "body-garbage" Client Closed("carry no exchange") => bodies::garbage;
    "body-longer" Client Closed("carry no exchange") => bodies::longer;
    "body-shorter" Client Closed("carry no exchange") => bodies::shorter;
    "body-of-nothing" Client Closed("carry no exchange") => bodies::nothing;
    "trailer-bomb" Client Closed("carry no exchange") => bodies::trailers;
    "never-read" Client Borne => bodies::never_read;
    "never-sent" Client Borne => bodies::never_sent;
    "push-flood" Server Closed("pushes configuration too often") => pushes::flood;
    "push-huge" Server Closed("malformed message") => pushes::huge;
    "push-bomb" Server Closed("over the limit of 4194303 bytes") => pushes::bomb;
    "push-garbage" Server Closed("malformed message") => pushes::garbage;
    "push-forbidden" Server Closed("pushes configuration too often") => pushes::forbidden;
    "push-dribble" Server Closed("gave up without a reason") => pushes::dribble;
    "push-to-server" Client Closed("pushed configuration to a server") => pushes::garbage;
    "datagrams" Either Borne => transport::datagrams;
    "migration" Client Borne => transport::migrate;
}

/// Asks one exchange as any peer would, with a body of so many bytes, and reads the whole answer.
///
/// # Errors
///
/// When the link is closed.
pub async fn asks_honestly(quic: Connection, body: usize) -> Round {
    let (mut send, mut recv) = quic.open_bi().await?;
    let mut bytes = upload("/").to_vec();
    for piece in vec![0; body].chunks(16_000) {
        let length = u8::try_from(piece.len() >> 7).unwrap_or(u8::MAX);
        let low = u8::try_from(piece.len() & 0x7f).unwrap_or(0);
        // Data and its length, as varints.
        bytes.extend([3, 0, low | 0x80, length]);
        bytes.extend(piece);
    }
    bytes.extend(b"\x01\x01");
    send.write_all(&bytes).await.map_err(|_| Over)?;
    let _ = send.finish();
    recv.read_to_end(1024 * 1024).await.map(|_| ()).map_err(|_| Over)
}

/// Returns the attack of this name.
pub fn named(name: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.name == name)
}
