//! From inputs to an image folder.
//!
//! Owns the order of the steps: everything is read and checked before anything is written.

use super::assembly::{Programs, add_modules, assemble};
use super::ext4::Ext4Tools;
use super::folder::StagedFolder;
use super::layout::{Layout, check_disk_mib};
use super::listing;
use super::manifest::{FileSum, MANIFEST_FORMAT, MANIFEST_NAME, Manifest};
use super::modules::{Module, ModuleTree};
use super::packages::Packages;
use super::program::{self, MAX_PROGRAM_BYTES, check_agent, check_static};
use super::root::Root;
use super::variant::Variant;
use super::{ImageError, archive, kernel};
use crate::arch::Arch;
use crate::cancel::Cancel;
use smolvm_protocol::PROTOCOL_VERSION;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const KERNEL_NAME: &str = "vmlinuz";
const INITRAMFS_NAME: &str = "initramfs.cpio.gz";
const INITRAMFS_INVENTORY_NAME: &str = "initramfs.txt";
const ROOT_DISK_NAME: &str = "root.ext4";
const ROOT_DISK_INVENTORY_NAME: &str = "root.txt";

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The guest's architecture.
    pub arch: Arch,
    /// The kernel.
    pub kernel: PathBuf,
    /// The kernel's `lib/modules/<version>` tree.
    pub modules: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
    /// The static guest agent.
    pub agent: PathBuf,
    /// What the root holds.
    pub layout: LayoutInput,
    /// A folder of unpacked packages, for layouts that have programs of them.
    pub packages: Option<PathBuf>,
    /// Another size in MiB than the layout's, for those that make a disk.
    pub disk_mib: Option<u32>,
}

/// Which layout an image is built from.
#[derive(Clone, Debug)]
pub enum LayoutInput {
    /// A built-in one.
    BuiltIn(Variant),
    /// A file.
    File(PathBuf),
}

impl LayoutInput {
    fn read(&self) -> Result<Layout, ImageError> {
        match self {
            Self::BuiltIn(variant) => Layout::built_in(*variant),
            Self::File(path) => Layout::read(path),
        }
    }
}

/// Builds an image into `folder`, which is replaced where it is an image of ours.
///
/// # Errors
/// [`ImageError`]; nothing is left behind, and what stood at `folder` stays.
pub fn build(inputs: &Inputs, folder: &Path, cancel: &Cancel) -> Result<Manifest, ImageError> {
    let goes_on = || match cancel.is_cancelled() {
        true => Err(ImageError::Cancelled),
        false => Ok(()),
    };
    let layout = inputs.layout.read()?;
    let disk_mib = disk_mib(inputs, &layout)?;
    check_packages(inputs, &layout)?;
    let kernel = program::read("kernel", &inputs.kernel, kernel::MAX_KERNEL_BYTES)?;
    let busybox = program::read("busybox", &inputs.busybox, MAX_PROGRAM_BYTES)?;
    let agent = program::read("guest agent", &inputs.agent, MAX_PROGRAM_BYTES)?;
    check_kernel(inputs, &kernel)?;
    check_busybox(inputs, &busybox)?;
    let agent_version = check_agent(&inputs.agent, &agent, inputs.arch)?;
    let release = kernel::release(&kernel);
    let modules = ModuleTree::open(&inputs.modules)?.closure(
        &layout.modules,
        inputs.arch,
        release.as_deref(),
    )?;
    goes_on()?;
    let packages = match &inputs.packages {
        Some(folder) => Some(Packages::read(folder, inputs.arch, cancel)?),
        None => None,
    };
    let programs = Programs {
        busybox: &busybox,
        agent: &agent,
        packages: packages.as_ref(),
    };
    let root = assemble(&layout, &programs, cancel)?;
    let mut parts = Parts {
        staged: StagedFolder::begin(folder)?,
        cancel,
        files: BTreeMap::new(),
    };
    parts.add(KERNEL_NAME, &kernel)?;
    let mut manifest = Manifest {
        format: MANIFEST_FORMAT,
        variant: layout.variant().to_owned(),
        arch: inputs.arch,
        agent_version,
        protocol: PROTOCOL_VERSION,
        kernel: KERNEL_NAME.to_owned(),
        kernel_release: release,
        initramfs: None,
        root_disk: None,
        cmdline: format!("console={} panic=-1 quiet", inputs.arch.console()),
        modules: modules.iter().map(|module| module.name.clone()).collect(),
        tools: BTreeMap::new(),
        inventories: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    match disk_mib {
        None => parts.add_initramfs(root, &layout, &modules, &mut manifest)?,
        Some(size_mib) => {
            // A kernel that has all of it built in finds the disk by itself.
            if !modules.is_empty() {
                let first = Layout::built_in(Variant::Minimal)?;
                let stage_one = assemble(&first, &programs, cancel)?;
                parts.add_initramfs(stage_one, &first, &modules, &mut manifest)?;
            }
            goes_on()?;
            parts.add_root_disk(&root, size_mib, &mut manifest)?;
        }
    }
    goes_on()?;
    manifest.files = parts.files;
    let json = manifest.to_json();
    parts.staged.write(MANIFEST_NAME, json.as_bytes())?;
    goes_on()?;
    parts.staged.commit()?;
    Ok(manifest)
}

/// The disk's size: the caller's before the layout's; a layout without a disk has none.
fn disk_mib(inputs: &Inputs, layout: &Layout) -> Result<Option<u32>, ImageError> {
    let wrong_call = |reason: String| ImageError::WrongCall { reason };
    match (inputs.disk_mib, layout.disk_mib) {
        (Some(_), None) => Err(wrong_call(format!(
            "an image of the {} layout has no disk, so a disk's size means nothing; leave it out or choose \
             another variant",
            layout.variant()
        ))),
        (Some(asked), Some(_)) => {
            check_disk_mib(asked).map_err(wrong_call)?;
            Ok(Some(asked))
        }
        (None, known) => Ok(known),
    }
}

/// The packages' folder belongs to layouts that have programs of it, and to no other.
fn check_packages(inputs: &Inputs, layout: &Layout) -> Result<(), ImageError> {
    match (&inputs.packages, layout.has_programs()) {
        (None, true) => Err(ImageError::PackagesMissing),
        (Some(_), false) => Err(ImageError::WrongCall {
            reason: format!(
                "an image of the {} layout has no programs of packages, so a folder of them means nothing; \
                 leave --packages out or choose another variant",
                layout.variant()
            ),
        }),
        _ => Ok(()),
    }
}

/// The files of an image while it is written.
struct Parts<'run> {
    staged: StagedFolder,
    cancel: &'run Cancel,
    files: BTreeMap<String, FileSum>,
}

