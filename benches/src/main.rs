//! Measures the guest agent beside what people would use otherwise, and beside the same work with no agent.
//!
//! `scripts/bench` brings everything that is measured and calls this: `run` takes the raw results, `report` draws them.

mod arguments;
mod competitor;
mod connection;
mod here;
mod machine;
mod memory;
mod one_processor;
mod process;
mod report;
mod results;
mod rounds;
mod statistics;
mod streams;
mod vm;
mod work;

use anyhow::{Result, bail};
use arguments::{Arguments, Report, RunArguments, What};
use clap::Parser;
use results::{About, Outcome, Results};
use rounds::Run;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use work::Scale;

fn main() -> ExitCode {
    let done = match Arguments::parse().what {
        What::Run(arguments) => run(&arguments),
        What::Report(arguments) => report(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("smolvm-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &RunArguments) -> Result<()> {
    let is_cancelled = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_cancelled))?;
    }
    let scale = match arguments.quick {
        true => Scale::quick(arguments.rounds.unwrap_or(2)),
        false => Scale::full(arguments.rounds.unwrap_or(7)),
    };
    let about = About {
        rounds: scale.rounds,
        is_quick: arguments.quick,
        ..machine::about(arguments)
    };
    let mut run = Run {
        scale: &scale,
        results: Results::new(about),
        is_cancelled: &is_cancelled,
        only: arguments.only.as_deref(),
    };
    here::measure(&mut run, arguments)?;
    vm::measure(&mut run, arguments)?;
    if !run.results.has_any() {
        bail!(
            "no work has '{}' in its name; ping, run, output, put, get and resident are some that do",
            run.only.unwrap_or_default()
        );
    }
    run.results.write(&arguments.results)?;
    print_cases(&run.results)
}

/// A line each, and the closing line of counts.
fn print_cases(results: &Results) -> Result<()> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for each in &results.measurements {
        let case = format!("{}: {}", each.competitor.title(), rounds::tell(each.task));
        match &each.outcome {
            Outcome::Rounds(_) => {
                passed += 1;
                println!("passed  {case}");
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                println!("skipped, because {why}: {case}");
            }
            Outcome::Failed(why) => {
                failed += 1;
                println!("FAILED  {case}: {why}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("{failed} measurements failed; the lines above say why");
    }
    Ok(())
}

fn report(arguments: &Report) -> Result<()> {
    let results = Results::read(&arguments.results)?;
    report::write(&results, &arguments.docs)?;
    print!("{}", report::targets::text(&results));
    Ok(())
}
