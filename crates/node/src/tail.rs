//! A probe behind the last packet of what was written (the idea of tail loss probes, RFC 8985 §7).
//!
//! QUIC finds a packet lost when a later one has arrived. Behind the last packet of a response there is no later one:
//! its loss is noticed only when the probe timeout has passed, a probe has gone and its acknowledgement has come back,
//! three round trips where one would do. So some milliseconds after the last write, when nothing else was written,
//! two small packets follow. They carry a datagram (RFC 9221) of one byte that nobody reads.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::sleep};

/// How long nothing is written before a probe goes out: longer than it takes to write the parts of a response, much
/// shorter than a round trip.
const PAUSE: Duration = Duration::from_millis(2);

/// How many probes follow: one may be lost as well.
const PROBES: usize = 2;

/// What probes carry. quinn sends no packet without content.
const PROBE: Bytes = Bytes::from_static(b"\0");

/// How many bytes of datagrams a node keeps that it never reads: a few probes.
pub const DATAGRAM_BYTES: usize = 64;

/// Notices what is written to the streams of a link. Cloning makes another handle.
#[derive(Clone, Debug, Default)]
pub struct Tail(Arc<State>);

#[derive(Debug, Default)]
struct State {
    writes: AtomicU64,
    written: Notify,
}

impl Tail {
    /// Notes that something was written.
    pub fn wrote(&self) {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        self.0.written.notify_one();
    }

    /// Sends probes behind what is written, as long as it is polled; none to a peer that takes no datagrams.
    pub async fn follow(&self, quic: &quinn::Connection) -> Infallible {
        if quic.max_datagram_size().is_none() {
            return pending().await;
        }
        loop {
            self.0.written.notified().await;
            let mut probes = 0;
            let mut seen = self.0.writes.load(Ordering::Relaxed);
            while probes < PROBES {
                sleep(PAUSE).await;
                let writes = self.0.writes.load(Ordering::Relaxed);
                if writes == seen {
                    // Fails when the link is lost, and then it makes no difference.
                    let _ = quic.send_datagram(PROBE);
                    probes += 1;
                } else {
                    seen = writes;
                    probes = 0;
                }
            }
        }
    }
}
