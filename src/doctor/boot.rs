//! The only proof that a VM can be started: one that was.
//!
//! Owns a VM of the image that answers, and is gone afterwards. It is registered like any other, so that the next
//! start ends what is left of it where this process is killed.

use super::{Finding, Subject};
use crate::cancel::Cancel;
use crate::target::VmName;
use crate::vm::{
    Acceleration, Accelerator, DeviceChoice, Network, Progress, Registry, StartOptions, VmError,
    remove, start,
};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Memory of the VM, in MiB: what `vm start` gives by itself.
const MEMORY_MIB: u32 = 256;
/// How long its agent may take to answer.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// What came of it.
pub(super) struct Tried {
    image: PathBuf,
    /// How long it took, or why it did not work.
    pub(super) outcome: Result<(Accelerator, Duration), String>,
    /// Why KVM was not used, where a boot without it began.
    pub(super) reason: Option<String>,
}

/// # Errors
/// [`VmError::Cancelled`].
pub(super) fn try_image(image: &Path, cancel: &Cancel) -> Result<Tried, VmError> {
    let mut reasons = Reasons::default();
    let begin = Instant::now();
    let outcome = match boot(image, cancel, &mut |progress| reasons.hear(progress)) {
        Err(VmError::Cancelled) => return Err(VmError::Cancelled),
        Err(error) => Err(text_of(error)),
        Ok(accelerator) => Ok((accelerator, begin.elapsed())),
    };
    Ok(Tried {
        image: image.to_owned(),
        outcome,
        reason: reasons.kvm_failed.or(reasons.emulated),
    })
}

#[derive(Default)]
struct Reasons {
    kvm_failed: Option<String>,
    emulated: Option<String>,
}

impl Reasons {
    fn hear(&mut self, progress: Progress) {
        match progress {
            Progress::KvmFailed(reason) => self.kvm_failed = Some(reason),
            Progress::Booting(Accelerator::Tcg, reason) => self.emulated = Some(reason),
            Progress::Booting(Accelerator::Kvm, _) => {}
        }
    }
}

fn boot(
    image: &Path,
    cancel: &Cancel,
    report: &mut dyn FnMut(Progress),
) -> Result<Accelerator, VmError> {
    let registry = Registry::open()?;
    let name = format!("doctor-{}", std::process::id());
    let name = VmName::parse(&name).expect("letters, a dash and at most ten digits are a name");
    let options = StartOptions {
        image: image.to_owned(),
        disk: None,
        name: Some(name.clone()),
        machine: None,
        memory_mib: MEMORY_MIB,
        cpus: 1,
        acceleration: Acceleration::Auto,
        network: Network::None,
        device: DeviceChoice::Auto,
        authorized_key: None,
        kernel_append: None,
        ready_limit: READY_LIMIT,
    };
    let started = start(&registry, &options, cancel, report)?;
    let ended = remove(&registry, &name, true, cancel);
    if let Err(VmError::Cancelled) = ended {
        // Nothing of it is left even so: one who gives up knows nothing of this VM.
        let anew = Cancel::new().map_err(|_| VmError::Cancelled)?;
        remove(&registry, &name, true, &anew)?;
        return Err(VmError::Cancelled);
    }
    ended?;
    Ok(started.record.accelerator.unwrap_or(Accelerator::Tcg))
}

impl Tried {
    pub(super) fn into_finding(self) -> Finding {
        let image = self.image.display();
        match self.outcome {
            Ok((accelerator, took)) => Finding::ok(
                Subject::Boot,
                format!(
                    "a VM of {image} was ready and gone again after {:.1} s, with {accelerator}",
                    took.as_secs_f64()
                ),
            ),
            Err(told) => Finding::missing(Subject::Boot, told),
        }
    }
}

/// An error and what caused it.
pub(super) fn text_of(error: impl Error) -> String {
    super::folders::chain(&error)
}
