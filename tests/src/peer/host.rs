//! A server that clients take for one.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use adit_core::{
    id::SessionId,
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        codec,
        control::{Control, StreamOpenResponse},
    },
};
use adit_node::link::tls;
use bytes::BytesMut;
use quinn::{Endpoint, EndpointConfig, TokioRuntime};

use super::{Peer, Stream};
use crate::{
    settings::{self, loopback},
    trust::Trust,
    wait::within,
};

/// A UDP port where clients connect.
#[derive(Debug)]
pub struct Host {
    /// Where.
    pub address: SocketAddr,
    endpoint: Endpoint,
}

impl Host {
    /// Listens with a certificate that clients of `trust` believe.
    pub fn listen(trust: &Trust) -> Self {
        Self::listen_on(UdpSocket::bind(loopback()).unwrap(), trust)
    }

    /// [`Host::listen`] on a socket that clients know of.
    pub fn listen_on(socket: UdpSocket, trust: &Trust) -> Self {
        let config = tls::server_config(&settings::server(trust).tunnel).unwrap();
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).unwrap();
        Self { address: endpoint.local_addr().unwrap(), endpoint }
    }

    /// Waits for a client, and lets it join whatever it asks for. `None` when its connection breaks before.
    pub async fn try_welcome(&self) -> Option<Peer> {
        self.try_answer(StreamOpenResponse::Accepted { session: SessionId(1), features: 0, heartbeat_ms: 30_000 }).await
    }

    async fn try_answer(&self, answer: StreamOpenResponse) -> Option<Peer> {
        let quic = self.endpoint.accept().await?.await.ok()?;
        let (send, recv) = quic.accept_bi().await.ok()?;
        let mut peer = Peer { quic, control: Stream { send, recv }, endpoint: self.endpoint.clone() };
        peer.control.try_frame().await?;
        let mut frame = BytesMut::new();
        codec::encode(&Control::StreamOpenResponse(answer), CONTROL_FRAME_BYTES_MAX, &mut frame).ok()?;
        peer.control.send.write_all(&frame).await.ok()?;
        Some(peer)
    }

    /// Waits for a client, and denies what it asks for.
    pub async fn deny(&self, reason: &str) -> Peer {
        let denied = StreamOpenResponse::Denied { reason: reason.to_owned() };
        within("a client", self.try_answer(denied)).await.expect("a client that asks")
    }

    /// [`Host::try_welcome`] of a client that comes.
    pub async fn welcome(&self) -> Peer {
        within("a client", self.try_welcome()).await.expect("a client that joins")
    }
}
