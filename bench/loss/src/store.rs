//! The results, as one JSON file: a campaign can be split, resumed and put together.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    cell::{Cell, Scenario},
    contender::Contender,
    near::Measured,
};

/// What one run was of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) scenario: Scenario,
    pub(crate) cell: Cell,
    pub(crate) contender: Contender,
    pub(crate) seed: u64,
}

/// One run and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) key: Key,
    /// How long small requests were counted.
    pub(crate) seconds: u64,
    /// What was built.
    pub(crate) commit: String,
    /// How often it was repeated because the lab threw it away.
    pub(crate) thrown_away: u32,
    pub(crate) outcome: Outcome,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Measured {
        measured: Measured,
        path: Conditions,
    },
    /// Nothing was measured.
    Failed(String),
}

/// What the lab saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// How late one packet in a hundred was delivered at least.
    pub(crate) late_p99_us: f64,
    /// Packets that went into the path, both ways.
    pub(crate) sent: u64,
    /// Those that it lost at random.
    pub(crate) lost: u64,
    /// Those that found its queue full.
    pub(crate) overflowed: u64,
    /// TCP's congestion control, as the kernel named it afterwards.
    pub(crate) tcp: String,
}

/// All runs, one per key.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    runs: BTreeMap<Key, Run>,
}

impl Store {
    /// Reads a file; one that does not exist holds no runs.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let runs = match fs::read(&path) {
            Ok(json) => {
                let runs: Vec<Run> =
                    serde_json::from_slice(&json).with_context(|| format!("reading {}", path.display()))?;
                runs.into_iter().map(|run| (run.key, run)).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        Ok(Self { path, runs })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Whether there is such a run with as long a load; a failed one is to be made again.
    pub(crate) fn has(&self, key: Key, seconds: u64) -> bool {
        let found = self.runs.get(&key);
        found.is_some_and(|run| run.seconds == seconds && matches!(run.outcome, Outcome::Measured { .. }))
    }

    /// Adds a run in place of an earlier one with its key, and writes the file.
    pub(crate) fn add(&mut self, run: Run) -> anyhow::Result<()> {
        self.runs.insert(run.key, run);
        self.save()
    }

    /// Adds the runs of another file, in place of those with their keys, and writes this one.
    pub(crate) fn merge(&mut self, other: PathBuf) -> anyhow::Result<()> {
        anyhow::ensure!(other.exists(), "{} does not exist", other.display());
        self.runs.extend(Self::open(other)?.runs);
        self.save()
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Writes a new file and puts it in place of the old one, which stays whole if this fails.
    fn save(&self) -> anyhow::Result<()> {
        let save = || {
            let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::create_dir_all(dir)?;
            let new = self.path.with_extension("json.new");
            let lines: Vec<String> = self.runs.values().map(serde_json::to_string).collect::<Result<_, _>>()?;
            fs::write(&new, format!("[\n{}\n]\n", lines.join(",\n")))?;
            fs::rename(new, &self.path)
        };
        save().with_context(|| format!("writing {}", self.path.display()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{bulk::Downloaded, cell::Loss, small::Answers, statistics::QUANTILES};

    /// A run whose latencies grow from `p50_ms` at the median to `p99_ms` in the tail.
    pub(crate) fn run(contender: Contender, cell: (u32, u32), seed: u64, p50_ms: f64, p99_ms: f64) -> Run {
        let at = |quantile: &f64| if *quantile < 0.9 { p50_ms } else { p99_ms };
        let small = Answers { requests: 2000, quantiles_ms: QUANTILES.iter().map(at).collect(), ..Answers::default() };
        of(Scenario::Small, contender, cell, seed, Measured { small: Some(small), bulk: None })
    }

    pub(crate) fn download(contender: Contender, cell: (u32, u32), mbit: u32) -> Run {
        let bulk = Downloaded { bytes: u64::from(mbit) * 125_000, seconds: 1.0, complete: true, fault: None };
        of(Scenario::Bulk, contender, cell, 1, Measured { small: None, bulk: Some(bulk) })
    }

    fn of(scenario: Scenario, contender: Contender, cell: (u32, u32), seed: u64, measured: Measured) -> Run {
        let cell = Cell { rtt_ms: cell.0, loss_permille: Loss(cell.1) };
        let tcp = "cubic".to_owned();
        let path = Conditions { late_p99_us: 50.0, sent: 20_000, lost: 400, overflowed: 0, tcp };
        let outcome = Outcome::Measured { measured, path };
        let key = Key { scenario, cell, contender, seed };
        Run { key, seconds: 10, commit: "abc".to_owned(), thrown_away: 0, outcome }
    }

    #[test]
    fn what_is_written_is_read_again_and_merged_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path().join("a.json")).unwrap();
        store.add(run(Contender::Adit, (20, 20), 1, 21.0, 42.0)).unwrap();
        store.add(run(Contender::Adit, (20, 20), 2, 21.0, 42.0)).unwrap();
        let mut other = Store::open(dir.path().join("b.json")).unwrap();
        other.add(run(Contender::Adit, (20, 20), 2, 22.0, 44.0)).unwrap();
        other.add(download(Contender::Adit, (20, 20), 90)).unwrap();

        store.merge(dir.path().join("b.json")).unwrap();

        let again = Store::open(dir.path().join("a.json")).unwrap();
        assert_eq!(again.runs().cloned().collect::<Vec<_>>(), store.runs().cloned().collect::<Vec<_>>());
        let expected = [
            run(Contender::Adit, (20, 20), 1, 21.0, 42.0),
            run(Contender::Adit, (20, 20), 2, 22.0, 44.0),
            download(Contender::Adit, (20, 20), 90),
        ];
        assert_eq!(again.runs().cloned().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_run_that_failed_or_was_shorter_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path().join("a.json")).unwrap();
        let mut run = run(Contender::Adit, (20, 20), 1, 21.0, 42.0);
        store.add(run.clone()).unwrap();
        assert!(store.has(run.key, 10));
        assert!(!store.has(run.key, 20));
        run.outcome = Outcome::Failed("no answer".to_owned());
        store.add(run.clone()).unwrap();
        assert!(!store.has(run.key, 10));
    }

    #[test]
    fn a_file_that_holds_something_else_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, "{}").unwrap();
        assert!(Store::open(path.clone()).is_err());
        assert_eq!(fs::read_to_string(path).unwrap(), "{}");
    }
}
