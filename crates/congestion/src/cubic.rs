//! How to grow against flows that fill queues: CUBIC's window (RFC 9438), in packets.

use std::time::{Duration, Instant};

/// How fast the window comes back (RFC 9438 §5.1).
const C: f64 = 0.4;

/// What is left of the window after congestion (RFC 9438 §4.6).
const BETA: f64 = 0.7;

/// The window of a flow among CUBIC's.
#[derive(Debug, Clone)]
pub(crate) struct Cubic {
    /// The window before the last congestion.
    packets_max: f64,
    /// When that was.
    since: Instant,
    /// How long it takes to come back to it.
    back_after: f64,
    /// What Reno's window would be, which CUBIC never stays below (RFC 9438 §4.3).
    reno: f64,
}

impl Cubic {
    /// Begins with a window that has met no congestion yet.
    pub(crate) fn new(now: Instant, packets: f64) -> Self {
        Self { packets_max: packets, since: now, back_after: 0.0, reno: packets }
    }

    /// Returns the window after another round.
    pub(crate) fn grown(&mut self, now: Instant, rtt: Duration, packets: f64) -> f64 {
        let alpha = 3.0 * (1.0 - BETA) / (1.0 + BETA);
        self.reno += if self.reno < self.packets_max { alpha } else { 1.0 };
        let after = (now.saturating_duration_since(self.since) + rtt).as_secs_f64() - self.back_after;
        let cubic = C * after.powi(3) + self.packets_max;
        // RFC 9438 §4.4: no faster than by half in a round.
        cubic.max(self.reno).clamp(packets, packets * 1.5)
    }

    /// Returns the window after congestion.
    pub(crate) fn cut(&mut self, now: Instant, packets: f64) -> f64 {
        // RFC 9438 §4.7: a flow that did not come back to where it was makes room for another.
        self.packets_max = if packets < self.packets_max { packets * (1.0 + BETA) / 2.0 } else { packets };
        let left = packets * BETA;
        self.since = now;
        self.back_after = ((self.packets_max - left).max(0.0) / C).cbrt();
        self.reno = left;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_comes_back_when_the_rfc_says() {
        let start = Instant::now();
        let rtt = Duration::from_millis(100);
        let mut cubic = Cubic::new(start, 1000.0);
        let mut window = cubic.cut(start, 1000.0);
        assert!((window - 700.0).abs() < 1e-9);
        // K = cbrt(300 / 0.4) = 9.1 s
        let mut rounds = 0;
        while window < 999.0 {
            rounds += 1;
            window = cubic.grown(start + rtt * rounds, rtt, window);
        }
        assert!((75..95).contains(&rounds), "{rounds} rounds of 100 ms");
    }

    #[test]
    fn a_small_window_grows_as_fast_as_reno() {
        let start = Instant::now();
        let rtt = Duration::from_millis(10);
        let mut cubic = Cubic::new(start, 20.0);
        let mut window = cubic.cut(start, 20.0);
        for round in 1..=12 {
            window = cubic.grown(start + rtt * round, rtt, window);
        }
        // 14 packets, and 9/17 more each round: over 20 from the 12th on.
        assert!((20.0..22.0).contains(&window), "{window}");
    }
}
