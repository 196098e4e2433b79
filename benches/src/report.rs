//! Draws `docs/benchmarks.md` and its plots from raw results; the same results give the same bytes.

mod figure;
mod plot;
mod table;
pub(crate) mod targets;

use crate::competitor::Name;
use crate::results::{Outcome, Results};
use crate::work::Place;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const INTRODUCTION: &str = "\
# Benchmarks

Our agent beside what people would use otherwise, and beside the *floor*: the same work with no agent at all. Made by
`scripts/bench`, which measures everything in one run; `scripts/bench --report` draws this page again from the raw results of
the last run, `target/bench/results.json`. No line of it is written by hand. To repeat it takes a quarter of an hour on a machine that
does nothing else, Debian or Ubuntu with a Rust toolchain; whatever else is missing the script brings.
";

const METHOD: &str = "\
## How it is measured

Rounds are interleaved: in each, every competitor does each piece of work, and who is first changes from round to round. Median and
p99 are over the samples of all rounds (of fewer than 100 samples p99 is the largest). \"× floor\" is the median over the
rounds of what each round says; for bytes that are moved it is the share of the floor's rate, so that more is better.

- **our agent**: the shipped static binary, on a Unix socket. **Python agent**: the published one, on a Unix socket.
  The same host asks both, frame by frame, with a connection for each request, as hosts do.
- **OpenSSH**, **dropbear**: the server on a port of 127.0.0.1, asked by OpenSSH's client over a control connection that is kept
  open; where they serve root, a start has an `unshare`, a shell and two mounts before it, some 10 ms; files go through `cat`. ssh has no ping: a command that does nothing stands for it. Where they serve root, the home is
  empty and the shell `/bin/sh`.
- **floor**: `benches/floor.c`. For `ping`, a connection, 18 bytes and their echo. For `run`, `posix_spawn` and `waitpid`, timed
  where it happens, without a socket. For output, the command piped through `cat` into a connected Unix socket. For files, `read` and `write` of
  64 KiB between socket and file, renamed when it is whole. In a VM all are written in 28 KiB, as the agent does on vsock, and
  output is copied by `read` and `write`.
- Uploads are sent from memory and downloads are discarded, ssh's uploads come from a file; files are in `/dev/shm` where that is large
  enough. Works that would take ssh minutes are done fewer times: \"samples\" says how often.
- On one processor, on this machine and not in the VM: this program, the servers and their commands share one, and what is told is what a
  request costs. Elsewhere the scheduler chooses at each wake-up whether another processor, which may sleep, has to be woken: that may take
  longer than a ping, and comes out otherwise in another run, for the floor as for anybody.
- Beside streams: as many commands write without end, and one thread reads them all, as one host would; meanwhile the pings.
- Misused: 64 hosts send nearly 64 KiB of a request and stall; 64 inputs of commands and 64 forwarded streams are full, as far as
  credit goes, while a request of 16 MiB arrives.
- Memory is `Rss` and `Pss` of `/proc/PID/smaps_rollup`, of all processes of a server that are no commands, after its first connection (idle) and
  beside the streams (busy).
";

