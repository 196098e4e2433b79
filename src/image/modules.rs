//! Which kernel modules go into an image, in which order the guest loads them.
//!
//! Owns the search in a `lib/modules/<version>` tree and the closure over `depends=` and `softdep=`
//! of each module's `.modinfo`; needs no `modules.dep`, since none is in a kernel package that was
//! never installed. Modules come out uncompressed. The order is a function of the wanted list and
//! of the modules, never of the file system.

use super::elf::Elf;
use super::layout::WantedModule;
use super::{ImageError, regular};
use crate::arch::Arch;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The largest module that is read, as it is and unpacked.
const MAX_MODULE_BYTES: u64 = 64 * 1024 * 1024;
/// The largest `modules.builtin` that is read.
const MAX_LIST_BYTES: u64 = 16 * 1024 * 1024;

/// A module to put into the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// The uncompressed `.ko`.
    pub content: Vec<u8>,
}

/// A `lib/modules/<version>` tree.
#[derive(Debug)]
pub struct ModuleTree {
    folder: PathBuf,
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl ModuleTree {
    /// Looks a tree over: `folder` is the tree itself, or holds exactly one.
    ///
    /// # Errors
    /// [`ImageError::Read`], and [`ImageError::Unsuitable`] where it is no such tree.
    pub fn open(folder: &Path) -> Result<Self, ImageError> {
        let folder = locate(folder)?;
        let mut files = BTreeMap::new();
        collect(&folder, &mut files).map_err(|source| read_error(&folder, source))?;
        let list = folder.join("modules.builtin");
        let built_in = match regular::read_text(&list, MAX_LIST_BYTES) {
            Ok(text) => text.lines().filter_map(name_of).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(source) => return Err(read_error(&list, source)),
        };
        if files.is_empty() && built_in.is_empty() {
            return Err(no_tree(
                &folder,
                "has neither modules in it nor a list of built-in ones",
            ));
        }
        Ok(Self {
            folder,
            files,
            built_in,
        })
    }

    /// The wanted modules and what they depend on, in load order.
    ///
    /// # Errors
    /// [`ImageError::ModuleMissing`] where a required one is neither here nor built in;
    /// [`ImageError::Unsuitable`] where a module is broken, packed in an unknown way, for another
    /// architecture, or for another kernel than `release`.
    pub fn closure(
        &self,
        wanted: &[WantedModule],
        arch: Arch,
        release: Option<&str>,
    ) -> Result<Vec<Module>, ImageError> {
        let mut closure = Closure {
            tree: self,
            arch,
            release,
            visited: BTreeSet::new(),
            modules: Vec::new(),
        };
        for module in wanted {
            if module.required || self.has(&module.name) {
                closure.visit(&module.name)?;
            }
        }
        Ok(closure.modules)
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.built_in.contains(name)
    }
}

struct Closure<'tree> {
    tree: &'tree ModuleTree,
    arch: Arch,
    release: Option<&'tree str>,
    visited: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Closure<'_> {
    /// Adds a module after everything that it needs; a cycle ends where it began.
    fn visit(&mut self, name: &str) -> Result<(), ImageError> {
        if self.tree.built_in.contains(name) || !self.visited.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(path) = self.tree.files.get(name) else {
            return Err(ImageError::ModuleMissing {
                module: name.to_owned(),
                folder: self.tree.folder.clone(),
                arch: self.arch,
            });
        };
        let content = read_module(path)?;
        let info = self
            .module_info(&content)
            .map_err(|reason| unsuitable("kernel module", path, &reason))?;
        for needed in &info.depends {
            self.visit(needed)?;
        }
        for soft in info.soft_before.iter().filter(|name| self.tree.has(name)) {
            self.visit(soft)?;
        }
        self.modules.push(Module {
            name: name.to_owned(),
            content,
        });
        for soft in info.soft_after.iter().filter(|name| self.tree.has(name)) {
            self.visit(soft)?;
        }
        Ok(())
    }

    fn module_info(&self, content: &[u8]) -> Result<ModuleInfo, String> {
        let elf = Elf::parse(content).map_err(|error| error.to_string())?;
        if elf.arch() != Some(self.arch) {
            return Err(format!("is not for {}", self.arch));
        }
        let section = elf.section(".modinfo").ok_or("has no .modinfo section")?;
        let info = ModuleInfo::parse(section);
        match self.release {
            Some(release) if info.release != release => Err(format!(
                "is for the kernel {}, and the kernel is {release}",
                info.release
            )),
            _ => Ok(info),
        }
    }
}