impl Parts<'_> {
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.staged.write(name, bytes)?;
        self.files.insert(name.to_owned(), FileSum::of(bytes));
        Ok(())
    }

    /// Describes the root that the file `name` holds.
    fn add_inventory(
        &mut self,
        name: &str,
        inventory: &str,
        root: &Root<'_>,
        manifest: &mut Manifest,
    ) -> Result<(), ImageError> {
        let listing = listing::of_root(root, self.cancel).map_err(|source| {
            ImageError::Write {
                path: inventory.into(),
                source,
            }
            .unless(self.cancel)
        })?;
        let names = (name.to_owned(), inventory.to_owned());
        manifest.inventories.extend([names]);
        self.add(inventory, listing::text_of(&listing).as_bytes())
    }

    fn add_initramfs<'input>(
        &mut self,
        mut root: Root<'input>,
        layout: &Layout,
        modules: &'input [Module],
        manifest: &mut Manifest,
    ) -> Result<(), ImageError> {
        add_modules(&mut root, layout, modules)?;
        self.add(INITRAMFS_NAME, &archive::initramfs(&root)?)?;
        self.add_inventory(INITRAMFS_NAME, INITRAMFS_INVENTORY_NAME, &root, manifest)?;
        manifest.initramfs = Some(INITRAMFS_NAME.to_owned());
        Ok(())
    }

    fn add_root_disk(
        &mut self,
        root: &Root<'_>,
        size_mib: u32,
        manifest: &mut Manifest,
    ) -> Result<(), ImageError> {
        let tools = Ext4Tools::find(self.cancel)?;
        let sum = self
            .staged
            .write_by(ROOT_DISK_NAME, self.cancel, |target, scratch| {
                tools.write(root, size_mib, target, scratch, self.cancel)
            })?;
        self.files.insert(ROOT_DISK_NAME.to_owned(), sum);
        self.add_inventory(ROOT_DISK_NAME, ROOT_DISK_INVENTORY_NAME, root, manifest)?;
        manifest.root_disk = Some(ROOT_DISK_NAME.to_owned());
        manifest.cmdline.push_str(" root=/dev/vda rw init=/init");
        let version = tools.version().to_owned();
        manifest.tools.insert("mke2fs".to_owned(), version);
        Ok(())
    }
}

fn check_kernel(inputs: &Inputs, kernel: &[u8]) -> Result<(), ImageError> {
    kernel::check(kernel, inputs.arch).map_err(|reason| ImageError::Unsuitable {
        what: "kernel",
        path: inputs.kernel.clone(),
        reason,
        remedy: format!("scripts/fetch-kernel.sh {} 6.12 fetches one", inputs.arch),
    })
}

fn check_busybox(inputs: &Inputs, busybox: &[u8]) -> Result<(), ImageError> {
    check_static(busybox, inputs.arch).map_err(|reason| ImageError::Unsuitable {
        what: "busybox",
        path: inputs.busybox.clone(),
        reason,
        remedy: format!("scripts/fetch-busybox.sh {} fetches one", inputs.arch),
    })
}
