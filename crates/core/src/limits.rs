//! Every bound and every wait of a node, with its default.
//!
//! A limit is checked before the memory it bounds is spent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The largest control frame, in bytes of encoded message.
pub const CONTROL_FRAME_BYTES_MAX: usize = 64 * 1024;

/// The largest piece of a body that is written to a stream at once, in bytes.
///
/// Larger writes would let one bulk transfer delay the small exchanges beside it: quinn takes turns
/// between streams, but within a turn it sends what one write queued.
pub const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// Unread bytes per stream of a link: three round trips of 100 Mbit/s at 150 ms, since a packet that is lost twice holds
/// up what came behind it for so long. A receive buffer with more than about 1,024 holes kills the whole connection, and a
/// 16 MiB window can have that many at a few percent of loss.
pub const STREAM_WINDOW_BYTES: u32 = 6 * 1024 * 1024;

/// Room for what stands in a head frame besides the head of the visitor: kinds, lengths, addresses and the
/// fields that adit adds.
const HEAD_FRAME_SLACK_BYTES: usize = 4 * 1024;

/// How many fields adit and its rules may add to a head that is at its limit.
const HEAD_FRAME_SLACK_FIELDS: usize = 64;

/// What a node allows. Both sides of a link have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest request or response head, in bytes of names and values.
    pub head_bytes_max: usize,
    /// The most header fields in one head.
    pub head_fields_max: usize,
    /// The most bytes in the body of a request at an entry, where there is a limit.
    pub request_body_bytes_max: Option<u64>,
    /// The most exchanges in flight on one link, each way; more wait for their turn.
    pub exchanges_per_link_max: u32,
    /// The most visitor connections an entry holds at once; more wait in the listen queue.
    pub connections_max: usize,
    /// The most connections that one visitor has at a node's entries; more are closed. A trusted proxy has as many as
    /// it likes; an IPv6 network of 64 bits is one visitor.
    pub connections_per_address_max: usize,
    /// The most that is held for those that take nothing of a body, all of them together, in bytes. A reader counts with
    /// what is to come of its body, up to the window of a stream; a peer with what is read ahead of a response.
    pub unread_bytes_max: usize,
    /// The most connections to one server of an upstream that are kept without use.
    pub idle_connections_max: usize,
    /// The most clients that may be on their way to a link from addresses that they have not proven; the next ones have
    /// to prove theirs first, which takes one more round trip. With 0 nobody gets more than it sent before it has; with
    /// more, up to three times as much and one datagram.
    pub handshakes_unvalidated_max: usize,
    /// The most clients that may be on their way to a link from addresses that they have proven; the next ones are not
    /// answered until there is room.
    pub handshakes_max: usize,
    /// The most links that one client has at a server, in all groups together; it is denied more. A client is a
    /// certificate's name or a token, however many processes show it.
    pub links_per_client_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            head_fields_max: 256,
            request_body_bytes_max: None,
            exchanges_per_link_max: 1_000,
            connections_max: 16_384,
            connections_per_address_max: 1_024,
            unread_bytes_max: 256 * 1024 * 1024,
            idle_connections_max: 256,
            handshakes_unvalidated_max: 0,
            handshakes_max: 1_024,
            links_per_client_max: 1_024,
        }
    }
}

impl Limits {
    /// The largest frame that carries a head or trailers, in bytes of encoded message.
    pub fn head_frame_bytes_max(&self) -> usize {
        self.head_bytes_max + HEAD_FRAME_SLACK_BYTES
    }

    /// The largest head as HTTP/2 counts it, with 32 bytes for each field (RFC 9113 §6.5.2).
    pub fn head_list_bytes_max(&self) -> usize {
        self.head_frame_bytes_max() + 32 * self.head_frame_fields_max()
    }

    /// The most fields in a frame that carries a head or trailers.
    pub fn head_frame_fields_max(&self) -> usize {
        self.head_fields_max + HEAD_FRAME_SLACK_FIELDS
    }
}

/// Every wait of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From the request to the head of its response; then 504.
    #[serde(with = "humantime_serde")]
    pub response_head: Duration,
    /// From a visitor's connection to the end of its PROXY header and TLS handshake; then it is closed.
    #[serde(with = "humantime_serde")]
    pub handshake: Duration,
    /// How long a visitor's head may take, from its connection or the end of the request before; then the connection is
    /// closed.
    #[serde(with = "humantime_serde")]
    pub request_head: Duration,
    /// How long nothing of a request's body may come before its response begins; then 408. What a link brings may stop for
    /// two to four times as long. From then on it may for `switched_idle`.
    #[serde(with = "humantime_serde")]
    pub body_idle: Duration,
    /// How long a visitor may take nothing of what is written to it; then its connection is closed, or over HTTP/2, where
    /// only a stream is not taken, that stream ends.
    #[serde(with = "humantime_serde")]
    pub write_idle: Duration,
    /// How long a visitor's HTTP/2 connection may be without a request; then it is told so, and closed. It takes up to
    /// three times as long.
    #[serde(with = "humantime_serde")]
    pub visitor_idle: Duration,
    /// To a connection to an upstream, TLS included.
    #[serde(with = "humantime_serde")]
    pub connect: Duration,
    /// How long the addresses of an upstream's name are used before the next connection resolves it again.
    #[serde(with = "humantime_serde")]
    pub upstream_resolve: Duration,
    /// How long an upstream connection is kept without use.
    #[serde(with = "humantime_serde")]
    pub upstream_idle: Duration,
    /// How long nothing may move on a connection that was switched to another protocol; then it is cut.
    #[serde(with = "humantime_serde")]
    pub switched_idle: Duration,
    /// How often a client shows the server that it lives.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// How often a server looks for sessions without heartbeats.
    #[serde(with = "humantime_serde")]
    pub sweep: Duration,
    /// How long a session may go without a heartbeat.
    #[serde(with = "humantime_serde")]
    pub stale: Duration,
    /// The first wait before a client dials again.
    #[serde(with = "humantime_serde")]
    pub reconnect_min: Duration,
    /// The longest wait before a client dials again.
    #[serde(with = "humantime_serde")]
    pub reconnect_max: Duration,
    /// How long a request waits for a group that has just lost its last link.
    #[serde(with = "humantime_serde")]
    pub rejoin: Duration,
    /// How often a client compares its pushed configuration with the server's.
    #[serde(with = "humantime_serde")]
    pub config_sync: Duration,
    /// How long exchanges in flight have to finish when a node stops.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// How long a visitor's HTTP/1.1 connection without a request is kept when a node stops: a request that comes by
    /// then is answered, and told that it was the last one. It takes up to twice as long, and no longer than `drain`.
    #[serde(with = "humantime_serde")]
    pub drain_idle: Duration,
    /// How long a node whose entries were handed over leaves its visitors to others, while there is nobody to answer.
    #[serde(with = "humantime_serde")]
    pub takeover: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            response_head: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            write_idle: Duration::from_secs(60),
            visitor_idle: Duration::from_secs(120),
            connect: Duration::from_secs(5),
            upstream_resolve: Duration::from_secs(10),
            upstream_idle: Duration::from_secs(60),
            switched_idle: Duration::from_secs(3_600),
            heartbeat: Duration::from_secs(30),
            sweep: Duration::from_secs(30),
            stale: Duration::from_secs(60),
            reconnect_min: Duration::from_millis(250),
            reconnect_max: Duration::from_secs(10),
            rejoin: Duration::from_secs(2),
            config_sync: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            drain_idle: Duration::from_secs(2),
            takeover: Duration::from_secs(30),
        }
    }
}
