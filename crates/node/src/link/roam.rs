//! Links that stay when this node's address changes.
//!
//! QUIC carries a connection to another address (RFC 9000 §9), but the peer learns of it only when something comes from
//! there. A client that downloads has little to send, so it looks for itself, and moves to a fresh socket at once.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adit_core::whereabouts::{Moved, Sight, Whereabouts};
use quinn::Endpoint;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::transport;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Moves all links of `endpoint` whenever the way to one of their peers begins at another address, after a sleep, and
/// when there is a way again after there was none, and calls `moved` then.
///
/// `peers` are those that it has links to; while there are none it goes by the last ones.
pub async fn follow(endpoint: &Endpoint, peers: impl Fn() -> Vec<SocketAddr>, moved: impl Fn()) -> Infallible {
    let start = Instant::now();
    let mut whereabouts = Whereabouts::default();
    let mut known = Vec::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let peers = peers();
        if !peers.is_empty() {
            known = peers;
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let routes = known.iter().map(|&peer| (peer, local_address(peer))).collect();
        let Some(how) = whereabouts.look(&Sight { awake: start.elapsed(), wall, routes }) else { continue };
        match rebind(endpoint) {
            Ok((old, new)) => tell(how, old, new),
            Err(error) => tracing::warn!(?how, "links cannot move to a fresh UDP socket: {error}"),
        }
        moved();
    }
}

/// Moves all links of an endpoint to a fresh socket of the same family, and returns both ports. What is in flight goes on.
///
/// # Errors
///
/// When there is no such socket; then the old one is kept.
pub fn rebind(endpoint: &Endpoint) -> io::Result<(u16, u16)> {
    let old = endpoint.local_addr()?;
    let any = match old {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = transport::bind((any, 0).into())?;
    let new = socket.local_addr()?;
    endpoint.rebind(socket)?;
    Ok((old.port(), new.port()))
}

fn tell(how: Moved, old_port: u16, new_port: u16) {
    match how {
        Moved::Address { old, new } => {
            let (old, new) = (SocketAddr::from((old, old_port)), SocketAddr::from((new, new_port)));
            tracing::info!(%old, %new, "the address of this node changed, its links move");
        }
        Moved::Slept(slept) => {
            tracing::info!(?slept, old_port, new_port, "this machine was asleep, its links move to another port");
        }
    }
}

/// Returns the address that the system would send from, or none where it knows no way. Sends nothing.
fn local_address(peer: SocketAddr) -> Option<IpAddr> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let any = match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_loopback_begins_there() {
        assert_eq!(local_address("127.0.0.1:9".parse().unwrap()), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(local_address("[::ffff:127.0.0.1]:9".parse().unwrap()), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
