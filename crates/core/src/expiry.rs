//! When to say that a certificate ends.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// At most 30 days.
    Month,
    /// At most 7 days.
    Week,
    /// At most a day.
    Day,
    /// It has ended.
    Over,
}

/// Returns the stage of a certificate that has so long left; none where that is longer than 30 days.
pub fn stage(left: Duration) -> Option<Stage> {
    if left.is_zero() {
        return Some(Stage::Over);
    }
    let stages = [(1, Stage::Day), (7, Stage::Week), (30, Stage::Month)];
    stages.into_iter().find(|(days, _)| left <= DAY * *days).map(|(_, stage)| stage)
}

/// Returns whether to say so now, where it was said for the last time at some stage and so long ago: once a day, and at
/// once when it gets worse.
pub fn is_due(stage: Stage, said: Option<(Stage, Duration)>) -> bool {
    said.is_none_or(|(before, ago)| stage > before || ago >= DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_are_at_30_7_and_1_days() {
        let second = Duration::from_secs(1);
        for (left, expected) in [
            (DAY * 365, None),
            (DAY * 30 + second, None),
            (DAY * 30, Some(Stage::Month)),
            (DAY * 7 + second, Some(Stage::Month)),
            (DAY * 7, Some(Stage::Week)),
            (DAY + second, Some(Stage::Week)),
            (DAY, Some(Stage::Day)),
            (second, Some(Stage::Day)),
            (Duration::ZERO, Some(Stage::Over)),
        ] {
            assert_eq!(stage(left), expected, "{left:?}");
        }
    }

    #[test]
    fn it_is_said_once_a_day_and_when_it_gets_worse() {
        let hour = Duration::from_secs(3_600);
        assert!(is_due(Stage::Month, None));
        assert!(!is_due(Stage::Month, Some((Stage::Month, hour * 23))));
        assert!(is_due(Stage::Month, Some((Stage::Month, DAY))));
        assert!(is_due(Stage::Week, Some((Stage::Month, hour))));
    }
}
