//! How well the emulator keeps its time.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::outcome::Lateness;

/// Later than this is all the same.
const WORST: Duration = Duration::from_secs(60);

/// How long after their time packets were delivered.
#[derive(Debug)]
pub(super) struct Late(Histogram<u64>);

impl Late {
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self(Histogram::new_with_max(nanos(WORST), 3)?))
    }

    pub(super) fn record(&mut self, late: Duration) {
        self.0.saturating_record(nanos(late));
    }

    pub(super) fn summary(&self, allowed: Duration) -> Lateness {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Lateness {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
            p99_allowed_us: allowed.as_secs_f64() * 1e6,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
