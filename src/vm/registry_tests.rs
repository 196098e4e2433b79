//! The registry's names, lock, records and what a crash leaves of them.

use super::*;
use crate::arch::Arch;
use crate::vm::process::ProcessId;
use crate::vm::record::{Phase, VsockPath, boot_id};

pub(crate) fn record(name: &str, cid: u32) -> VmRecord {
    VmRecord {
        format: RECORD_FORMAT,
        name: name.to_owned(),
        phase: Phase::Starting,
        arch: Arch::X86_64,
        machine: None,
        image: PathBuf::from("/image"),
        disk: None,
        accelerator: None,
        cid,
        vsock: VsockPath::Cid,
        ssh_port: None,
        boot_id: boot_id(),
        starter: ProcessId::of_this_process().unwrap(),
        qemu: None,
        device: None,
    }
}

fn registry() -> (tempfile::TempDir, Registry) {
    let state = tempfile::tempdir().unwrap();
    let registry = Registry::at(state.path());
    (state, registry)
}

fn lock(registry: &Registry) -> RegistryLock<'_> {
    registry.lock(&Cancel::new().unwrap()).unwrap()
}

#[test]
fn names_and_cids_in_use_are_told() {
    let (_state, registry) = registry();
    let lock = lock(&registry);
    lock.create(&record("vm1", 3)).unwrap();
    lock.create(&record("other", 5)).unwrap();
    assert_eq!(lock.free_name().unwrap(), "vm2");
    let mut stopped = record("stopped", 7);
    stopped.boot_id = "another".to_owned();
    lock.create(&stopped).unwrap();
    assert_eq!(lock.cids_in_use().unwrap(), [3, 5].into());
    assert!(matches!(
        lock.create(&record("vm1", 4)),
        Err(VmError::NameTaken { .. })
    ));
    lock.remove("vm1", |_| false).unwrap();
    assert_eq!(lock.free_name().unwrap(), "vm2");
    lock.remove("vm1", |now| now.cid == 3).unwrap();
    lock.remove("vm1", |_| true).unwrap();
    assert_eq!(lock.free_name().unwrap(), "vm1");
    assert_eq!(registry.list().unwrap().len(), 2);
}

#[test]
fn vm_that_lives_or_has_taken_the_name_keeps_its_disk() {
    let (_state, registry) = registry();
    let lock = lock(&registry);
    let mut now = record("a", 3);
    lock.create(&now).unwrap();
    let disk = registry.dir("a").join("root.ext4");
    fs::write(&disk, b"").unwrap();
    let mut before = record("a", 3);
    before.starter.start_time += 1;
    lock.tidy(&before).unwrap();
    lock.tidy(&now).unwrap();
    assert!(disk.exists());
    now.starter.start_time += 2;
    registry.save(&now).unwrap();
    lock.tidy(&before).unwrap();
    assert!(disk.exists());
    lock.tidy(&now).unwrap();
    assert!(!disk.exists());
}

#[test]
fn lock_that_is_held_is_awaited_until_the_limit_or_a_cancel() {
    let (_state, registry) = registry();
    let held = lock(&registry);
    let error = registry.lock_within(Duration::ZERO, |_| Ok(()));
    assert!(matches!(error, Err(VmError::Locked { .. })));
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    assert!(matches!(registry.lock(&cancel), Err(VmError::Cancelled)));
    drop(held);
    assert!(registry.lock(&cancel).is_ok());
}

#[test]
fn status_follows_the_processes_and_the_boot() {
    let mut record = record("a", 3);
    assert_eq!(record.status(), Status::Starting);
    record.starter.start_time += 1;
    assert_eq!(record.status(), Status::Stopped);
    record.device = ProcessId::of_this_process();
    assert_eq!(record.status(), Status::Abandoned);
    assert!(record.has_failed_to_start());
    record.phase = Phase::Running;
    assert_eq!(record.status(), Status::Stopped);
    record.qemu = ProcessId::of_this_process();
    assert_eq!(record.status(), Status::Running);
    assert!(!record.has_failed_to_start());
    record.boot_id = "another".to_owned();
    assert_eq!(record.status(), Status::Stopped);
}

#[test]
fn start_that_has_ended_well_since_its_record_was_read_has_not_failed() {
    let (_state, registry) = registry();
    let mut read = record("a", 3);
    read.starter.start_time += 1;
    lock(&registry).create(&read).unwrap();
    assert!(registry.has_failed_to_start(&read));
    let mut saved = read.clone();
    saved.phase = Phase::Running;
    registry.save(&saved).unwrap();
    assert!(read.has_failed_to_start() && !registry.has_failed_to_start(&read));
}

#[test]
fn what_a_crash_left_is_removed_and_broken_records_are_told() {
    let (_state, registry) = registry();
    let lock = lock(&registry);
    let left = registry.dir(".passing-x");
    fs::create_dir(&left).unwrap();
    lock.create(&record("a", 3)).unwrap();
    assert!(!left.exists());
    fs::write(registry.dir("a").join("vm.json"), b"{").unwrap();
    assert!(matches!(
        registry.list().unwrap().as_slice(),
        [Err(VmError::BrokenRecord { .. })]
    ));
    let absent = VmName::parse("b").unwrap();
    assert!(matches!(
        registry.address_of(&absent),
        Err(VmError::NoSuchVm { .. })
    ));
}
