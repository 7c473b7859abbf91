//! A client whose address or port changes keeps its link and what is in flight on it.

use std::net::SocketAddr;

use adit_core::id::SessionId;
use adit_tests::{
    Direction, Relay, Upstream, Visitor,
    body::{by_hand, noise},
    both_directions, eventually,
    message::whole,
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT, GROUP, everything_to},
    trust::Trust,
};
use bytes::Bytes;

/// How often the address changes during a transfer.
const MOVES: usize = 5;

/// What is sent between two moves. All of it together is less than 1,024 packets: quinn-proto 0.11.19 ends a link when
/// more than so many pieces wait to be read, holes between them or not, and a packet that is sent again may be two.
const PART_BYTES: usize = 96 * 1024;

both_directions! {
    a_download_goes_on_when_a_nat_gives_the_client_another_port,
    a_download_goes_on_when_the_client_moves_to_another_socket,
    an_upload_goes_on_when_a_nat_gives_the_client_another_port,
}

/// A tunnel with a relay between its nodes.
struct Moving {
    server: ServerNode,
    client: ClientNode,
    relay: Relay,
    entry: SocketAddr,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Nat,
    Socket,
}

impl Moving {
    async fn start(upstream: &Upstream, direction: Direction) -> Self {
        let trust = Trust::default();
        let (mut serving, mut asking) = (settings::server(&trust), None);
        match direction {
            Direction::Reverse => serving = settings::public_server(&trust),
            Direction::Forward => {
                serving.egress = everything_to(upstream.http());
                asking = Some(settings::entry());
            }
        }
        let server = ServerNode::start(serving).await;
        let relay = Relay::to(server.tunnel);
        let mut settings = settings::client(&trust, CLIENT, relay.address);
        settings.http = asking;
        if direction == Direction::Reverse {
            settings.egress = everything_to(upstream.http());
        }
        let client = ClientNode::start(settings).await;
        server.has_clients(GROUP, 1).await;
        client.has_servers(1).await;
        let entry = if direction == Direction::Reverse { server.entry() } else { client.entry() };
        Self { server, client, relay, entry }
    }

    fn session(&self) -> (SessionId, SocketAddr) {
        let sessions = self.server.sessions(GROUP);
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        sessions[0]
    }

    async fn shift(&self, how: Move) {
        let (_, old) = self.session();
        match how {
            Move::Nat => self.relay.rebind(),
            Move::Socket => self.client.rebind(),
        }
        eventually("the server to see the client elsewhere", || self.session().1 != old).await;
    }
}

/// Downloads while the client moves.
async fn download(direction: Direction, how: Move) {
    let (upstream, mut calls) = Upstream::by_hand();
    let moving = Moving::start(&upstream, direction).await;
    let (session, _) = moving.session();
    let mut visitor = Visitor::http1(moving.entry).await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer(body);
    let head = pending.head().await;
    let sent = noise((MOVES + 1) * PART_BYTES);
    let send = async {
        for part in 0..=MOVES {
            for chunk in parts(&sent, part) {
                chunks.send(chunk).await;
            }
            if part < MOVES {
                moving.shift(how).await;
            }
        }
        drop(chunks);
    };
    let ((), received) = tokio::join!(send, whole(head));
    assert_eq!(received.status, 200);
    assert!(received.body == sent, "{} bytes of {} arrived, or others", received.body.len(), sent.len());
    assert_eq!(moving.session().0, session);
}

fn parts(data: &Bytes, part: usize) -> Vec<Bytes> {
    let part = data.slice(part * PART_BYTES..(part + 1) * PART_BYTES);
    adit_tests::body::chunks_of(&part, 16 * 1024)
}

async fn a_download_goes_on_when_a_nat_gives_the_client_another_port(direction: Direction) {
    download(direction, Move::Nat).await;
}

async fn a_download_goes_on_when_the_client_moves_to_another_socket(direction: Direction) {
    download(direction, Move::Socket).await;
}

async fn an_upload_goes_on_when_a_nat_gives_the_client_another_port(direction: Direction) {
    let upstream = Upstream::echo();
    let moving = Moving::start(&upstream, direction).await;
    let (session, _) = moving.session();
    let mut visitor = Visitor::http1(moving.entry).await;
    let (chunks, body) = by_hand();
    let sent = noise((MOVES + 1) * PART_BYTES);
    let send = async {
        for part in 0..=MOVES {
            for chunk in parts(&sent, part) {
                chunks.send(chunk).await;
            }
            if part < MOVES {
                moving.shift(Move::Nat).await;
            }
        }
        drop(chunks);
    };
    let ((), received) = tokio::join!(send, visitor.post("/", body));
    assert_eq!(received.status, 200);
    assert!(received.body == sent, "{} bytes of {} arrived, or others", received.body.len(), sent.len());
    assert_eq!(moving.session().0, session);
}
