//! `smolctl vm stop` and `smolctl vm rm`: one VM after another, whatever came of those before.

use super::say;
use crate::arguments::{VmRmArguments, VmStopArguments};
use crate::failure::Failure;
use crate::output::print_line;
use serde_json::{Value, json};
use smolvm_host::cancel::Cancel;
use smolvm_host::target::VmName;
use smolvm_host::vm::stop::Ending;
use smolvm_host::vm::{Registry, Status, VmError, VmRecord, remove, stop};

pub(super) fn stop_vms(arguments: &VmStopArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let named = names(&arguments.names)?;
    let registry = Registry::open().map_err(Failure::local)?;
    let names = match arguments.all {
        true => names_of(&registry, |record| record.status() != Status::Stopped)?,
        false => named,
    };
    let end = |name: &VmName| stop(&registry, name, cancel);
    end_each(&names, arguments.json, end, |name, ending| match ending {
        Ending::PoweredOff => format!("{name} powered off"),
        Ending::Killed => format!("{name} did not power off by itself, so QEMU was ended"),
        Ending::AlreadyStopped => format!("{name} had stopped already"),
    })
}

pub(super) fn remove_vms(arguments: &VmRmArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let named = names(&arguments.names)?;
    let registry = Registry::open().map_err(Failure::local)?;
    let force = arguments.force;
    let names = match arguments.all {
        true => names_of(&registry, |record| {
            force || matches!(record.status(), Status::Stopped | Status::Abandoned)
        })?,
        false => named,
    };
    let end = |name: &VmName| remove(&registry, name, force, cancel);
    end_each(&names, arguments.json, end, |name, ending| match ending {
        Ending::PoweredOff => format!("{name} powered off and is forgotten"),
        Ending::Killed => {
            format!("{name} did not power off by itself, so QEMU was ended; it is forgotten")
        }
        Ending::AlreadyStopped => format!("{name} is forgotten"),
    })
}

/// All are looked at before anything is done; one that is named twice is meant once.
fn names(words: &[String]) -> Result<Vec<VmName>, Failure> {
    let mut names = Vec::new();
    for word in words {
        let name = VmName::parse(word).map_err(Failure::usage)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn names_of(
    registry: &Registry,
    is_meant: impl Fn(&VmRecord) -> bool,
) -> Result<Vec<VmName>, Failure> {
    let mut names = Vec::new();
    for record in registry.list()? {
        match record {
            Ok(record) if is_meant(&record) => names.extend(VmName::parse(&record.name).ok()),
            Ok(_) => {}
            Err(error) => say(&error.to_string()),
        }
    }
    Ok(names)
}

/// Goes on with the next where one fails; the exit code is the first failure's. Who gives up, gives up all.
fn end_each(
    names: &[VmName],
    as_json: bool,
    end: impl Fn(&VmName) -> Result<Ending, VmError>,
    sentence: impl Fn(&VmName, Ending) -> String,
) -> Result<u8, Failure> {
    let mut results = Vec::new();
    let mut code = 0;
    let mut given_up = None;
    for name in names {
        match end(name) {
            Ok(ending) => {
                say(&sentence(name, ending));
                results.push(json!({"name": name.as_str(), "ending": ending, "error": null}));
            }
            Err(VmError::Cancelled) => {
                given_up = Some(Failure::cancelled());
                break;
            }
            Err(error) => {
                let failure = Failure::from(error);
                let told = failure.sentence().unwrap_or_default();
                say(&told);
                results.push(json!({"name": name.as_str(), "ending": null, "error": told}));
                code = if code == 0 { failure.code() } else { code };
            }
        }
    }
    if as_json {
        print_line(&Value::from(results).to_string())?;
    }
    given_up.map_or(Ok(code), Err)
}
