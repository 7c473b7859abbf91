//! Whether something grows: a line through what was measured.

use std::time::Duration;

/// A line through points, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    /// The mean of what was measured.
    pub(crate) mean: f64,
    /// How much more each minute.
    pub(crate) per_minute: f64,
    /// Its standard error.
    error: f64,
    minutes: f64,
}

impl Growth {
    /// Lays a line through what was measured when, in the order of time.
    pub(crate) fn of(points: &[(Duration, f64)]) -> Self {
        let count = points.len().max(1) as f64;
        let minutes = |at: &Duration| at.as_secs_f64() / 60.0;
        let (mean_x, mean) = (
            points.iter().map(|(at, _)| minutes(at)).sum::<f64>() / count,
            points.iter().map(|(_, value)| value).sum::<f64>() / count,
        );
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            points.iter().map(|(at, value)| of(minutes(at) - mean_x, value - mean)).sum::<f64>()
        };
        let spread = sum(&|x, _| x * x).max(f64::MIN_POSITIVE);
        let per_minute = sum(&|x, y| x * y) / spread;
        let rest = sum(&|x, y| (y - per_minute * x).powi(2));
        let error = (rest / (count - 2.0).max(1.0) / spread).sqrt();
        let ends = points.first().zip(points.last());
        let minutes = ends.map_or(0.0, |((first, _), (last, _))| minutes(last) - minutes(first));
        Self { mean, per_minute, error, minutes }
    }

    /// Returns whether it clearly grows: by more than `allowed` all in all, and more than chance explains.
    pub(crate) fn is_clear(&self, allowed: f64) -> bool {
        self.per_minute * self.minutes > allowed && self.per_minute > 4.0 * self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(value: impl Fn(f64) -> f64) -> Vec<(Duration, f64)> {
        (0..600_u32).map(|second| (Duration::from_secs(second.into()), value(f64::from(second)))).collect()
    }

    #[test]
    fn a_leak_is_clear_and_a_wave_is_not() {
        let leak = Growth::of(&points(|second| 1000.0 + second / 10.0 + 50.0 * (second / 7.0).sin()));
        assert!((leak.per_minute - 6.0).abs() < 1.0, "{leak:?}");
        assert!(leak.is_clear(40.0), "{leak:?}");
        assert!(!leak.is_clear(80.0), "{leak:?}");
        let wave = Growth::of(&points(|second| 1000.0 + 50.0 * (second / 7.0).sin()));
        assert!(!wave.is_clear(5.0), "{wave:?}");
    }

    #[test]
    fn nothing_measured_does_not_grow() {
        assert!(!Growth::of(&[]).is_clear(0.0));
    }
}
