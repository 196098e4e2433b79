//! Runs cases one after another and prints how each went: a line a case, and a closing line of counts.

use crate::guest::Checked;
use std::process::ExitCode;
use std::time::Instant;

/// A case's name says situation and result.
pub(crate) type Case<Subject> = (&'static str, fn(&Subject) -> Checked);

/// Runs the cases whose name has `only` in it; none at all is a failure.
pub(crate) fn run_cases<Subject>(
    subject: &Subject,
    cases: &[Case<Subject>],
    only: &str,
) -> ExitCode {
    let chosen = cases.iter().filter(|(name, _)| name.contains(only));
    run(chosen.map(|(name, case)| (*name, || case(subject))))
}

/// Runs one case.
pub(crate) fn run_case(name: &'static str, case: impl FnOnce() -> Checked) -> ExitCode {
    run(std::iter::once((name, case)))
}

fn run<Run: FnOnce() -> Checked>(cases: impl Iterator<Item = (&'static str, Run)>) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases {
        let began = Instant::now();
        match case() {
            Ok(()) => {
                passed += 1;
                println!("passed  {name} ({:.2} s)", began.elapsed().as_secs_f64());
            }
            Err(reason) => {
                failed += 1;
                println!("FAILED  {name}: {reason}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, 0 skipped");
    ExitCode::from(u8::from(failed > 0 || passed == 0))
}
