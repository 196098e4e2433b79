//! `smolctl vm`; all verbs but `start` have a file of their own.

mod end;
mod list;
mod logs;

use crate::arguments::{NetworkKind, VmArguments, VmStartArguments, VmVerb};
use crate::failure::Failure;
use crate::output::print_line;
use crate::ping::duration;
use crate::ssh_key;
use crate::timings::timings;
use smolvm_host::arch::Arch;
use smolvm_host::cancel::Cancel;
use smolvm_host::places;
use smolvm_host::target::VmName;
use smolvm_host::vm::{
    Acceleration, Accelerator, DeviceChoice, Forward, Network, Progress, Registry, StartOptions,
    VmRecord, remove, start,
};
use std::collections::BTreeSet;
use std::io::Write;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Instant;

pub(crate) fn vm(arguments: VmArguments, cancel: &Cancel) -> Result<u8, Failure> {
    match arguments.verb {
        VmVerb::Start(arguments) => start_vm(arguments, cancel),
        VmVerb::List(arguments) => list::list_vms(arguments.json),
        VmVerb::Stop(arguments) => end::stop_vms(&arguments, cancel),
        VmVerb::Rm(arguments) => end::remove_vms(&arguments, cancel),
        VmVerb::Logs(arguments) => logs::logs(&arguments, cancel),
        VmVerb::Timings(arguments) => timings(&arguments, cancel),
    }
}

fn start_vm(arguments: VmStartArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let name = arguments.name.as_deref().map(VmName::parse).transpose();
    let options = StartOptions {
        image: match arguments.image {
            Some(image) => image,
            None => default_image()?,
        },
        disk: arguments.disk,
        name: name.map_err(Failure::usage)?,
        machine: arguments.machine,
        memory_mib: arguments.memory,
        cpus: arguments.cpus,
        acceleration: match (arguments.kvm, arguments.tcg) {
            (true, _) => Acceleration::Only(Accelerator::Kvm),
            (_, true) => Acceleration::Only(Accelerator::Tcg),
            _ => Acceleration::Auto,
        },
        network: network(arguments.net, arguments.forward)?,
        device: match arguments.vsock.as_deref() {
            Some("kernel") => DeviceChoice::Kernel,
            Some(_) => DeviceChoice::Program,
            None => DeviceChoice::Auto,
        },
        authorized_key: arguments
            .ssh_key
            .as_deref()
            .map(ssh_key::read)
            .transpose()?,
        kernel_append: arguments.kernel_append,
        ready_limit: duration(arguments.timeout),
    };
    let begin = Instant::now();
    let registry = Registry::open().map_err(Failure::local)?;
    let started = start(
        &registry,
        &options,
        cancel,
        &mut |progress| match progress {
            Progress::Booting(accelerator, reason) => {
                say(&format!("using {accelerator} ({reason})"))
            }
            Progress::KvmFailed(reason) => say(&format!("KVM failed: {reason}")),
        },
    )?;
    let record = &started.record;
    say(&format!(
        "{} is ready after {:.1} s: agent {}, CID {}",
        record.name,
        begin.elapsed().as_secs_f64(),
        started.pong.agent_version.escape_debug(),
        record.cid
    ));
    let line = match arguments.json {
        true => list::json_of(record).to_string(),
        false => record.name.clone(),
    };
    match print_line(&line) {
        Ok(()) => Ok(0),
        Err(failure) => {
            stop_unannounced(&registry, record, cancel);
            Err(failure)
        }
    }
}

/// A VM whose name did not reach the caller would run on unknown to it.
fn stop_unannounced(registry: &Registry, record: &VmRecord, cancel: &Cancel) {
    let name = &record.name;
    let parsed = VmName::parse(name).expect("a registered VM has a valid name");
    match remove(registry, &parsed, true, cancel) {
        Ok(_) => say(&format!("{name} is stopped again")),
        Err(error) => say(&format!("{name} runs on: {error}")),
    }
}

/// A forwarded port brings a network, unless somebody wants none.
fn network(kind: Option<NetworkKind>, forwards: Vec<Forward>) -> Result<Network, Failure> {
    match kind {
        Some(NetworkKind::None) if !forwards.is_empty() => Err(Failure::usage(
            "--forward needs a network: leave --net none out, or --forward",
        )),
        None if forwards.is_empty() => Ok(Network::None),
        Some(NetworkKind::None) => Ok(Network::None),
        _ => match repeated_port(&forwards) {
            Some(port) => Err(Failure::usage(format_args!(
                "--forward names port {port} of this machine twice; choose another HOSTPORT for one of them"
            ))),
            None => Ok(Network::User(forwards)),
        },
    }
}

fn repeated_port(forwards: &[Forward]) -> Option<NonZeroU16> {
    let mut ports = BTreeSet::new();
    let host_ports = forwards.iter().map(|forward| forward.host_port);
    host_ports.into_iter().find(|port| !ports.insert(*port))
}

fn default_image() -> Result<PathBuf, Failure> {
    let arch = Arch::of_this_host().ok_or_else(|| Failure::usage("name an image with --image"))?;
    let cache = places::cache_dir().map_err(Failure::local)?;
    let image = cache.join("images").join(format!("minimal-{arch}"));
    if !image.exists() {
        return Err(Failure::usage(format_args!(
            "there is no image at {}; name one with --image (scripts/quickstart leaves one in \
             target/images), or build one there with smolctl image build",
            image.display()
        )));
    }
    Ok(image)
}

fn say(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "smolctl: {sentence}");
}
