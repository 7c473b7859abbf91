//! What is varied.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The rate of every path.
pub(crate) const RATE_MBIT: u32 = 100;

/// How much the bottleneck of every path holds.
pub(crate) const QUEUE_MS: u32 = 50;

/// What the load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// 1 KiB → 10 KiB, 200 a second
    Small,
    /// One download
    Bulk,
    /// 1 KiB → 10 KiB, 50 a second, beside 32 downloads
    Mixed,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Bulk => "bulk",
            Self::Mixed => "mixed",
        }
    }
}

/// The share of packets that are lost, the same in both directions, in tenths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Loss(pub(crate) u32);

impl Loss {
    pub(crate) fn percent(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    pub(crate) fn probability(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no percentage with at most one decimal, like 0.5");
        let (whole, tenths) = text.trim_end_matches('%').split_once('.').unwrap_or((text.trim_end_matches('%'), "0"));
        let whole: u32 = whole.parse().map_err(|_| fault())?;
        let tenths: u32 =
            Some(tenths).filter(|tenths| tenths.len() == 1).and_then(|t| t.parse().ok()).ok_or_else(fault)?;
        Some(whole.saturating_mul(10) + tenths).filter(|permille| *permille < 1000).map(Self).ok_or_else(fault)
    }
}

/// A path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// The round-trip time of an empty path.
    pub(crate) rtt_ms: u32,
    /// How many packets it loses.
    pub(crate) loss_permille: Loss,
}

impl Cell {
    /// Returns it as the lab wants it, one direction like the other.
    pub(crate) fn path(self) -> String {
        let (delay, loss) = (f64::from(self.rtt_ms) / 2.0, self.loss_permille.percent());
        format!("delay={delay}ms loss={loss}% rate={RATE_MBIT}mbit queue={QUEUE_MS}ms")
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms, {} loss", self.rtt_ms, self.loss_permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_read_in_tenths_of_a_percent() {
        assert_eq!("0.5".parse(), Ok(Loss(5)));
        assert_eq!("2".parse(), Ok(Loss(20)));
        assert_eq!("5%".parse(), Ok(Loss(50)));
        for not in ["", "0.25", "-1", "100", "x", "1.", "1.5.5"] {
            assert!(not.parse::<Loss>().is_err(), "{not}");
        }
    }

    #[test]
    fn a_path_has_half_of_the_round_trip_in_each_direction() {
        let cell = Cell { rtt_ms: 25, loss_permille: Loss(5) };
        assert_eq!(cell.path(), "delay=12.5ms loss=0.5% rate=100mbit queue=50ms");
    }
}
