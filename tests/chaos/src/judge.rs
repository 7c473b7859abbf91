//! Holds what came of the requests against what is promised.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    backend::{Ledger, Seen},
    director::{Events, RELOAD_WITHIN, Window},
    fault::Touch,
    lag::Lag,
    outcome::{Outcome, Trouble},
    promise::{Breach, Promise, UNTOUCHED},
    question::Kind,
    scene::Lane,
};

/// What came of all the requests.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// By the name of the fault, and how it touches.
    pub(crate) touched: BTreeMap<(String, Touch), Row>,
    pub(crate) untouched: Row,
    /// Broken promises, for people: what it is about, and each case.
    pub(crate) breaches: BTreeMap<String, Vec<String>>,
}

/// What came of some of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// How often the fault happened.
    pub(crate) times: u32,
    /// The longest time without a success in a lane.
    pub(crate) outage: Duration,
    pub(crate) requests: u32,
    /// By what was seen of the failure.
    pub(crate) failed: BTreeMap<String, u32>,
    pub(crate) corrupt: u32,
    pub(crate) twice: u32,
    pub(crate) late: u32,
    /// How long requests took to the heads of their responses, those that succeeded.
    pub(crate) to_head: Vec<Duration>,
}

/// What there is to judge by.
#[derive(Debug)]
pub(crate) struct Court<'a> {
    pub(crate) outcomes: &'a [Outcome],
    pub(crate) events: &'a Events,
    pub(crate) ledger: &'a Ledger,
    pub(crate) lag: &'a Lag,
    pub(crate) start: Instant,
}

impl Court<'_> {
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for window in &self.events.windows {
            for touch in Touch::ALL {
                let outages = Lane::ALL.into_iter().filter(|lane| window.fault.touches(*lane) == Some(touch));
                let Some(outage) = outages.map(|lane| self.outage(window, lane, touch)).max() else { continue };
                let row = verdict.touched.entry((window.fault.name(), touch)).or_default();
                row.times += 1;
                row.outage = row.outage.max(outage);
            }
        }
        for breach in &self.events.breaches {
            verdict.complain("A process".to_owned(), breach.clone());
        }
        for outcome in self.outcomes {
            self.judge_one(outcome, &mut verdict);
        }
        verdict
    }

    fn judge_one(&self, outcome: &Outcome, verdict: &mut Verdict) {
        let seen = self.ledger.seen(outcome.question.id);
        let touching: Vec<_> =
            self.events.windows.iter().filter_map(|it| Some((it, self.touch(it, outcome)?))).collect();
        let lag = self.lag.between(outcome.at, outcome.end);
        let breach_of = |window: &Window, touch| {
            let promise = Promise::under(&window.fault, touch);
            promise.broken_by(outcome, outcome.at + lag < window.begin, seen.broken > 0, lag)
        };
        // Where several faults touch it, one that explains it is enough: the last.
        let judged = touching.iter().rev().map(|(window, touch)| (breach_of(window, *touch), Some((*window, *touch))));
        let untouched = || (UNTOUCHED.broken_by(outcome, true, seen.broken > 0, lag), None);
        let (mut breach, by) = judged.min_by_key(|(breach, _)| breach.is_some()).unwrap_or_else(untouched);
        let twice = outcome.question.kind == Kind::Post && seen.times > 1;
        if twice || seen.wrong > 0 {
            breach = Some(Breach::Never);
        }
        let row = match by {
            Some((window, touch)) => verdict.touched.entry((window.fault.name(), touch)).or_default(),
            None => &mut verdict.untouched,
        };
        row.count(outcome, seen, twice, breach);
        if let Some(breach) = breach {
            let under = by.map_or("no fault".to_owned(), |(window, touch)| self.describe(window, touch));
            let about = format!("{breach:?}, {}, under {under}", outcome.lane.name());
            verdict.complain(about, self.describe_one(outcome, seen));
        }
        if let Some(stale) = self.stale(outcome, lag) {
            verdict.complain("An old configuration".to_owned(), stale);
        }
    }

    /// Returns how a fault touches a request, if it does.
    fn touch(&self, window: &Window, outcome: &Outcome) -> Option<Touch> {
        let touch = window.fault.touches(outcome.lane)?;
        let recovery = Promise::under(&window.fault, touch).recovery;
        // Just lifted, the machine may be busy with what starts again.
        let settled = window.lifted + recovery + self.lag.between(window.begin, window.lifted + recovery);
        (outcome.at <= settled && outcome.end >= window.begin).then_some(touch)
    }

    /// Returns the longest time without a success in a lane while a fault touches it.
    fn outage(&self, window: &Window, lane: Lane, touch: Touch) -> Duration {
        let settled = window.lifted + Promise::under(&window.fault, touch).recovery;
        let mut ends: Vec<_> = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.lane == lane && outcome.result.is_ok())
            .map(|outcome| outcome.end)
            .filter(|end| (window.begin..settled).contains(end))
            .collect();
        ends.extend([window.begin, settled]);
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Returns what is wrong with the configuration that a response shows.
    fn stale(&self, outcome: &Outcome, lag: Duration) -> Option<String> {
        let shown = outcome.generation?;
        let since = |time: Instant| {
            let known = self.events.generations.iter().filter(|(at, _)| *at <= time);
            known.map(|(_, generation)| *generation).max().unwrap_or_default()
        };
        // One that was in force when it was asked, or came while it was answered.
        let allowed = since(outcome.at - RELOAD_WITHIN - lag)..=since(outcome.end);
        (!allowed.contains(&shown)).then(|| {
            format!(
                "{:?}: {} shows configuration {shown} and not {allowed:?}",
                outcome.at - self.start,
                outcome.question
            )
        })
    }

    fn describe(&self, window: &Window, touch: Touch) -> String {
        let Window { fault, begin, lifted } = window;
        format!("{fault:?} ({touch:?}) at {:.1?} to {:.1?}", *begin - self.start, *lifted - self.start)
    }

    fn describe_one(&self, outcome: &Outcome, seen: Seen) -> String {
        let Outcome { question, at, head, end, result, .. } = outcome;
        let (at, after, head) = (*at - self.start, *end - *at, head.map(|head| head - *at));
        format!("at {at:.2?} {question}: {result:?} after {after:.2?}, head {head:.2?}, {seen:?}")
    }
}

impl Verdict {
    /// Notes a broken promise.
    pub(crate) fn complain(&mut self, about: String, case: String) {
        self.breaches.entry(about).or_default().push(case);
    }
}

impl Row {
    fn count(&mut self, outcome: &Outcome, seen: Seen, twice: bool, breach: Option<Breach>) {
        self.requests += 1;
        self.twice += u32::from(twice);
        self.late += u32::from(breach == Some(Breach::Late));
        self.corrupt += u32::from(seen.wrong > 0 || matches!(outcome.result, Err(Trouble::Corrupt(_))));
        match &outcome.result {
            Ok(()) => self.to_head.push(outcome.to_head().saturating_sub(outcome.question.takes())),
            Err(trouble) => *self.failed.entry(trouble.name()).or_default() += 1,
        }
    }

    /// Returns how many failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failed.values().sum()
    }
}

/// Returns how often each was seen, the most frequent first.
pub(crate) fn by_frequency(counts: &BTreeMap<String, u32>) -> Vec<(&str, u32)> {
    let mut counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}
