//! Has every competitor do every piece of work, in rounds that take turns.
//!
//! What a machine does beside meets all of them alike so; who is first changes from round to round.

use crate::competitor::{Command, Competitor, Name};
use crate::one_processor::OneProcessor;
use crate::results::{Outcome, Results, Task};
use crate::streams;
use crate::work::{Place, Scale, Work};
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Beside an ssh that is several times as slow, a fraction says as much.
const SLOW_DIVISOR: usize = 5;
const SLOW_ROUNDS: usize = 3;
/// Files from this size on are moved in fewer rounds by the slow.
const LARGE_BYTES: u64 = 64 << 20;

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) scale: &'a Scale,
    pub(crate) results: Results,
    /// Set by Ctrl-C and the like: what was started is then ended.
    pub(crate) is_cancelled: &'a AtomicBool,
    /// Only works whose name, `vm-put` or `here-put`, has this in it.
    pub(crate) only: Option<&'a str>,
}

impl Run<'_> {
    pub(crate) fn is_wanted(&self, place: Place, work: Work) -> bool {
        let name = format!("{place:?}{work:?}").to_lowercase();
        self.only
            .is_none_or(|only| name.contains(&only.replace('-', "")))
    }

    pub(crate) fn has_tasks(&self, place: Place) -> bool {
        !self.tasks(place).is_empty()
    }

    /// The works of a place.
    fn tasks(&self, place: Place) -> Vec<Task> {
        let one = |work| Task {
            place,
            work,
            bytes: None,
        };
        let sizes = match place {
            Place::Here => &self.scale.file_bytes,
            Place::Vm => &self.scale.vm_file_bytes,
        };
        let mut tasks = vec![one(Work::Ping), one(Work::RunShell), one(Work::RunBare)];
        if place == Place::Here {
            let on_one = [
                Work::PingOnOneProcessor,
                Work::RunShellOnOneProcessor,
                Work::RunBareOnOneProcessor,
            ];
            tasks.extend(on_one.map(one));
        }
        tasks.extend([one(Work::AtOnce), one(Work::InARow)]);
        let bytes = Some(self.scale.output_bytes);
        tasks.push(Task {
            bytes,
            ..one(Work::Output)
        });
        for work in [Work::Put, Work::Get] {
            let sized = |bytes: &u64| Task {
                bytes: Some(*bytes),
                ..one(work)
            };
            tasks.extend(sizes.iter().map(sized));
        }
        tasks.push(one(Work::PingBesideStreams));
        if place == Place::Here {
            tasks.push(one(Work::Start));
        }
        tasks.retain(|task| self.is_wanted(place, task.work));
        tasks
    }

    /// Every piece of work there is for these competitors.
    pub(crate) fn all(&mut self, place: Place, competitors: &[Box<dyn Competitor>]) -> Result<()> {
        for task in self.tasks(place) {
            self.task(task, competitors)?;
        }
        Ok(())
    }

    fn task(&mut self, task: Task, competitors: &[Box<dyn Competitor>]) -> Result<()> {
        let began = Instant::now();
        let rounds = match task.work {
            Work::InARow => 1,
            _ => self.scale.rounds,
        };
        let mut outcomes: Vec<Outcome> = vec![Outcome::Rounds(Vec::new()); competitors.len()];
        let mut busy = vec![Vec::new(); competitors.len()];
        if task.work == Work::Get && !self.is_wanted(task.place, Work::Put) {
            for (competitor, outcome) in competitors.iter().zip(&mut outcomes) {
                if let Err(error) = competitor.put(task.bytes.unwrap_or(0)) {
                    *outcome = Outcome::Failed(format!("its file cannot be put there: {error:#}"));
                }
            }
        }
        for round in 0..rounds {
            for turn in 0..competitors.len() {
                let index = (round + turn) % competitors.len();
                self.check()?;
                let competitor = competitors[index].as_ref();
                let Outcome::Rounds(taken) = &mut outcomes[index] else {
                    continue;
                };
                if round >= rounds_of(task, competitor.name(), rounds) {
                    continue;
                }
                match measure(task, competitor, self.scale, &mut busy[index]) {
                    Ok(Some(samples)) => taken.push(samples),
                    Ok(None) => {
                        outcomes[index] = Outcome::Skipped("it has no such call".to_owned());
                    }
                    Err(error) => outcomes[index] = Outcome::Failed(format!("{error:#}")),
                }
            }
        }
        self.check()?;
        let told = tell(task);
        eprintln!("{told}: {:.1} s", began.elapsed().as_secs_f64());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let name = competitors[index].name();
            self.results.push(task, name, outcome);
            self.push_busy(name, &busy[index]);
        }
        Ok(())
    }

    fn push_busy(&mut self, name: Name, seen: &[crate::process::Memory]) {
        if seen.is_empty() {
            return;
        }
        for (work, figure) in [
            (Work::BusyResident, |memory: &crate::process::Memory| {
                memory.resident_kib
            }),
            (Work::BusyUnshared, |memory| memory.unshared_kib),
        ] as [(Work, fn(&crate::process::Memory) -> u64); 2]
        {
            let rounds = seen.iter().map(|memory| vec![figure(memory)]).collect();
            let task = Task {
                place: Place::Here,
                work,
                bytes: None,
            };
            self.results.push(task, name, Outcome::Rounds(rounds));
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            bail!("cancelled");
        }
        Ok(())
    }
}

