//! How quinn is set up for a link.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use adit_congestion::Adaptive;
pub use adit_core::limits::STREAM_WINDOW_BYTES;
use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig, VarInt, congestion::CubicConfig};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{settings::Congestion, tail};

/// Streams that a peer may have open at once before it asks for more. quinn allocates for all of them when a
/// connection starts: 1,000 cost 141 KiB per idle link.
pub const BIDI_STREAMS_START: u32 = 64;

/// Unidirectional streams that a peer may have open at once.
const UNI_STREAMS: u32 = 4;

/// Unacknowledged bytes per link: more than any path needs, so that only the congestion controller decides.
const SEND_WINDOW_BYTES: u64 = 1024 * 1024 * 1024;

/// How often something is sent on a silent link, so that NAT bindings live and silence can be noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// After this much silence a link is dead and its exchanges fail.
const DEAD_AFTER_MS: u32 = 20_000;

/// What both sides ask the kernel for on a UDP socket.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What a client may send before it has registered, in bytes: the largest control frame, with its length.
const REGISTRATION_BYTES: u32 = 65 * 1024;

/// Returns the transport settings of a link. Each side chooses how it sends.
pub fn config(congestion: Congestion) -> Arc<TransportConfig> {
    Arc::new(open(congestion))
}

/// Returns the transport settings of a connection whose peer has not registered yet: it may have a control stream with
/// one frame on it, and nothing else.
pub fn config_for_strangers(congestion: Congestion) -> Arc<TransportConfig> {
    let mut transport = open(congestion);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(REGISTRATION_BYTES));
    Arc::new(transport)
}

/// Gives a peer that has registered what [`config`] gives.
pub fn open_up(quic: &quinn::Connection) {
    quic.set_receive_window(VarInt::MAX);
    quic.set_max_concurrent_bi_streams(VarInt::from_u32(BIDI_STREAMS_START));
    quic.set_max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS));
}

fn open(congestion: Congestion) -> TransportConfig {
    let mut ack_frequency = AckFrequencyConfig::default();
    // A lone request must not wait for the peer's 25 ms delayed acknowledgement to be known as lost.
    ack_frequency.max_ack_delay(Some(Duration::from_millis(1)));
    ack_frequency.reordering_threshold(VarInt::from_u32(2));

    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS_START))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::MAX)
        .send_window(SEND_WINDOW_BYTES)
        // Off, one bulk transfer would starve every small exchange beside it.
        .send_fairness(true)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(DEAD_AFTER_MS))))
        .ack_frequency_config(Some(ack_frequency))
        // For the probes behind what is written; nobody reads them.
        .datagram_receive_buffer_size(Some(tail::DATAGRAM_BYTES));
    match congestion {
        Congestion::Adaptive => transport.congestion_controller_factory(Arc::new(Adaptive)),
        Congestion::Cubic => transport.congestion_controller_factory(Arc::new(CubicConfig::default())),
    };
    transport
}

/// Binds a UDP socket with large buffers, for IPv4 and IPv6 alike where `address` is an IPv6 wildcard.
///
/// # Errors
///
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    enlarge_buffers(&socket)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn enlarge_buffers(socket: &Socket) -> io::Result<()> {
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    let got = socket.recv_buffer_size()?;
    if got < SOCKET_BUFFER_BYTES {
        // One link rarely needs it; the log of every start-up and reconnect does not either.
        static TOLD: std::sync::Once = std::sync::Once::new();
        TOLD.call_once(|| {
            tracing::info!(
                bytes = got,
                "small UDP receive buffer, fast transfers may lose packets; for more: sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES} net.core.wmem_max={SOCKET_BUFFER_BYTES}"
            );
        });
    }
    Ok(())
}
