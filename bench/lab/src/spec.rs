//! What a run is to be like.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use bench_emulator::PathSpec;

/// The address in namespace A; programs find it in `LAB_A`.
pub const ADDRESS_A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The address in namespace B; programs find it in `LAB_B`.
pub const ADDRESS_B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// What a run is to be like.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// From A to B.
    pub path: PathSpec,
    /// From B to A.
    pub path_back: PathSpec,
    /// Which packets are lost: two runs with the same seed lose the packets with the same indices.
    pub seed: u64,
    /// The congestion control of every TCP connection across the path, as the kernel names it; the host's default
    /// where left out. It wins over what a program asks for before it connects.
    pub congestion: Option<String>,
    /// The run is thrown away if one packet in a hundred is delivered later than this after its time.
    pub late_max: Duration,
    /// How long B's program may take until it listens; A's starts then in any case.
    pub listen_within: Duration,
    /// How long A's program may take.
    pub time_limit: Duration,
    /// The TUN device.
    pub tun: PathBuf,
    /// Whether the run ends when the thread that asked for it does, killed or not.
    pub end_with_parent: bool,
}

impl Spec {
    /// Returns a run over a path that is the same both ways, with seed 1.
    pub fn new(path: PathSpec) -> Self {
        Self {
            path_back: path.clone(),
            path,
            seed: 1,
            congestion: None,
            late_max: Duration::from_millis(1),
            listen_within: Duration::from_secs(2),
            time_limit: Duration::from_secs(600),
            tun: "/dev/net/tun".into(),
            end_with_parent: true,
        }
    }
}
