//! A peer with valid certificates that speaks nonsense hurts itself: its link, or no more than one exchange.

mod answers;
mod control;
mod framing;
mod requests;

use adit_core::limits::Timeouts;
use adit_tests::{
    Tunnel, Upstream,
    node::ServerNode,
    settings::{self, everything_to},
    trust::Trust,
};

/// A server that clients reach an upstream through, and visitors reach clients through.
async fn server(trust: &Trust, upstream: &Upstream) -> ServerNode {
    server_with(trust, upstream, Timeouts::default()).await
}

async fn server_with(trust: &Trust, upstream: &Upstream, timeouts: Timeouts) -> ServerNode {
    let mut settings = settings::public_server(trust);
    settings.egress = everything_to(upstream.http());
    settings.timeouts = timeouts;
    ServerNode::start(settings).await
}

/// Checks that a tunnel serves on, whatever happens on other links.
async fn serves(tunnel: &Tunnel) {
    assert_eq!(tunnel.http1().await.get("/").await.failure(), (200, ""));
}
