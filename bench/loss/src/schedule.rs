//! When requests come: a Poisson process, as from many visitors who know nothing of each other.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) number: u64,
    /// When it was to be sent, from which its latency counts.
    pub(crate) at: Instant,
}

/// Returns the times of all requests within `length`, `per_second` of them on average.
pub(crate) fn poisson(per_second: f64, length: Duration, seed: u64) -> Vec<Duration> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at = 0.0;
    let gaps = std::iter::from_fn(|| {
        // 1 - u is never 0.
        at += -(1.0 - random.f64()).ln() / per_second;
        Some(Duration::from_secs_f64(at))
    });
    gaps.take_while(|at| *at < length).collect()
}

/// Announces requests when they are due, from a thread of its own: tokio's timers only know milliseconds.
///
/// The thread ends with the last request, or when nobody listens any more.
pub(crate) fn announce(times: Vec<Duration>, start: Instant) -> mpsc::UnboundedReceiver<Arrival> {
    let (announce, arrivals) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for (number, time) in (0..).zip(times) {
            let at = start + time;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if announce.send(Arrival { number, at }).is_err() {
                return;
            }
        }
    });
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_at_the_rate_that_was_asked_for() {
        let times = poisson(200.0, Duration::from_secs(100), 1);
        let count = f64::from(u32::try_from(times.len()).unwrap());
        // Five standard deviations.
        assert!((count - 20_000.0).abs() < 5.0 * 20_000_f64.sqrt(), "{count}");
        assert!(times.is_sorted());
    }

    #[test]
    fn gaps_are_exponential() {
        let times = poisson(200.0, Duration::from_secs(500), 2);
        let longer = times.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(5)).count();
        let share = f64::from(u32::try_from(longer).unwrap()) / f64::from(u32::try_from(times.len()).unwrap());
        // One mean gap is exceeded by 1/e of them.
        assert!((share - (-1_f64).exp()).abs() < 0.01, "{share}");
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let length = Duration::from_secs(1);
        assert_eq!(poisson(200.0, length, 3), poisson(200.0, length, 3));
        assert_ne!(poisson(200.0, length, 3), poisson(200.0, length, 4));
    }

    #[tokio::test]
    async fn no_request_is_announced_before_its_time() {
        let start = Instant::now();
        let mut arrivals = announce(vec![Duration::from_millis(2), Duration::from_millis(5)], start);
        let mut numbers = Vec::new();
        while let Some(arrival) = arrivals.recv().await {
            assert!(Instant::now() >= arrival.at);
            numbers.push(arrival.number);
        }
        assert_eq!(numbers, [0, 1]);
    }
}
