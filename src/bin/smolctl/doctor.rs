//! `smolctl doctor`.

use crate::arguments::DoctorArguments;
use crate::failure::{Failure, LOCAL};
use crate::output::print_line;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::doctor::{Finding, State, examine};

pub(crate) fn doctor(arguments: &DoctorArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let diagnosis = examine(arguments.image.as_deref(), cancel)?;
    if arguments.json {
        print_line(&json!(diagnosis).to_string())?;
    } else {
        for finding in &diagnosis.findings {
            print_line(&line(finding))?;
        }
        print_line(match (diagnosis.can_start_vm, &arguments.image) {
            (true, Some(_)) => "A VM can be started here.",
            (true, None) => "A VM can be started here, as far as can be told without an --image.",
            (false, _) => "No VM can be started here before what is missing is mended.",
        })?;
    }
    Ok(if diagnosis.can_start_vm { 0 } else { LOCAL })
}

fn line(finding: &Finding) -> String {
    let Finding {
        subject,
        state,
        told,
        remedy,
    } = finding;
    let [state_text, subject] = [state.to_string(), subject.to_string()];
    let line = format!("{state_text:<8} {subject:<19} {told}");
    match (state, remedy) {
        (State::Limited | State::Missing, Some(remedy)) => format!("{line}; try: {remedy}"),
        _ => line,
    }
}