/// As a line of progress and a case's name has it.
pub(crate) fn tell(task: Task) -> String {
    let place = match task.place {
        Place::Here => "",
        Place::Vm => " in a VM",
    };
    let bytes = task.bytes.map(|bytes| format!(" {bytes} bytes"));
    format!("{:?}{place}{}", task.work, bytes.unwrap_or_default())
}

fn rounds_of(task: Task, name: Name, rounds: usize) -> usize {
    let is_long = task.work == Work::PingBesideStreams
        || task.bytes.is_some_and(|bytes| bytes >= LARGE_BYTES);
    match is_long && name.is_slow() {
        true => rounds.min(SLOW_ROUNDS),
        false => rounds,
    }
}

/// One round of one competitor.
fn measure(
    task: Task,
    competitor: &dyn Competitor,
    scale: &Scale,
    busy: &mut Vec<crate::process::Memory>,
) -> Result<Option<Vec<u64>>> {
    let name = competitor.name();
    let fewer = |count: usize| match name.is_slow() {
        true => count.div_ceil(SLOW_DIVISOR),
        false => count,
    };
    let bytes = task.bytes.unwrap_or(0);
    let _one_processor = match task.work.is_on_one_processor() {
        true => Some(OneProcessor::hold()?),
        false => None,
    };
    let times = match task.work {
        Work::Ping | Work::PingOnOneProcessor => repeat(fewer(scale.pings), || competitor.ping())?,
        Work::RunShell | Work::RunShellOnOneProcessor => {
            return nanoseconds(competitor.runs(Command::Shell, fewer(scale.runs))?);
        }
        Work::RunBare | Work::RunBareOnOneProcessor => {
            return nanoseconds(competitor.runs(Command::Bare, fewer(scale.runs))?);
        }
        Work::InARow => {
            let divisor = match (task.place, name) {
                (Place::Vm, _) => 50,
                (_, Name::OpenSsh | Name::Dropbear) => 20,
                (_, Name::Python) => 5,
                (_, Name::Floor | Name::Ours) => 1,
            };
            let count = scale.runs_in_a_row.div_ceil(divisor);
            return nanoseconds(competitor.runs(Command::Shell, count)?);
        }
        Work::AtOnce => vec![competitor.at_once(scale.at_once)?],
        Work::Output => vec![competitor.output(bytes)?],
        Work::Put => repeat(fewer(scale.files(bytes)), || competitor.put(bytes))?,
        Work::Get => repeat(fewer(scale.files(bytes)), || competitor.get(bytes))?,
        Work::PingBesideStreams => {
            let streams = competitor.streams(scale.streams)?;
            streams::beside(&streams, || {
                let divisor = match (task.place, name.is_slow()) {
                    (_, true) => 40,
                    (Place::Vm, false) => 4,
                    (Place::Here, false) => 1,
                };
                let times = repeat(scale.pings.div_ceil(divisor), || competitor.ping());
                if let Some(server) = competitor.server() {
                    busy.push(server.memory()?);
                }
                times
            })?
        }
        Work::Start => match competitor.start_another()? {
            Some(took) => vec![took],
            None => return Ok(None),
        },
        work => bail!("{work:?} is no work of rounds"),
    };
    nanoseconds(Some(times))
}

