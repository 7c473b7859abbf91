//! How long a server takes to answer, as a moving average that believes bad news at once.

use std::time::Duration;

use super::stamped::Stamped;

/// How fast the past is forgotten: after this long without news, what was known counts 1/e.
const DECAY: Duration = Duration::from_secs(10);

/// The least that is taken for a latency, so that an average never becomes 0, which stands for "unknown".
const LEAST_SECONDS: f32 = 1e-6;

/// What is a long wait for a server of which nothing is known.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// A peak-sensitive, exponentially weighted moving average of latencies.
///
/// A latency above the average replaces it; one below it moves it down, the further the longer ago the last
/// one was. Without any it decays to nothing, so that a server that was slow is tried again (Finagle,
/// `com.twitter.finagle.loadbalancer.PeakEwma`).
///
/// Times are since any fixed start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency(Stamped);

impl Latency {
    /// Returns the average after its first sample.
    pub fn first(sample: Duration, now: Duration) -> Self {
        Self(Stamped::new(sample.as_secs_f32().max(LEAST_SECONDS), now))
    }

    /// Returns the average with another sample in it.
    #[must_use]
    pub fn observe(self, sample: Duration, now: Duration) -> Self {
        let sample = sample.as_secs_f32();
        if sample >= self.0.seconds {
            return Self(Stamped::new(sample, now));
        }
        let elapsed = self.0.elapsed(now);
        if elapsed.is_zero() {
            return self;
        }
        let kept = kept_after(elapsed);
        let seconds = (self.0.seconds * kept + sample * (1.0 - kept)).max(LEAST_SECONDS);
        Self(Stamped::new(seconds, now))
    }

    /// Returns what is known after a wait that brought no answer: a short one, ended by whoever asked or by a
    /// refusal, says nothing, and a long one is bad news.
    pub fn waited(known: Option<Self>, wait: Duration, now: Duration) -> Option<Self> {
        match known {
            Some(known) if wait > known.average() => Some(known.observe(wait, now)),
            Some(known) => Some(known),
            None => (wait > LONG_WAIT).then(|| Self::first(wait, now)),
        }
    }

    /// Returns the average as it was when it was last moved: what to expect of a server that owes answers.
    pub fn average(self) -> Duration {
        Duration::try_from_secs_f32(self.0.seconds).unwrap_or(Duration::MAX)
    }

    /// Returns the average with the time that has passed since: what to expect of a server that has nothing to
    /// do.
    pub fn estimate(self, now: Duration) -> Duration {
        let seconds = (self.0.seconds * kept_after(self.0.elapsed(now))).max(LEAST_SECONDS);
        Duration::try_from_secs_f32(seconds).unwrap_or(Duration::MAX)
    }

    /// Returns it as one number, so that one atomic can hold it; never 0.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// Returns what [`Latency::to_bits`] made the number of; `None` for 0.
    pub fn from_bits(bits: u64) -> Option<Self> {
        Stamped::from_bits(bits).map(Self)
    }
}

/// How much of the past counts after a time.
fn kept_after(elapsed: Duration) -> f32 {
    (-elapsed.as_secs_f32() / DECAY.as_secs_f32()).exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_slowly() {
        let calm = Latency::first(ms(10), ms(0));
        let peak = calm.observe(ms(900), ms(1));
        assert!((ms(899)..ms(901)).contains(&peak.estimate(ms(1))));
        let mut after = peak;
        for now in 2..=1_001 {
            after = after.observe(ms(10), ms(now));
        }
        // One second of good news: exp(-0.1) of the peak is still there.
        assert!((ms(800)..ms(830)).contains(&after.estimate(ms(1_001))), "{after:?}");
    }

    #[test]
    fn without_news_a_slow_server_looks_fast_again() {
        let slow = Latency::first(ms(2_000), ms(0));
        assert!(slow.estimate(ms(10_000)) < ms(740));
        assert!(slow.estimate(ms(120_000)) < ms(1));
        assert!(slow.estimate(ms(1_000_000)) > Duration::ZERO);
    }

    #[test]
    fn a_wait_without_an_answer_is_bad_news_or_none() {
        let latency = Latency::first(ms(100), ms(0));
        assert_eq!(Latency::waited(Some(latency), ms(90), ms(5_000)), Some(latency));
        assert_eq!(Latency::waited(Some(latency), ms(30_000), ms(30_000)).unwrap().average(), ms(30_000));
        assert_eq!(Latency::waited(None, ms(90), ms(90)), None);
        assert_eq!(Latency::waited(None, ms(30_000), ms(30_000)).unwrap().average(), ms(30_000));
    }

    #[test]
    fn the_clock_may_wrap_and_may_be_late() {
        let near_wrap = ms(u64::from(u32::MAX) - 500);
        let before = Latency::first(ms(100), near_wrap);
        assert!((ms(88)..ms(92)).contains(&before.estimate(near_wrap + ms(1_000))));
        assert!((ms(99)..ms(101)).contains(&before.estimate(near_wrap - ms(3))));
    }

    proptest! {
        #[test]
        fn it_stays_between_the_smallest_and_the_largest_sample(
            samples in prop::collection::vec((1..60_000_u64, 0..5_000_u64), 1..50)
        ) {
            let (least, most) = (samples.iter().map(|s| s.0).min().unwrap(), samples.iter().map(|s| s.0).max().unwrap());
            let mut now = ms(0);
            let mut latency = Latency::first(ms(samples[0].0), now);
            for (sample, gap) in &samples[1..] {
                now += ms(*gap);
                latency = latency.observe(ms(*sample), now);
            }
            let estimate = latency.estimate(now);
            prop_assert!(estimate >= ms(least).mul_f64(0.999) && estimate <= ms(most).mul_f64(1.001), "{estimate:?}");
        }

        #[test]
        fn it_fits_into_one_number(sample in 0..10_000_000_000_u64, now in 0..10_000_000_000_u64) {
            let latency = Latency::first(Duration::from_nanos(sample), ms(now));
            prop_assert_ne!(latency.to_bits(), 0);
            prop_assert_eq!(Latency::from_bits(latency.to_bits()), Some(latency));
        }
    }
}