/// What a module's `.modinfo` section says of others.
#[derive(Debug, Default, PartialEq, Eq)]
struct ModuleInfo {
    release: String,
    depends: Vec<String>,
    soft_before: Vec<String>,
    soft_after: Vec<String>,
}

impl ModuleInfo {
    fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for entry in section.split(|&byte| byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            match entry.split_once('=') {
                Some(("depends", names)) => {
                    let names = names.split(',').filter(|name| !name.is_empty());
                    info.depends.extend(names.map(underscored));
                }
                Some(("softdep", line)) => info.add_soft(line),
                Some(("vermagic", magic)) => {
                    info.release = magic.split(' ').next().unwrap_or_default().to_owned();
                }
                _ => {}
            }
        }
        info
    }

    /// `pre: a b post: c`
    fn add_soft(&mut self, line: &str) {
        let mut list = None;
        for word in line.split_whitespace() {
            match word {
                "pre:" => list = Some(&mut self.soft_before),
                "post:" => list = Some(&mut self.soft_after),
                name => {
                    if let Some(list) = list.as_deref_mut() {
                        list.push(underscored(name));
                    }
                }
            }
        }
    }
}

/// The tree itself, or the only one below `folder` or `folder/lib/modules`.
fn locate(folder: &Path) -> Result<PathBuf, ImageError> {
    let is_tree =
        |path: &Path| path.join("kernel").is_dir() || path.join("modules.builtin").exists();
    if is_tree(folder) {
        return Ok(folder.to_owned());
    }
    let below = [folder.join("lib/modules"), folder.join("usr/lib/modules")];
    let base = below.iter().find(|path| path.is_dir());
    let base = base.map_or(folder, PathBuf::as_path);
    let entries = fs::read_dir(base).map_err(|source| read_error(base, source))?;
    let mut trees: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| is_tree(path))
        .collect();
    match (trees.pop(), trees.is_empty()) {
        (Some(tree), true) => Ok(tree),
        _ => Err(no_tree(
            folder,
            "is no lib/modules/<version> tree and does not hold exactly one",
        )),
    }
}

fn no_tree(folder: &Path, reason: &str) -> ImageError {
    ImageError::Unsuitable {
        what: "modules folder",
        path: folder.to_owned(),
        reason: reason.to_owned(),
        remedy: "name the lib/modules/<version> folder of one kernel, such as scripts/fetch-kernel.sh fetches"
            .to_owned(),
    }
}

/// Module files by name; links (`build`, `source`) are not followed.
fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if let Some(name) = entry.file_name().to_str().and_then(name_of) {
            files.entry(name).or_insert_with(|| entry.path());
        }
    }
    Ok(())
}

/// `kernel/net/vmw-vsock.ko.xz` → `vmw_vsock`
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, packing) = file.split_once(".ko")?;
    matches!(packing, "" | ".xz" | ".gz" | ".zst").then(|| underscored(name))
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

fn read_module(path: &Path) -> Result<Vec<u8>, ImageError> {
    let packed =
        regular::read(path, MAX_MODULE_BYTES).map_err(|source| read_error(path, source))?;
    let broken = |error: String| unsuitable("kernel module", path, &error);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            let mut content = Limited::default();
            lzma_rs::xz_decompress(&mut packed.as_slice(), &mut content)
                .map_err(|error| broken(format!("cannot be unpacked ({error})")))?;
            Ok(content.bytes)
        }
        Some("gz") => {
            let mut content = Vec::new();
            let unpacked = flate2::read::GzDecoder::new(packed.as_slice());
            unpacked
                .take(MAX_MODULE_BYTES)
                .read_to_end(&mut content)
                .map_err(|error| broken(format!("cannot be unpacked ({error})")))?;
            Ok(content)
        }
        Some("zst") => Err(ImageError::Unsuitable {
            what: "kernel module",
            path: path.to_owned(),
            reason: "is packed with zstd, which is not supported".to_owned(),
            remedy: "unpack the folder's modules with unzstd first".to_owned(),
        }),
        _ => Ok(packed),
    }
}

