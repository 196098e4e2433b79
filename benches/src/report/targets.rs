//! What was aimed at, and whether it was reached.

use super::table::to_floor;
use crate::competitor::Name;
use crate::results::{Results, Task};
use crate::statistics::{median, p99};
use crate::work::{Place, Work};
use std::fmt::Write;

const KIB_A_MIB: f64 = 1024.0;

/// Something aimed at.
struct Target {
    what: &'static str,
    limit: Limit,
    unit: &'static str,
    reached: Option<f64>,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

fn all(results: &Results) -> Vec<Target> {
    use Limit::{AtLeast, AtMost};
    let ratio = |place, work| to_floor(results, largest(results, place, work)?, Name::Ours);
    let here = |work| ratio(Place::Here, work);
    let vm = |work| ratio(Place::Vm, work);
    let kib = |work| Some(figure(results, work)? as f64 / KIB_A_MIB);
    let target = |what, limit, unit, reached| Target {
        what,
        limit,
        unit,
        reached,
    };
    vec![
        target(
            "`run` of `sh -c true` on one processor, median, × spawn and wait",
            AtMost(1.25),
            "",
            here(Work::RunShellOnOneProcessor),
        ),
        target(
            "the same wherever the scheduler places it",
            AtMost(1.25),
            "",
            here(Work::RunShell),
        ),
        target(
            "`run` of `true` without a shell on one processor, median, × spawn and wait",
            AtMost(1.25),
            "",
            here(Work::RunBareOnOneProcessor),
        ),
        target(
            "the same wherever the scheduler places it",
            AtMost(1.25),
            "",
            here(Work::RunBare),
        ),
        target(
            "output, × the relay by `cat`",
            AtLeast(0.9),
            "",
            here(Work::Output),
        ),
        target(
            "`put_file` of the largest file, × a bare copy",
            AtLeast(0.8),
            "",
            here(Work::Put),
        ),
        target(
            "`get_file` of the largest file, × a bare copy",
            AtLeast(1.0),
            "",
            here(Work::Get),
        ),
        target(
            "`ping` on one processor, median, × a bare echo",
            AtMost(3.0),
            "",
            here(Work::PingOnOneProcessor),
        ),
        target(
            "the same wherever the scheduler places it",
            AtMost(3.0),
            "",
            here(Work::Ping),
        ),
        target(
            "`ping` beside the streams, p99, × its p99 when idle",
            AtMost(5.0),
            "",
            beside(results),
        ),
        target(
            "resident with 64 stalled requests of just under 64 KiB",
            AtMost(12.0),
            " MiB",
            kib(Work::StalledResident),
        ),
        target(
            "resident, whatever is sent",
            AtMost(48.0),
            " MiB",
            kib(Work::FloodResident),
        ),
        target(
            "resident memory more after the many requests, above or below",
            AtMost(5.0),
            " %",
            figure(results, Work::AfterManyGrowth).map(|growth| growth as f64 / 1e3),
        ),
        target(
            "descriptors, threads, processes and files left by them",
            AtMost(0.0),
            "",
            figure(results, Work::AfterManyLeft).map(|left| left as f64),
        ),
        target(
            "output in a VM, × a bare vsock copy",
            AtLeast(0.95),
            "",
            vm(Work::Output),
        ),
        target(
            "`put_file` of the largest file in a VM, × a bare vsock copy",
            AtLeast(0.95),
            "",
            vm(Work::Put),
        ),
        target(
            "`get_file` of the largest file in a VM, × a bare vsock copy",
            AtLeast(0.95),
            "",
            vm(Work::Get),
        ),
    ]
}

/// A work in its largest size.
fn largest(results: &Results, place: Place, work: Work) -> Option<Task> {
    let tasks = results.measurements.iter().map(|each| each.task);
    tasks
        .filter(|task| task.place == place && task.work == work)
        .max()
}

fn figure(results: &Results, work: Work) -> Option<u64> {
    let task = largest(results, Place::Here, work)?;
    Some(median(results.rounds(task, Name::Ours)?))
}

fn beside(results: &Results) -> Option<f64> {
    let of = |work| {
        let task = largest(results, Place::Here, work)?;
        Some(p99(results.rounds(task, Name::Ours)?) as f64)
    };
    Some(of(Work::PingBesideStreams)? / of(Work::Ping)?.max(1.0))
}

fn rows(results: &Results) -> Vec<[String; 4]> {
    let row = |target: Target| {
        let shown = |value: f64| format!("{value:.2}{}", target.unit);
        // A third digit, by which a limit may be missed.
        let measured = |value: f64| format!("{value:.3}{}", target.unit);
        let limit = match target.limit {
            Limit::AtMost(limit) => format!("at most {}", shown(limit)),
            Limit::AtLeast(limit) => format!("at least {}", shown(limit)),
        };
        let (reached, holds) = match target.reached {
            Some(value) if target.limit.holds(value) => (measured(value), "yes"),
            Some(value) => (measured(value), "no"),
            None => (String::new(), "not measured"),
        };
        [target.what.to_owned(), limit, reached, holds.to_owned()]
    };
    all(results).into_iter().map(row).collect()
}

/// What the limits that are told beside are made of.
const NOTES: &str = "
- Whatever is sent: 128 windows of 256 KiB and a request of 16 MiB, all of which the contract allows, are 48 MiB by themselves.
- Beside the streams a request waits for the scheduler, and the floor's does as well: see its p99 in the table.
- Where wake-ups go to other processors is the scheduler's choice, and a command's start has several.
- × is the median over the rounds of what each round says, which is another number than that of the medians where a floor varies from
  round to round.
";

/// The section of the page.
pub(crate) fn section(results: &Results) -> String {
    let mut text =
        "\n## Targets\n\n| of our agent | target | reached | |\n|---|---|---|---|\n".to_owned();
    for row in rows(results) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text += NOTES;
    text
}

/// The same for a terminal.
pub(crate) fn text(results: &Results) -> String {
    let mut text = String::new();
    if results.about.is_quick {
        text.push_str("A trial with few and small works: its figures mean nothing.\n");
    }
    for [what, limit, reached, holds] in rows(results) {
        let _ = writeln!(text, "{holds:<13} {what}: {limit}, reached {reached}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{About, Outcome};

    fn measured(work: Work, bytes: Option<u64>, name: Name, value: u64, results: &mut Results) {
        let task = Task {
            place: Place::Here,
            work,
            bytes,
        };
        results.push(task, name, Outcome::Rounds(vec![vec![value]]));
    }

    #[test]
    fn target_of_a_rate_is_reached_by_the_largest_file_alone() {
        let mut results = Results::new(About::default());
        for (bytes, ours) in [(1024, 900), (1 << 30, 125)] {
            measured(Work::Put, Some(bytes), Name::Floor, 100, &mut results);
            measured(Work::Put, Some(bytes), Name::Ours, ours, &mut results);
        }
        let told = text(&results);
        assert!(told.contains("yes           `put_file` of the largest file, × a bare copy: at least 0.80, reached 0.800\n"), "{told}");
    }

    #[test]
    fn what_was_not_measured_is_said_to_be_so() {
        let told = text(&Results::new(About::default()));
        assert!(
            told.lines().all(|line| line.starts_with("not measured")),
            "{told}"
        );
    }

    #[test]
    fn trial_says_that_its_figures_mean_nothing() {
        let about = About {
            is_quick: true,
            ..About::default()
        };
        let told = text(&Results::new(about));
        assert!(told.starts_with("A trial "), "{told}");
    }

    #[test]
    fn missed_target_is_a_no() {
        let mut results = Results::new(About::default());
        measured(
            Work::FloodResident,
            None,
            Name::Ours,
            60 * 1024,
            &mut results,
        );
        let told = text(&results);
        assert!(
            told.contains(
                "no            resident, whatever is sent: at most 48.00 MiB, reached 60.000 MiB\n"
            ),
            "{told}"
        );
    }
}
