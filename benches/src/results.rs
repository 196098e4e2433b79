//! The raw results of a run: everything that a report is made of, as JSON.

use crate::competitor::Name;
use crate::work::{Place, Work};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

const FORMAT: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Results {
    format: u32,
    pub(crate) about: About,
    pub(crate) measurements: Vec<Measurement>,
}

/// When, of what, and on what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) rounds: usize,
    /// Whether it was only tried whether all of it works.
    pub(crate) is_quick: bool,
    /// A name and its value each.
    pub(crate) machine: Vec<(String, String)>,
    pub(crate) versions: Vec<(String, String)>,
}

/// One piece of work by one competitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    #[serde(flatten)]
    pub(crate) task: Task,
    pub(crate) competitor: Name,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) place: Place,
    pub(crate) work: Work,
    /// How much is moved, where that is what it does.
    pub(crate) bytes: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The samples of each round, in the unit of the work.
    Rounds(Vec<Vec<u64>>),
    /// Why it was not tried.
    Skipped(String),
    /// Why it did not work.
    Failed(String),
}

impl Outcome {
    /// Why it was not measured; empty where it was.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Rounds(_) => "",
            Self::Skipped(why) | Self::Failed(why) => why,
        }
    }
}

impl Results {
    pub(crate) fn new(about: About) -> Self {
        Self {
            format: FORMAT,
            about,
            measurements: Vec::new(),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let told = || format!("{} holds no results", path.display());
        let bytes = fs::read(path)
            .with_context(|| format!("cannot read {}; run scripts/bench first", path.display()))?;
        let results: Self = serde_json::from_slice(&bytes).with_context(told)?;
        ensure!(
            results.format == FORMAT,
            "{} has format {} and this program reads {FORMAT}; run scripts/bench again",
            path.display(),
            results.format
        );
        Ok(results)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string(self)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether anything was tried at all.
    pub(crate) fn has_any(&self) -> bool {
        let mut outcomes = self.measurements.iter().map(|each| &each.outcome);
        outcomes.any(|outcome| !matches!(outcome, Outcome::Skipped(_)))
    }

    /// Whether anything of that competitor's has worked there.
    pub(crate) fn has_measured(&self, place: Place, competitor: Name) -> bool {
        let mut its = self
            .measurements
            .iter()
            .filter(|each| each.competitor == competitor);
        its.any(|each| each.task.place == place && matches!(each.outcome, Outcome::Rounds(_)))
    }

    /// The rounds of a measurement that worked.
    pub(crate) fn rounds(&self, task: Task, competitor: Name) -> Option<&[Vec<u64>]> {
        let found = self
            .measurements
            .iter()
            .find(|each| each.task == task && each.competitor == competitor)?;
        match &found.outcome {
            Outcome::Rounds(rounds) => Some(rounds),
            Outcome::Skipped(_) | Outcome::Failed(_) => None,
        }
    }

    pub(crate) fn push(&mut self, task: Task, competitor: Name, outcome: Outcome) {
        self.measurements.push(Measurement {
            task,
            competitor,
            outcome,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_were_written_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/results.json");
        let mut results = Results::new(About::default());
        let task = Task {
            place: Place::Here,
            work: Work::Put,
            bytes: Some(1024),
        };
        results.push(task, Name::Ours, Outcome::Rounds(vec![vec![1, 2], vec![3]]));
        results.push(task, Name::OpenSsh, Outcome::Skipped("why".to_owned()));
        results.write(&path).unwrap();
        let read = Results::read(&path).unwrap();
        assert_eq!(read, results);
        assert_eq!(
            read.rounds(task, Name::Ours),
            Some(&[vec![1, 2], vec![3]][..])
        );
        assert_eq!(read.rounds(task, Name::OpenSsh), None);
        assert!(read.has_any());
    }

    #[test]
    fn results_of_another_format_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        let mut results = Results::new(About::default());
        results.format = 2;
        results.write(&path).unwrap();
        let error = Results::read(&path).unwrap_err().to_string();
        assert!(error.contains("run scripts/bench again"), "{error}");
    }
}
