//! Below the streams.

use std::net::{Ipv4Addr, UdpSocket};

use bytes::Bytes;
use quinn::SendDatagramError;

use super::{Foe, Over, Round};
use crate::peer::request;

pub(super) async fn datagrams(foe: &mut Foe) -> Round {
    // A byte, as probes have. What is larger than the peer says never leaves, and quinn ends a link for less than it
    // says: it counts what it keeps beside the data.
    let datagram = Bytes::from_static(b"\0");
    for _ in 0..500 {
        match foe.peer.quic.send_datagram_wait(datagram.clone()).await {
            Ok(()) => {}
            Err(SendDatagramError::ConnectionLost(_)) => return Err(Over),
            Err(error) => panic!("no datagram leaves: {error}"),
        }
    }
    tokio::task::yield_now().await;
    foe.peer.quic.close_reason().map_or(Ok(()), |_| Err(Over))
}

/// Comes from another port with every few packets.
pub(super) async fn migrate(foe: &mut Foe) -> Round {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|_| Over)?;
    foe.peer.endpoint().rebind(socket).map_err(|_| Over)?;
    foe.ask(&request("/")).await?;
    tokio::task::yield_now().await;
    foe.peer.quic.close_reason().map_or(Ok(()), |_| Err(Over))
}
