//! The tables of the page: which works each has, and their rows.

use super::{NAMES, figure};
use crate::competitor::Name;
use crate::results::{Results, Task};
use crate::statistics::{median, p99, ratio};
use crate::work::{Place, Unit, Work};
use std::fmt::Write;

/// A table with its plot.
pub(crate) struct Table {
    /// The plot's file, without what all have in common.
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// Whether rates are shown.
    pub(crate) moves_bytes: bool,
    pub(crate) rows: Vec<Row>,
}

/// One competitor's samples of one work.
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) name: Name,
    pub(crate) bytes: Option<u64>,
    pub(crate) median: u64,
    pub(crate) p99: u64,
    ratio: Option<f64>,
    samples: usize,
}

/// File, title, place, works.
type Plan = (&'static str, &'static str, Place, &'static [Work]);

const REQUESTS: &[Work] = &[
    Work::PingOnOneProcessor,
    Work::Ping,
    Work::PingBesideStreams,
];
const COMMANDS: &[Work] = &[
    Work::RunShellOnOneProcessor,
    Work::RunShell,
    Work::RunBareOnOneProcessor,
    Work::RunBare,
    Work::InARow,
    Work::AtOnce,
];
const MEMORY: &[Work] = &[
    Work::IdleResident,
    Work::IdleUnshared,
    Work::BusyResident,
    Work::BusyUnshared,
    Work::StalledResident,
    Work::FloodResident,
];
const PLANS: [Plan; 12] = [
    ("requests", "Requests", Place::Here, REQUESTS),
    ("commands", "Commands", Place::Here, COMMANDS),
    ("output", "A command's output", Place::Here, &[Work::Output]),
    ("put", "put_file", Place::Here, &[Work::Put]),
    ("get", "get_file", Place::Here, &[Work::Get]),
    ("start", "Start", Place::Here, &[Work::Start]),
    ("memory", "Memory", Place::Here, MEMORY),
    ("vm-requests", "Requests in a VM", Place::Vm, REQUESTS),
    ("vm-commands", "Commands in a VM", Place::Vm, COMMANDS),
    (
        "vm-output",
        "A command's output in a VM",
        Place::Vm,
        &[Work::Output],
    ),
    ("vm-put", "put_file in a VM", Place::Vm, &[Work::Put]),
    ("vm-get", "get_file in a VM", Place::Vm, &[Work::Get]),
];

/// The tables for which there are results.
pub(crate) fn all(results: &Results) -> Vec<Table> {
    let tables = PLANS.iter().map(|plan| table(results, *plan));
    tables.filter(|table| !table.rows.is_empty()).collect()
}

fn table(results: &Results, (file, title, place, works): Plan) -> Table {
    let mut rows = Vec::new();
    for work in works {
        let mut tasks: Vec<Task> = results
            .measurements
            .iter()
            .map(|each| each.task)
            .filter(|task| task.place == place && task.work == *work)
            .collect();
        tasks.sort_unstable();
        tasks.dedup();
        for task in tasks {
            rows.extend(NAMES.iter().filter_map(|name| row(results, task, *name)));
        }
    }
    Table {
        file,
        title,
        unit: works[0].unit(),
        moves_bytes: works[0].moves_bytes(),
        rows,
    }
}

fn row(results: &Results, task: Task, name: Name) -> Option<Row> {
    let rounds = results.rounds(task, name)?;
    Some(Row {
        work: figure::title(task, results.about.is_quick),
        name,
        bytes: task.bytes,
        median: median(rounds),
        p99: p99(rounds),
        ratio: to_floor(results, task, name),
        samples: rounds.iter().map(Vec::len).sum(),
    })
}

/// How a competitor compares with the floor: its time in the floor's, or of the floor's rate its own.
pub(crate) fn to_floor(results: &Results, task: Task, name: Name) -> Option<f64> {
    if task.work.unit() != Unit::Nanoseconds {
        return None;
    }
    let own = results.rounds(task, name)?;
    let floor = results.rounds(task, Name::Floor)?;
    match task.work.moves_bytes() {
        true => ratio(floor, own),
        false => ratio(own, floor),
    }
}

impl Table {
    /// Whether anything is compared with the floor.
    fn has_floor(&self) -> bool {
        self.rows.iter().any(|row| row.ratio.is_some())
    }

    pub(crate) fn markdown(&self, image: &str) -> String {
        let title = self.title;
        let mut text = format!("\n## {title}\n\n");
        let rate = if self.moves_bytes { " rate |" } else { "" };
        let line = if self.moves_bytes { "---|" } else { "" };
        let floor = if self.has_floor() { " × floor |" } else { "" };
        let floor_line = if self.has_floor() { "---|" } else { "" };
        let _ = writeln!(text, "| | |{rate} median | p99 |{floor} samples |");
        let _ = writeln!(text, "|---|---|{line}---|---|{floor_line}---|");
        for row in &self.rows {
            let (work, name) = (&row.work, row.name.title());
            let rate = match row.bytes.filter(|_| self.moves_bytes) {
                Some(bytes) => {
                    let rate = figure::three_digits(figure::rate(bytes, row.median));
                    format!(" {rate} MB/s |")
                }
                None => String::new(),
            };
            let median = figure::sample(self.unit, row.median);
            let p99 = figure::sample(self.unit, row.p99);
            let ratio = match row.ratio {
                Some(ratio) => format!(" {ratio:.2} |"),
                None if self.has_floor() => " |".to_owned(),
                None => String::new(),
            };
            let _ = writeln!(
                text,
                "| {work} | {name} |{rate} {median} | {p99} |{ratio} {} |",
                row.samples
            );
        }
        let _ = writeln!(text, "\n![{title}](img/{image})");
        text
    }
}
