//! The other end of a link, byte by byte: says what no node would say.

mod host;
mod stream;

use std::net::{Ipv4Addr, SocketAddr};

use adit_core::{
    limits::CONTROL_FRAME_BYTES_MAX,
    token::Token,
    wire::{
        codec,
        control::{Control, StreamOpen, StreamOpenResponse, StreamType},
        exchange::Reply,
    },
};
use adit_node::{
    link::tls,
    settings::{ClientProof, Congestion, ServerTrust},
};
use bytes::{Bytes, BytesMut};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};

pub use self::{
    host::Host,
    stream::{Stream, head, request, upload},
};
use crate::{
    settings::{CLIENT, GROUP, group},
    trust::Trust,
    wait::within,
};

/// Returns what a client dials with that shows this, to a server that `server_trust` signed for.
pub fn dialling(proof: &ClientProof, server_trust: &Trust) -> ClientConfig {
    tls::client_config(proof, &ServerTrust::Authority(server_trust.roots()), Congestion::default()).unwrap()
}

/// A connection that passes for that of a client, or of a server.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub quic: Connection,
    /// The control stream.
    pub control: Stream,
    endpoint: Endpoint,
}

impl Peer {
    /// Connects with the certificate of [`CLIENT`], and opens the control stream without a word.
    pub async fn connect(server: SocketAddr, trust: &Trust) -> Self {
        Self::try_connect(server, trust, trust).await.expect("a connection")
    }

    /// Connects with a certificate that `trust` signed to a server that `server_trust` signed for.
    ///
    /// # Errors
    ///
    /// When the handshake fails on this side.
    pub async fn try_connect(server: SocketAddr, trust: &Trust, server_trust: &Trust) -> Result<Self, ConnectionError> {
        Self::try_connect_with(server, &ClientProof::Certificate(trust.client(CLIENT)), server_trust).await
    }

    /// Connects with this proof and to a server that `server_trust` signed for. A token is not sent by that.
    ///
    /// # Errors
    ///
    /// When the handshake fails on this side.
    pub async fn try_connect_with(
        server: SocketAddr,
        proof: &ClientProof,
        server_trust: &Trust,
    ) -> Result<Self, ConnectionError> {
        let config = dialling(proof, server_trust);
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let connecting = endpoint.connect_with(config, server, "localhost").unwrap();
        let quic = within("a QUIC connection", connecting).await?;
        let (send, recv) = within("a control stream", quic.open_bi()).await?;
        Ok(Self { quic, control: Stream { send, recv }, endpoint })
    }

    /// Connects and joins [`GROUP`], always as the same client process.
    pub async fn join(server: SocketAddr, trust: &Trust) -> Self {
        Self::join_as("client-peer", server, trust).await
    }

    /// Connects with the certificate of the client called `name`, and joins [`GROUP`].
    ///
    /// # Errors
    ///
    /// When there is no connection.
    pub async fn join_named(name: &str, server: SocketAddr, trust: &Trust) -> Result<Self, ConnectionError> {
        let proof = ClientProof::Certificate(trust.client(name));
        let mut peer = Self::try_connect_with(server, &proof, trust).await?;
        let answer = peer.register_as(name, GROUP).await;
        assert!(matches!(answer, Some(StreamOpenResponse::Accepted { .. })), "{answer:?}");
        Ok(peer)
    }

    /// [`Peer::join_named`], or `None` when that does not work.
    pub async fn try_join_named(name: &str, server: SocketAddr, trust: &Trust) -> Option<Self> {
        let proof = ClientProof::Certificate(trust.client(name));
        let mut peer = Self::try_connect_with(server, &proof, trust).await.ok()?;
        let open = Control::StreamOpen(open(name, GROUP, None));
        let mut frame = BytesMut::new();
        codec::encode(&open, CONTROL_FRAME_BYTES_MAX, &mut frame).ok()?;
        peer.control.send.write_all(&frame).await.ok()?;
        peer.control.try_frame().await.map(|_| peer)
    }

    /// Connects and joins [`GROUP`] as the client process with this id.
    pub async fn join_as(client_id: &str, server: SocketAddr, trust: &Trust) -> Self {
        let mut peer = Self::connect(server, trust).await;
        let answer = peer.register_as(client_id, GROUP).await;
        assert!(matches!(answer, Some(StreamOpenResponse::Accepted { .. })), "{answer:?}");
        peer
    }

    /// Returns where it sends from.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks to join a group, and returns what the server says to that.
    pub async fn register(&mut self, name: &str) -> Option<StreamOpenResponse> {
        self.register_as("client-peer", name).await
    }

    async fn register_as(&mut self, client_id: &str, name: &str) -> Option<StreamOpenResponse> {
        self.register_with(client_id, name, None).await
    }

    /// Asks to join a group with a token, and returns what the server says to that.
    pub async fn register_with(
        &mut self,
        client_id: &str,
        name: &str,
        token: Option<Token>,
    ) -> Option<StreamOpenResponse> {
        let mut frame = BytesMut::new();
        codec::encode(&Control::StreamOpen(open(client_id, name, token)), CONTROL_FRAME_BYTES_MAX, &mut frame).unwrap();
        self.say(frame).await;
        let answer = self.control.frame().await?;
        let answer = codec::decode(&answer).expect("a control message");
        let Control::StreamOpenResponse(answer) = answer else { panic!("{answer:?} answers no registration") };
        Some(answer)
    }

    /// Says something on the control stream.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.control.write(bytes).await;
    }

    /// Reads the message of the next frame of the control stream.
    pub async fn hear(&mut self) -> Bytes {
        self.control.frame().await.expect("a control stream that goes on")
    }

    /// Ends the control stream.
    pub fn fall_silent(&mut self) {
        self.control.finish();
    }

    /// Opens a stream, as whoever asks an exchange does.
    pub async fn open(&self) -> Stream {
        let (send, recv) = within("a stream", self.quic.open_bi()).await.expect("a connection that is open");
        Stream { send, recv }
    }

    /// Opens a stream, and writes these bytes as all there is.
    pub async fn open_with(&self, bytes: impl AsRef<[u8]>) -> Stream {
        let mut stream = self.open().await;
        stream.write(bytes).await;
        stream.finish();
        stream
    }

    /// Asks for `path`, and returns what comes back.
    pub async fn get(&self, path: &str) -> Reply {
        self.open_with(request(path)).await.reply().await
    }

    /// Accepts a stream, as whoever answers an exchange does.
    pub async fn accept(&self) -> Stream {
        let (send, recv) = within("an exchange", self.quic.accept_bi()).await.expect("a connection that is open");
        Stream { send, recv }
    }

    /// Waits until the other end closes the connection, and returns the reason that it gives.
    pub async fn closed(&self) -> String {
        let closed = within("the link to be closed", self.quic.closed()).await;
        let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed} gives no reason") };
        String::from_utf8_lossy(&close.reason).into_owned()
    }
}

fn open(client_id: &str, name: &str, token: Option<Token>) -> StreamOpen {
    StreamOpen {
        client_id: client_id.parse().unwrap(),
        group: group(name),
        stream_type: StreamType::Http,
        version: "test".to_owned(),
        features: 0,
        timestamp_ms: 0,
        token,
    }
}