fn repeat(count: usize, mut act: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    (0..count).map(|_| act()).collect()
}

fn nanoseconds(times: Option<Vec<Duration>>) -> Result<Option<Vec<u64>>> {
    let count = |time: Duration| u64::try_from(time.as_nanos()).context("too long");
    times
        .map(|times| times.into_iter().map(count).collect())
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::competitor::Streams;
    use crate::process::Server;
    use crate::results::About;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Says that it was asked, and takes no time; its uploads fail.
    struct Told {
        name: Name,
        asked: Rc<RefCell<Vec<Name>>>,
    }

    impl Competitor for Told {
        fn name(&self) -> Name {
            self.name
        }

        fn ping(&self) -> Result<Duration> {
            self.asked.borrow_mut().push(self.name);
            Ok(Duration::from_nanos(7))
        }

        fn runs(&self, _: Command, _: usize) -> Result<Option<Vec<Duration>>> {
            Ok(None)
        }

        fn at_once(&self, _: usize) -> Result<Duration> {
            self.ping()
        }

        fn output(&self, _: u64) -> Result<Duration> {
            self.ping()
        }

        fn put(&self, _: u64) -> Result<Duration> {
            bail!("the disk is full")
        }

        fn get(&self, _: u64) -> Result<Duration> {
            self.ping()
        }

        fn streams(&self, _: usize) -> Result<Streams> {
            bail!("there are none")
        }

        fn start_another(&self) -> Result<Option<Duration>> {
            Ok(None)
        }

        fn server(&self) -> Option<&Server> {
            None
        }
    }

    /// The results of one work, and who was asked in which order.
    fn run(only: &str, is_cancelled: bool) -> Result<(Results, Vec<Name>)> {
        let scale = Scale {
            file_bytes: vec![LARGE_BYTES],
            ..Scale::quick(2)
        };
        let mut run = Run {
            scale: &scale,
            results: Results::new(About::default()),
            is_cancelled: &AtomicBool::new(is_cancelled),
            only: Some(only),
        };
        let asked = Rc::default();
        let competitors = [Name::Floor, Name::Ours].map(|name| {
            let asked = Rc::clone(&asked);
            Box::new(Told { name, asked }) as Box<dyn Competitor>
        });
        run.all(Place::Here, &competitors)?;
        let asked = asked.borrow().clone();
        Ok((run.results, asked))
    }

    #[test]
    fn rounds_are_interleaved_and_another_is_first_in_each() {
        let (_, asked) = run("output", false).unwrap();
        assert_eq!(asked, [Name::Floor, Name::Ours, Name::Ours, Name::Floor]);
    }

    #[test]
    fn failure_is_kept_with_its_reason_and_a_missing_call_is_no_failure() {
        let (results, _) = run("put", false).unwrap();
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(why) if why == "the disk is full");
        let puts = results.measurements.iter();
        assert!(
            puts.filter(|each| each.task.work == Work::Put)
                .all(|each| failed(&each.outcome))
        );
        let (results, _) = run("start", false).unwrap();
        let outcomes: Vec<_> = results
            .measurements
            .iter()
            .map(|each| &each.outcome)
            .collect();
        assert!(matches!(
            outcomes[..],
            [Outcome::Skipped(_), Outcome::Skipped(_)]
        ));
    }

    #[test]
    fn download_alone_begins_with_an_upload() {
        let (results, asked) = run("get", false).unwrap();
        let outcome = &results.measurements[0].outcome;
        assert!(matches!(outcome, Outcome::Failed(why) if why.contains("the disk is full")));
        assert!(asked.is_empty());
    }

    #[test]
    fn cancelled_run_is_an_error() {
        assert!(run("ping", true).is_err());
    }
}
