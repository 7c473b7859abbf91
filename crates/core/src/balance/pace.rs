//! How long a member of a group takes to answer, as an average that old news does not count in.

use std::time::Duration;

use super::stamped::Stamped;

/// How fast the past is forgotten while there is news: after this long it counts 1/e.
const DECAY: Duration = Duration::from_secs(2);

/// How old news may be: then nothing is known, and the next request finds out.
const NEWS: Duration = Duration::from_secs(5);

/// What counts as fast: members that answer sooner differ in what they have to do, and in nothing else.
const FAST_SECONDS: f32 = 0.010;

/// A moving average of the time to a response head.
///
/// Each sample weighs as much as the time since the one before, so that among many quick answers a report that takes
/// long does not make its member a slow one, as it would with [`Latency`](super::latency::Latency): the members of a
/// group answer anything.
///
/// Times are since any fixed start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(Stamped);

impl Pace {
    /// Returns the average with another sample in it.
    pub fn observe(known: Option<Self>, sample: Duration, now: Duration) -> Self {
        let sample = sample.as_secs_f32();
        let Some(Self(known)) = known.filter(|known| known.is_news(now)) else {
            return Self(Stamped::new(sample, now));
        };
        let kept = (-known.elapsed(now).as_secs_f32() / DECAY.as_secs_f32()).exp();
        Self(Stamped::new(known.seconds * kept + sample * (1.0 - kept), now))
    }

    /// Returns how long a new exchange is likely to take behind those in flight, to be compared with other members'.
    pub fn cost(known: Option<Self>, in_flight: u32, now: Duration) -> f32 {
        let seconds = known.filter(|known| known.is_news(now)).map_or(FAST_SECONDS, |known| known.0.seconds);
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^24 exchanges on one link")]
        let after = in_flight as f32 + 1.0;
        seconds.max(FAST_SECONDS) * after
    }

    /// Returns it as one number, so that one atomic can hold it; never 0.
    pub fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// Returns what [`Pace::to_bits`] made the number of; `None` for 0.
    pub fn from_bits(bits: u64) -> Option<Self> {
        Stamped::from_bits(bits).map(Self)
    }

    fn is_news(self, now: Duration) -> bool {
        self.0.elapsed(now) <= NEWS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A member that has answered every 4 ms for `seconds`, each time after `sample`.
    fn answering(known: Option<Pace>, from: u64, seconds: u64, sample: Duration) -> Option<Pace> {
        let mut known = known;
        for now in (from..from + seconds * 1_000).step_by(4) {
            known = Some(Pace::observe(known, sample, ms(now)));
        }
        known
    }

    #[test]
    fn members_that_are_fast_differ_only_in_what_they_have_to_do() {
        let (faster, fast) = (answering(None, 0, 1, ms(1)), answering(None, 0, 1, ms(9)));
        let now = ms(1_000);
        assert_eq!(Pace::cost(faster, 3, now), Pace::cost(fast, 3, now));
        assert_eq!(Pace::cost(None, 3, now), Pace::cost(fast, 3, now));
        assert!(Pace::cost(faster, 4, now) > Pace::cost(fast, 3, now));
    }

    #[test]
    fn a_slow_member_loses_its_share_within_seconds_and_gets_it_back() {
        let fast = answering(None, 0, 10, ms(5));
        let slow = answering(fast, 10_000, 3, ms(500));
        assert!(Pace::cost(slow, 0, ms(13_000)) > Pace::cost(fast, 30, ms(10_000)));
        let again = answering(slow, 13_000, 10, ms(5));
        assert!(Pace::cost(again, 1, ms(23_000)) < Pace::cost(fast, 2, ms(10_000)));
    }

    #[test]
    fn one_long_answer_among_many_short_ones_says_little() {
        let fast = answering(None, 0, 10, ms(5));
        let after = Some(Pace::observe(fast, ms(5_000), ms(10_000)));
        assert!(Pace::cost(after, 0, ms(10_000)) < Pace::cost(fast, 2, ms(10_000)));
    }

    #[test]
    fn what_was_slow_long_ago_is_tried_again_and_judged_by_that_alone() {
        let slow = answering(None, 0, 10, ms(800));
        assert!(Pace::cost(slow, 0, ms(14_900)) > 0.7);
        assert!(Pace::cost(slow, 0, ms(15_100)) < 0.011);
        let after = Some(Pace::observe(slow, ms(2), ms(15_100)));
        assert!(Pace::cost(after, 0, ms(15_100)) < 0.011);
    }

    proptest! {
        #[test]
        fn it_survives_the_trip_through_an_atomic(sample in 0..100_000_u64, now in 0..u64::MAX / 2) {
            let pace = Pace::observe(None, ms(sample), ms(now));
            let back = Pace::from_bits(pace.to_bits()).unwrap();
            prop_assert_eq!(Pace::cost(Some(back), 2, ms(now)), Pace::cost(Some(pace), 2, ms(now)));
            prop_assert_eq!(Pace::from_bits(0), None);
        }

        #[test]
        fn it_stays_between_the_least_and_the_most(samples in prop::collection::vec((0..9_000_u64, 0..3_000_u64), 1..50)) {
            let (mut pace, mut now) = (None, 0);
            let (mut least, mut most) = (u64::MAX, 0);
            for (sample, gap) in samples {
                now += gap;
                (least, most) = (least.min(sample), most.max(sample));
                pace = Some(Pace::observe(pace, ms(sample), ms(now)));
                let cost = Pace::cost(pace, 0, ms(now));
                prop_assert!(cost >= ms(least).as_secs_f32().max(0.010) * 0.999 && cost <= ms(most).as_secs_f32().max(0.010) * 1.001);
            }
        }
    }
}
