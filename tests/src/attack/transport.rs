//! Below the streams.

use std::net::{Ipv4Addr, UdpSocket};

use bytes::Bytes;

use super::{Foe, Over, Round};
use crate::peer::request;

pub(super) async fn datagrams(foe: &mut Foe) -> Round {
    for _ in 0..500 {
        // Fails for one that is too large for the path, and when the link is closed.
        let _ = foe.peer.quic.send_datagram(Bytes::from_static(&[0; 1_000]));
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
