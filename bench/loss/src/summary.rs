//! Results of several seeds as one.

use std::collections::BTreeMap;

use crate::{
    bulk::Downloaded,
    cell::{Cell, Scenario},
    contender::Contender,
    small::Answers,
    statistics::{QUANTILES, Spread},
    store::{Outcome, Run},
};

/// Summaries by what was run.
pub(crate) type Summaries = BTreeMap<(Scenario, Cell, Contender), Summary>;

/// What several runs of one contender over one path showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    /// Runs with a result.
    pub(crate) runs: usize,
    /// Runs that the lab threw away.
    pub(crate) thrown_away: u32,
    /// Why runs have no result.
    pub(crate) faults: Vec<String>,
    /// Latencies at [`QUANTILES`], over the runs.
    pub(crate) latency_ms: Vec<Spread>,
    /// Small requests of all runs.
    pub(crate) requests: u32,
    pub(crate) errors: u32,
    pub(crate) timeouts: u32,
    pub(crate) wrong: u32,
    /// What downloads got.
    pub(crate) mbit: Option<Spread>,
    /// Downloads that did not arrive whole.
    pub(crate) incomplete: usize,
}

impl Summary {
    /// Returns the latency at one of [`QUANTILES`].
    pub(crate) fn at_ms(&self, quantile: f64) -> Option<Spread> {
        let at = QUANTILES.iter().position(|known| known.total_cmp(&quantile).is_eq())?;
        self.latency_ms.get(at).copied()
    }

    fn of(runs: &[&Run]) -> Self {
        let mut summary = Self { thrown_away: runs.iter().map(|run| run.thrown_away).sum(), ..Self::default() };
        let mut measured = Vec::new();
        for run in runs {
            match &run.outcome {
                Outcome::Measured { measured: of_run, .. } => measured.push(of_run),
                Outcome::Failed(why) => summary.faults.push(why.clone()),
            }
        }
        summary.runs = measured.len();
        let small: Vec<&Answers> = measured.iter().filter_map(|measured| measured.small.as_ref()).collect();
        let bulk: Vec<&Downloaded> = measured.iter().filter_map(|measured| measured.bulk.as_ref()).collect();
        summary.add_small(&small);
        summary.mbit = Spread::of(bulk.iter().map(|bulk| bulk.mbit()));
        summary.incomplete = bulk.iter().filter(|bulk| !bulk.complete).count();
        summary
    }

    fn add_small(&mut self, runs: &[&Answers]) {
        for answers in runs {
            self.requests += answers.requests;
            self.errors += answers.errors;
            self.timeouts += answers.timeouts;
            self.wrong += answers.wrong;
        }
        let at = |index: usize| Spread::of(runs.iter().filter_map(|answers| answers.quantiles_ms.get(index).copied()));
        self.latency_ms = (0..QUANTILES.len()).filter_map(at).collect();
    }
}

/// Puts together the runs of each contender over each path.
pub(crate) fn summaries<'a>(runs: impl Iterator<Item = &'a Run>) -> Summaries {
    let mut grouped: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        grouped.entry((run.key.scenario, run.key.cell, run.key.contender)).or_default().push(run);
    }
    grouped.into_iter().map(|(key, runs)| (key, Summary::of(&runs))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::Loss, store::tests::run};

    #[test]
    fn runs_of_several_seeds_become_their_median_with_the_spread() {
        let mut failed = run(Contender::Adit, (20, 20), 4, 0.0, 0.0);
        failed.outcome = Outcome::Failed("no answer".to_owned());
        failed.thrown_away = 2;
        let runs = [
            run(Contender::Adit, (20, 20), 1, 21.0, 60.0),
            run(Contender::Adit, (20, 20), 2, 21.5, 40.0),
            run(Contender::Adit, (20, 20), 3, 22.0, 50.0),
            failed,
            run(Contender::Direct, (20, 20), 1, 23.0, 300.0),
        ];
        let summaries = summaries(runs.iter());
        let cell = Cell { rtt_ms: 20, loss_permille: Loss(20) };
        assert_eq!(summaries.len(), 2);
        let adit = &summaries[&(Scenario::Small, cell, Contender::Adit)];
        assert_eq!(adit.at_ms(0.5), Some(Spread { median: 21.5, min: 21.0, max: 22.0 }));
        assert_eq!(adit.at_ms(0.99), Some(Spread { median: 50.0, min: 40.0, max: 60.0 }));
        assert_eq!((adit.runs, adit.requests, adit.thrown_away), (3, 6000, 2));
        assert_eq!(adit.faults, ["no answer"]);
    }
}