/// A buffer that refuses to outgrow [`MAX_MODULE_BYTES`], however much unpacking yields.
#[derive(Default)]
struct Limited {
    bytes: Vec<u8>,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > MAX_MODULE_BYTES {
            return Err(io::Error::other("larger than any kernel module"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_error(path: &Path, source: io::Error) -> ImageError {
    ImageError::Read {
        what: "kernel modules",
        path: path.to_owned(),
        source,
    }
}

fn unsuitable(what: &'static str, path: &Path, reason: &str) -> ImageError {
    ImageError::Unsuitable {
        what,
        path: path.to_owned(),
        reason: reason.to_owned(),
        remedy: "take kernel and modules from the same package, e.g. scripts/fetch-kernel.sh"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::elf::tests::sample;

    fn tree_of(modules: &[(&str, &str)], built_in: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kernel/net")).unwrap();
        fs::write(folder.path().join("modules.builtin"), built_in).unwrap();
        for (file, info) in modules {
            let info = info.replace(' ', "\0").replace('+', " ");
            let content = sample(62, 1, ".modinfo", info.as_bytes());
            let path = folder.path().join("kernel/net").join(file);
            if file.ends_with(".xz") {
                let mut packed = fs::File::create(path).unwrap();
                lzma_rs::xz_compress(&mut content.as_slice(), &mut packed).unwrap();
            } else {
                fs::write(path, content).unwrap();
            }
        }
        folder
    }

    fn names(folder: &Path, wanted: &[&str], release: Option<&str>) -> Result<String, ImageError> {
        let wanted: Vec<WantedModule> = wanted
            .iter()
            .map(|name| WantedModule {
                name: name.trim_end_matches('?').to_owned(),
                required: !name.ends_with('?'),
            })
            .collect();
        let modules = ModuleTree::open(folder)?.closure(&wanted, Arch::X86_64, release)?;
        let names: Vec<String> = modules.into_iter().map(|module| module.name).collect();
        Ok(names.join(" "))
    }

    #[test]
    fn dependencies_come_first_and_packed_modules_are_unpacked() {
        let folder = tree_of(
            &[
                (
                    "top.ko.xz",
                    "depends=mid-dle,core softdep=pre:+before+gone+post:+after",
                ),
                ("mid-dle.ko", "depends=core,base"),
                ("base.ko", "depends="),
                ("before.ko", ""),
                ("after.ko", "depends=top"),
            ],
            "kernel/lib/core.ko\n",
        );
        assert_eq!(
            names(folder.path(), &["top", "absent?"], None).unwrap(),
            "base mid_dle before top after"
        );
    }

    #[test]
    fn missing_module_is_an_error_unless_optional_or_built_in() {
        let folder = tree_of(&[], "kernel/net/vsock.ko\n");
        assert_eq!(names(folder.path(), &["vsock", "x?"], None).unwrap(), "");
        assert!(matches!(
            names(folder.path(), &["x"], None).unwrap_err(),
            ImageError::ModuleMissing { module, .. } if module == "x"
        ));
    }

    #[test]
    fn module_of_another_kernel_is_refused() {
        let folder = tree_of(&[("a.ko", "vermagic=6.1.0+SMP")], "");
        assert_eq!(names(folder.path(), &["a"], Some("6.1.0")).unwrap(), "a");
        let error = names(folder.path(), &["a"], Some("6.12")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is for the kernel 6.1.0, and the kernel is 6.12")
        );
    }

    #[test]
    fn folder_without_a_tree_is_refused_and_one_with_lib_modules_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ModuleTree::open(folder.path()).is_err());
        let kernel = folder.path().join("lib/modules/6.1/kernel");
        fs::create_dir_all(&kernel).unwrap();
        assert!(ModuleTree::open(folder.path()).is_err(), "no module in it");
        fs::write(kernel.join("a.ko"), b"").unwrap();
        let tree = ModuleTree::open(folder.path()).unwrap();
        assert!(tree.folder.ends_with("lib/modules/6.1"));
    }

    #[test]
    fn modules_packed_with_zstd_or_broken_are_refused() {
        let folder = tree_of(&[], "");
        for (file, word) in [
            ("a.ko.zst", "zstd"),
            ("b.ko.xz", "unpacked"),
            ("c.ko", "ELF"),
        ] {
            fs::write(folder.path().join("kernel").join(file), b"x").unwrap();
            let error = names(folder.path(), &[&file[..1]], None).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
