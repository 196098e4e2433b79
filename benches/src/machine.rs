//! What a report has to say of the machine and of the day.

use crate::arguments::RunArguments;
use crate::results::About;
use std::fs;
use std::process::Command;

/// What is known before anything is measured.
pub(crate) fn about(arguments: &RunArguments) -> About {
    let mut machine = vec![
        ("processor".to_owned(), processor()),
        ("cores".to_owned(), cores()),
        ("memory".to_owned(), memory()),
        ("system".to_owned(), system()),
        ("kernel".to_owned(), kernel()),
        ("load before".to_owned(), load()),
    ];
    machine.extend(virtualisation().map(|kind| ("itself a virtual machine".to_owned(), kind)));
    About {
        date: first_line(Command::new("date").args(["-u", "+%F %H:%M UTC"])),
        commit: arguments.commit.clone(),
        machine,
        versions: arguments.version_of.clone(),
        ..About::default()
    }
}

fn processor() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| format!("{name} ({})", std::env::consts::ARCH),
    )
}

fn cores() -> String {
    std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |count| count.to_string())
}

fn memory() -> String {
    format!("{} MiB", memory_kib("MemTotal:") / 1024)
}

/// Memory that may be taken without taking it from anybody.
pub(crate) fn available_bytes() -> u64 {
    memory_kib("MemAvailable:") * 1024
}

fn memory_kib(name: &str) -> u64 {
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    told.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn system() -> String {
    let told = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = told
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// How many others computed in the minute before: figures of a busy machine are worth less.
fn load() -> String {
    let told = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    told.split_whitespace().next().unwrap_or("?").to_owned()
}

/// Under whom this machine runs, where somebody tells.
fn virtualisation() -> Option<String> {
    let is_guest = fs::read_to_string("/proc/cpuinfo")
        .is_ok_and(|told| told.split_whitespace().any(|flag| flag == "hypervisor"));
    let vendor = fs::read_to_string("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
    is_guest.then(|| match vendor.trim() {
        "" => "yes".to_owned(),
        vendor => vendor.to_owned(),
    })
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout);
    let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}
