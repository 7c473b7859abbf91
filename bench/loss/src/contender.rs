//! What is compared.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A way for a request to cross the lossy path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// adit as it comes
    Adit,
    /// adit with a congestion control that takes every loss for congestion
    AditCubic,
    /// The older design on TCP cubic
    GrpcCubic,
    /// The older design on TCP bbr
    GrpcBbr,
    /// No tunnel: visitors' TCP cubic connections cross the path
    Direct,
    /// No tunnel: visitors' TCP bbr connections cross the path
    DirectBbr,
    /// rathole, plain TCP
    Rathole,
    /// frp over TCP
    FrpTcp,
    /// frp over QUIC
    FrpQuic,
    /// bore, plain TCP
    Bore,
    /// wstunnel over WebSocket and TLS
    Wstunnel,
    /// chisel over WebSocket and SSH
    Chisel,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Adit => "adit",
            Self::AditCubic => "adit-cubic",
            Self::GrpcCubic => "grpc-cubic",
            Self::GrpcBbr => "grpc-bbr",
            Self::Direct => "direct",
            Self::DirectBbr => "direct-bbr",
            Self::Rathole => "rathole",
            Self::FrpTcp => "frp-tcp",
            Self::FrpQuic => "frp-quic",
            Self::Bore => "bore",
            Self::Wstunnel => "wstunnel",
            Self::Chisel => "chisel",
        }
    }

    /// Returns the programs that it needs; `adit` and the baseline are built with the benchmark.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Adit | Self::AditCubic => &["adit"],
            Self::GrpcCubic | Self::GrpcBbr => &["baseline-grpc"],
            Self::Direct | Self::DirectBbr => &[],
            Self::Rathole => &["rathole"],
            Self::FrpTcp | Self::FrpQuic => &["frps", "frpc"],
            Self::Bore => &["bore"],
            Self::Wstunnel => &["wstunnel"],
            Self::Chisel => &["chisel"],
        }
    }

    /// Returns what TCP does across the path. Peers have what most systems have by default.
    pub(crate) fn tcp(self) -> Option<&'static str> {
        match self {
            Self::Adit | Self::AditCubic | Self::FrpQuic => None,
            Self::GrpcBbr | Self::DirectBbr => Some("bbr"),
            Self::GrpcCubic
            | Self::Direct
            | Self::Rathole
            | Self::FrpTcp
            | Self::Bore
            | Self::Wstunnel
            | Self::Chisel => Some("cubic"),
        }
    }

    /// Whether it runs unless it is named: what adit comes with, TCP, and the peers that are installed.
    pub(crate) fn by_default(self) -> bool {
        self != Self::AditCubic
    }

    pub(crate) fn is_direct(self) -> bool {
        self == Self::Direct || self == Self::DirectBbr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contender_is_called_in_results_as_on_the_command_line() {
        assert!(!Contender::value_variants().is_empty());
        for contender in Contender::value_variants() {
            let in_json = serde_json::to_string(contender).unwrap();
            let in_arguments = contender.to_possible_value().unwrap();
            assert_eq!(in_json, format!("\"{}\"", contender.name()));
            assert_eq!(in_arguments.get_name(), contender.name());
        }
    }
}
