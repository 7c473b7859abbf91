//! The best value of the last while.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Remembers values for some time and returns the best of them, in time that does not depend on how many there are.
#[derive(Debug, Clone)]
pub(crate) struct Best<T> {
    span: Duration,
    is_better: fn(T, T) -> bool,
    /// Each is older and better than the one behind it.
    values: VecDeque<(Instant, T)>,
}

impl<T: Copy> Best<T> {
    pub(crate) fn new(span: Duration, is_better: fn(T, T) -> bool) -> Self {
        Self { span, is_better, values: VecDeque::new() }
    }

    /// Adds a value and forgets those older than the span.
    pub(crate) fn add(&mut self, now: Instant, value: T) {
        while self.values.back().is_some_and(|&(_, last)| !(self.is_better)(last, value)) {
            self.values.pop_back();
        }
        self.values.push_back((now, value));
        // The newest stays, however old: no value would be worse than an old one.
        while self.values.len() > 1 && self.values.front().is_some_and(|&(at, _)| now - at > self.span) {
            self.values.pop_front();
        }
    }

    /// Returns the best value that is not too old.
    pub(crate) fn get(&self) -> Option<T> {
        self.values.front().map(|&(_, value)| value)
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_forgotten_when_it_is_old() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut least = Best::new(Duration::from_secs(10), |a: u32, b| a < b);
        assert_eq!(least.get(), None);
        for (second, value, best) in [(0, 5, 5), (2, 3, 3), (4, 9, 3), (12, 7, 3), (13, 8, 7), (30, 20, 20)] {
            least.add(at(second), value);
            assert_eq!(least.get(), Some(best), "after {second} s");
        }
    }
}
