//! Quantiles of a run, and medians and spreads over runs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The quantiles that are kept of every run: enough to draw its distribution down to one request in a thousand.
pub(crate) const QUANTILES: [f64; 22] = [
    0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995,
    0.999, 1.0,
];

/// Latencies of one run.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// Makes a collection for latencies up to `longest`, exact to a thousandth.
    pub(crate) fn new(longest: Duration) -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, micros(longest).max(2), 3)?))
    }

    /// Adds one; more than the longest counts as the longest.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.saturating_record(micros(latency).max(1));
    }

    /// Returns the latencies at [`QUANTILES`].
    pub(crate) fn quantiles_ms(&self) -> Vec<f64> {
        QUANTILES.iter().map(|quantile| self.at_ms(*quantile)).collect()
    }

    fn at_ms(&self, quantile: f64) -> f64 {
        let micros = match quantile {
            0.0 => self.0.min(),
            quantile => self.0.value_at_quantile(quantile),
        };
        // A quotient of whole numbers, which is short in the results.
        u32::try_from(micros).map_or(f64::INFINITY, f64::from) / 1e3
    }
}

/// What several runs of the same thing showed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns `None` where there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, min, max })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn quantiles_are_exact_to_a_thousandth() {
        let mut latencies = Latencies::new(Duration::from_secs(10)).unwrap();
        for millis in 1..=1000 {
            latencies.add(Duration::from_millis(millis));
        }
        let quantiles = latencies.quantiles_ms();
        for (quantile, expected) in [(0.0, 1.0), (0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let at = QUANTILES.iter().position(|known| *known == quantile).unwrap();
            assert!((quantiles[at] / expected - 1.0).abs() < 0.001, "{quantile}: {}", quantiles[at]);
        }
    }

    #[test]
    fn a_latency_beyond_the_longest_counts_as_the_longest() {
        let mut latencies = Latencies::new(Duration::from_secs(10)).unwrap();
        latencies.add(Duration::from_secs(3600));
        let longest = *latencies.quantiles_ms().last().unwrap();
        assert!((longest / 10_000.0 - 1.0).abs() < 0.01, "{longest}");
    }
}
