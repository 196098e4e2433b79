//! Programs of a distribution's packages, unpacked into one folder, with what they need to start.
//!
//! Owns the way from a program to its loader and libraries, which are looked up as that loader would;
//! links are followed within the folder, never out of it. What is copied are the files, under the names
//! by which they are asked for. A static program brings nothing along.

use super::elf::Elf;
use super::{ImageError, regular};
use crate::arch::Arch;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The largest program or library that is read.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How many links one path may lead through, as for a kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// A folder of unpacked packages.
#[derive(Clone, Debug)]
pub struct Packages {
    folder: PathBuf,
    arch: Arch,
}

/// What a program needs beside itself: absolute paths and bytes.
pub type Needs = BTreeMap<String, Vec<u8>>;

impl Packages {
    /// The folder of packages for an architecture.
    #[must_use]
    pub fn new(folder: PathBuf, arch: Arch) -> Self {
        Self { folder, arch }
    }

    /// Reads the program at `path` of the folder, and puts its loader and libraries to `needs`.
    ///
    /// # Errors
    /// [`ImageError::Read`] where it is not there; [`ImageError::Unsuitable`] where it is no program
    /// for the architecture, or something that it needs is missing.
    pub fn program(&self, path: &str, needs: &mut Needs) -> Result<Vec<u8>, ImageError> {
        let program = self.read(path)?;
        self.add_needs(path, &program, needs)?;
        Ok(program)
    }

    fn add_needs(&self, path: &str, file: &[u8], needs: &mut Needs) -> Result<(), ImageError> {
        let unsuitable = |reason: String| self.unsuitable(path, reason);
        let elf = Elf::parse(file).map_err(|error| unsuitable(error.to_string()))?;
        if elf.arch() != Some(self.arch) {
            return Err(unsuitable(format!("is not for {}", self.arch)));
        }
        if let Some(loader) = elf.interpreter() {
            self.add(&loader, &loader, needs)?;
        }
        for library in elf.needed() {
            let found = self
                .library_folders()
                .into_iter()
                .map(|folder| format!("{folder}/{library}"))
                .find(|candidate| self.find(candidate).is_ok());
            let Some(found) = found else {
                return Err(unsuitable(format!(
                    "needs {library}, which no package in that folder has"
                )));
            };
            // A loader is often named as a library as well.
            if needs
                .keys()
                .any(|known| known.ends_with(&format!("/{library}")))
            {
                continue;
            }
            self.add(&found, &found, needs)?;
        }
        Ok(())
    }

    fn add(&self, path: &str, source: &str, needs: &mut Needs) -> Result<(), ImageError> {
        if needs.contains_key(path) {
            return Ok(());
        }
        let content = self.read(source)?;
        needs.insert(path.to_owned(), content.clone());
        self.add_needs(source, &content, needs)
    }

    /// Where loaders look without any configuration: glibc's as Debian builds it, and musl's.
    fn library_folders(&self) -> [String; 4] {
        let triplet = format!("{}-linux-gnu", self.arch);
        [
            format!("/lib/{triplet}"),
            format!("/usr/lib/{triplet}"),
            "/lib".to_owned(),
            "/usr/lib".to_owned(),
        ]
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ImageError> {
        self.find(path)
            .and_then(|found| regular::read(&found, MAX_FILE_BYTES))
            .map_err(|source| ImageError::Read {
                what: "packages' file",
                path: self.folder.join(path.trim_start_matches('/')),
                source,
            })
    }

    /// The file that `path` leads to, with the folder for a root. Packages of merged-/usr systems have
    /// everything below `/usr`, and rely on links that some other package brings.
    fn find(&self, path: &str) -> io::Result<PathBuf> {
        match self.resolve(Path::new(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.resolve(&Path::new("/usr").join(path.trim_start_matches('/')))
            }
            found => found,
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut links = 0;
        let mut resolved = self.folder.clone();
        let mut left: Vec<OsString> = names_of(path);
        while let Some(name) = left.pop() {
            if name == ".." {
                if resolved != self.folder {
                    resolved.pop();
                }
                continue;
            }
            let next = resolved.join(&name);
            if !std::fs::symlink_metadata(&next)?.is_symlink() {
                resolved = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other("it leads through too many links"));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                resolved.clone_from(&self.folder);
            }
            left.extend(names_of(&target));
        }
        Ok(resolved)
    }

    fn unsuitable(&self, path: &str, reason: String) -> ImageError {
        ImageError::Unsuitable {
            what: "packages' file",
            path: self.folder.join(path.trim_start_matches('/')),
            reason,
            remedy: format!(
                "scripts/fetch-ssh-packages.sh {} fetches a folder that has all of it",
                self.arch
            ),
        }
    }
}

/// The names that a path consists of, the first one last.
fn names_of(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::elf::tests::dynamic;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn packages(files: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, Packages) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let packages = Packages::new(folder.path().to_owned(), Arch::X86_64);
        (folder, packages)
    }

    #[test]
    fn program_brings_its_loader_and_libraries_by_the_names_that_it_asks_for() {
        let (folder, packages) = packages(&[
            ("usr/bin/p", dynamic(Some("/lib64/ld.so"), &["liba.so.1"])),
            (
                "usr/lib/x86_64-linux-gnu/liba.so.1.2",
                dynamic(None, &["libc.so", "ld.so"]),
            ),
            ("usr/lib/libc.so", dynamic(None, &[])),
            ("usr/lib/x86_64-linux-gnu/ld.so", dynamic(None, &[])),
        ]);
        let usr = folder.path().join("usr");
        symlink("liba.so.1.2", usr.join("lib/x86_64-linux-gnu/liba.so.1")).unwrap();
        fs::create_dir(usr.join("lib64")).unwrap();
        symlink("/usr/lib/x86_64-linux-gnu/ld.so", usr.join("lib64/ld.so")).unwrap();
        let mut needs = Needs::new();
        packages.program("/usr/bin/p", &mut needs).unwrap();
        let paths: Vec<&str> = needs.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "/lib/libc.so",
                "/lib/x86_64-linux-gnu/liba.so.1",
                "/lib64/ld.so"
            ]
        );
    }

    #[test]
    fn static_program_brings_nothing_along() {
        let (_folder, packages) = packages(&[("p", dynamic(None, &[]))]);
        let mut needs = Needs::new();
        packages.program("/p", &mut needs).unwrap();
        assert!(needs.is_empty());
    }

    #[test]
    fn missing_library_is_named_and_links_do_not_lead_out_of_the_folder() {
        let (folder, packages) = packages(&[("p", dynamic(None, &["libx.so"]))]);
        let error = packages.program("/p", &mut Needs::new()).unwrap_err();
        assert!(error.to_string().contains("needs libx.so"), "{error}");
        symlink("../../../../../../etc/passwd", folder.path().join("out")).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        for path in ["/out", "/loop", "/none"] {
            let error = packages.program(path, &mut Needs::new()).unwrap_err();
            assert!(matches!(error, ImageError::Read { .. }), "{error}");
        }
    }
}
