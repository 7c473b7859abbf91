//! QUIC over an emulated path in virtual time: many seconds of network in one of the machine's, the same each time.
//!
//! A [`Network`] is one path with any number of hosts on either side; what they send shares the path's queue.
//! Everything runs on one thread, on a clock that only [`run`] advances, so that a busy machine changes nothing.
//!
//! ```
//! use bench_network::{Side, run};
//!
//! let path = "delay=10ms loss=1%".parse().expect("a path");
//! run(path, 1, async |network| {
//!     let (client, server) = network.connect(|_| {}).await;
//!     let mut stream = client.open_uni().await.expect("a stream");
//!     stream.write_all(b"hello").await.expect("written");
//!     stream.finish().expect("open");
//!     let mut stream = server.accept_uni().await.expect("a stream");
//!     assert_eq!(stream.read_to_end(10).await.expect("read"), b"hello");
//!     assert!(network.counts(Side::Left).sent > 0);
//! });
//! ```
//!
//! 1. [`wire`]: the path, and the datagrams that are under way
//! 2. [`socket`]: what quinn takes for a UDP socket
//! 3. [`network`]: hosts, connections and the clock

pub mod wire;
pub mod socket;
pub mod network;

pub use network::{Network, run};
pub use wire::Side;