/// Writes the page and its plots into a folder.
pub(crate) fn write(results: &Results, docs: &Path) -> Result<()> {
    let images = docs.join("img");
    fs::create_dir_all(&images)
        .with_context(|| format!("cannot make the folder {}", images.display()))?;
    let mut page = INTRODUCTION.to_owned();
    page += &about(results);
    page += &targets::section(results);
    for table in table::all(results) {
        let file = format!("bench-{}.svg", table.file);
        fs::write(images.join(&file), plot::draw(&table)?)?;
        page += &table.markdown(&file);
    }
    page += &left_out(results);
    page += "\n";
    page += METHOD;
    let path = docs.join("benchmarks.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn about(results: &Results) -> String {
    let about = &results.about;
    let mut text = String::new();
    if about.is_quick {
        text += "\n**This was a trial of the program (`--quick`): the figures mean nothing.**\n";
    }
    let commit = &about.commit;
    let _ = writeln!(
        text,
        "\nTaken {} at commit {commit}, number of rounds: {}.\n\n| | |\n|---|---|",
        about.date, about.rounds
    );
    for (name, value) in about.machine.iter().chain(&about.versions) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

/// What is missing from the tables, and why.
fn left_out(results: &Results) -> String {
    let mut lines = Vec::new();
    for each in &results.measurements {
        let place = match each.task.place {
            Place::Here => "",
            Place::Vm => " in a VM",
        };
        // Who takes no part is told of once.
        let work = match results.has_measured(each.task.place, each.competitor) {
            true => figure::title(each.task, results.about.is_quick),
            false => "all of it".to_owned(),
        };
        let name = each.competitor.title();
        match &each.outcome {
            Outcome::Rounds(_) => {}
            Outcome::Skipped(why) => lines.push(format!("- {name}{place}, {work}: {why}")),
            Outcome::Failed(why) => lines.push(format!("- {name}{place}, {work}: failed: {why}")),
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("\n## Left out\n\n{}\n", lines.join("\n"))
}

/// In the tables' order.
const NAMES: [Name; 5] = [
    Name::Floor,
    Name::Ours,
    Name::Python,
    Name::OpenSsh,
    Name::Dropbear,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{About, Task};
    use crate::work::Work;

    fn results() -> Results {
        let mut results = Results::new(About {
            date: "2026-01-02 03:04 UTC".to_owned(),
            commit: "abc".to_owned(),
            rounds: 2,
            ..About::default()
        });
        let task = |work, bytes| Task {
            place: Place::Here,
            work,
            bytes,
        };
        let rounds = |samples: &[u64]| Outcome::Rounds(vec![samples.to_vec(); 2]);
        results.push(task(Work::Ping, None), Name::Floor, rounds(&[10_000]));
        let on_one = task(Work::PingOnOneProcessor, None);
        results.push(on_one, Name::Floor, rounds(&[10_000]));
        results.push(on_one, Name::Ours, rounds(&[25_000]));
        results.push(task(Work::Ping, None), Name::Ours, rounds(&[25_000]));
        let why = || Outcome::Skipped("there is none here".to_owned());
        results.push(task(Work::Ping, None), Name::Dropbear, why());
        let failed = |why: &str| Outcome::Failed(why.to_owned());
        let in_a_vm = Task {
            place: Place::Vm,
            ..task(Work::Ping, None)
        };
        results.push(in_a_vm, Name::Floor, failed("it does not listen"));
        let small = task(Work::Put, Some(1 << 10));
        results.push(small, Name::Ours, failed("the disk is full"));
        let mib = Some(1 << 20);
        results.push(task(Work::Put, mib), Name::Floor, rounds(&[1_000_000]));
        results.push(task(Work::Put, mib), Name::Ours, rounds(&[2_000_000]));
        results
    }

    #[test]
    fn same_results_give_the_same_bytes() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&first, &second] {
            write(&results(), folder.path()).unwrap();
        }
        for file in [
            "benchmarks.md",
            "img/bench-requests.svg",
            "img/bench-put.svg",
        ] {
            let read = |folder: &tempfile::TempDir| fs::read(folder.path().join(file)).unwrap();
            assert_eq!(read(&first), read(&second), "{file}");
        }
    }

    #[test]
    fn page_has_each_measurement_its_ratio_and_who_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        write(&results(), folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("benchmarks.md")).unwrap();
        for expected in [
            "Taken 2026-01-02 03:04 UTC at commit abc, number of rounds: 2.",
            "| `ping` | our agent | 25 µs | 25 µs | 2.50 | 2 |",
            "| 1 MiB | our agent | 524 MB/s | 2 ms | 2 ms | 0.50 | 2 |",
            "![put_file](img/bench-put.svg)",
            "- dropbear, all of it: there is none here",
            "- floor in a VM, all of it: failed: it does not listen",
            "- our agent, 1 KiB: failed: the disk is full",
            "| `ping` on one processor, median, × a bare echo | at most 3.00 | 2.500 | yes |",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
    }

    #[test]
    fn works_that_were_not_measured_have_no_table() {
        let folder = tempfile::tempdir().unwrap();
        write(&results(), folder.path()).unwrap();
        assert!(!folder.path().join("img/bench-get.svg").exists());
    }
}
