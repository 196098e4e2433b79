//! `smolctl image inject`.

use crate::arguments::ImageInjectArguments;
use crate::failure::Failure;
use crate::output::print_line;
use crate::progress::Progress;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::image::inject::{InjectInputs, inject};
use smolvm_host::printable::printable;
use std::io::Write;

pub(crate) fn inject_agent(
    arguments: ImageInjectArguments,
    cancel: &Cancel,
) -> Result<u8, Failure> {
    let inputs = InjectInputs {
        tree: arguments.root,
        agent: arguments.agent,
        arch: arguments.arch,
        disk_mib: arguments.disk_size,
        is_init_replaced: arguments.replace_init,
    };
    let progress = Progress::of_work("reading the tree and writing the new one");
    let done = inject(&inputs, &arguments.output, cancel)?;
    drop(progress);
    if arguments.json {
        let result = json!({
            "output": arguments.output.display().to_string(),
            "arch": done.arch,
            "agent_version": done.agent_version,
            "notes": done.notes,
            "advice": done.init.advice(),
        });
        print_line(&result.to_string())?;
        return Ok(0);
    }
    let mut stderr = std::io::stderr();
    for note in &done.notes {
        let _ = writeln!(stderr, "{}", printable(note));
    }
    let _ = writeln!(
        stderr,
        "agent {} for {} is in the tree\n{}",
        done.agent_version,
        done.arch,
        done.init.advice()
    );
    print_line(&arguments.output.display().to_string())?;
    Ok(0)
}
