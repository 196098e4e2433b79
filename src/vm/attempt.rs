//! One boot or two: with KVM, with emulation, or with the latter where the former does not start the kernel.
//!
//! Owns that choice, and what is made anew for each try. A try leaves no process behind where it fails.

use super::accelerator::{Acceleration, Accelerator, KvmVerdict, check_kvm};
use super::boot::{Boot, BootPlan};
use super::qemu::QemuSpec;
use super::record::{Phase, VmRecord};
use super::start::Progress;
use super::{VmError, disk};
use crate::channel::Pong;
use crate::image::Image;

/// Boots with what was asked for, or with KVM first where that may work; `record` is kept up to date.
pub(super) fn boot(
    plan: &BootPlan<'_>,
    spec: QemuSpec,
    acceleration: Acceleration,
    image: &Image,
    record: &mut VmRecord,
    report: &mut dyn FnMut(Progress),
) -> Result<Pong, VmError> {
    let mut boot_with = |accelerator, reason: &str, report: &mut dyn FnMut(Progress)| {
        report(Progress::Booting(accelerator, reason.to_owned()));
        let spec = QemuSpec {
            accelerator,
            ..spec.clone()
        };
        boot_once(plan, &spec, record)
    };
    let arch = image.manifest.arch;
    match acceleration {
        Acceleration::Only(Accelerator::Tcg) => boot_with(Accelerator::Tcg, "as asked", report),
        Acceleration::Only(Accelerator::Kvm) => {
            check_kvm(arch).map_err(|reason| VmError::Kvm { reason })?;
            boot_with(Accelerator::Kvm, "as asked", report)
        }
        Acceleration::Auto => {
            if let Err(reason) = check_kvm(arch) {
                return boot_with(Accelerator::Tcg, &reason, report);
            }
            let kernel = &image.manifest.files[&image.manifest.kernel];
            let verdict = KvmVerdict::of(&kernel.sha256, &plan.qemu);
            if verdict.recall() == Some(false) {
                let reason = "KVM did not start this kernel here before";
                return boot_with(Accelerator::Tcg, reason, report);
            }
            match boot_with(Accelerator::Kvm, "/dev/kvm can be opened", report) {
                Ok(pong) => {
                    verdict.remember(true);
                    Ok(pong)
                }
                Err(error) if may_be_kvms_fault(&error) => {
                    report(Progress::KvmFailed(first_line(&error)));
                    let reason = "KVM does not start this kernel here";
                    let pong = boot_with(Accelerator::Tcg, reason, report)?;
                    if matches!(error, VmError::Kvm { .. }) && plan.is_patient_with_kvm() {
                        verdict.remember(false);
                    }
                    Ok(pong)
                }
                Err(error) => Err(error),
            }
        }
    }
}

fn boot_once(plan: &BootPlan<'_>, spec: &QemuSpec, record: &mut VmRecord) -> Result<Pong, VmError> {
    let _ = std::fs::remove_file(&spec.console);
    // A new one for each try: a guest that came up half the way may have written to it.
    if let Some((from, to)) = plan.root_disk.as_deref().zip(spec.root_disk.as_deref()) {
        disk::copy(from, to, plan.cancel)?;
    }
    let mut boot = Boot::new(plan);
    let pong = boot.run(spec, record)?;
    record.phase = Phase::Running;
    plan.registry.save(record)?;
    boot.keep();
    Ok(pong)
}

/// Whatever else goes wrong would go wrong under emulation, too, or has taken all the time.
fn may_be_kvms_fault(error: &VmError) -> bool {
    matches!(error, VmError::Kvm { .. } | VmError::Died { .. })
}

fn first_line(error: &VmError) -> String {
    match error {
        VmError::Kvm { reason } => reason.clone(),
        error => {
            let text = error.to_string();
            text.lines()
                .next()
                .unwrap_or_default()
                .trim_end_matches(':')
                .to_owned()
        }
    }
}
