//! Programs of a distribution's packages, unpacked into one folder, with what they need to start.
//!
//! Owns the way from a program to its loader and libraries, which are looked up as that loader would;
//! links are followed within the folder, never out of it. What is copied are the files, under the names
//! by which they are asked for. A static program brings nothing along.

use super::ImageError;
use super::elf::Elf;
use super::placing::follow_in;
use super::root::{Content, Root};
use super::tree::Tree;
use super::tree_path::clean;
use crate::arch::Arch;
use crate::cancel::Cancel;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The largest program or library that is read.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// A folder of unpacked packages.
#[derive(Debug)]
pub struct Packages {
    folder: PathBuf,
    root: Root<'static>,
    arch: Arch,
}

/// What a program needs beside itself: absolute paths and bytes.
pub type Needs = BTreeMap<String, Vec<u8>>;

impl Packages {
    /// Looks over a folder of packages for an architecture.
    ///
    /// # Errors
    /// As [`Tree::read`].
    pub fn read(folder: &Path, arch: Arch, cancel: &Cancel) -> Result<Self, ImageError> {
        Ok(Self {
            folder: folder.to_owned(),
            root: Tree::read(folder, cancel)?.root,
            arch,
        })
    }

    /// Reads the program at `path` of the folder, and puts its loader and libraries to `needs`.
    ///
    /// # Errors
    /// [`ImageError::Read`]; [`ImageError::Unsuitable`] where it is not there, is no program for the
    /// architecture, or something that it needs is missing.
    pub fn program(&self, path: &str, needs: &mut Needs) -> Result<Vec<u8>, ImageError> {
        let program = self.file(path)?;
        self.add_needs(path, &program, needs)?;
        Ok(program)
    }

    /// Reads a folder or an archive at `path` of the folder, links in it followed.
    ///
    /// # Errors
    /// As [`Tree::read`]; [`ImageError::Unsuitable`] where something in it could not be kept.
    pub fn tree(&self, path: &str, cancel: &Cancel) -> Result<Root<'static>, ImageError> {
        let Some(found) = self.find(path) else {
            return Err(self.missing(path));
        };
        let tree = Tree::read(&self.folder.join(found.trim_start_matches('/')), cancel)?;
        match tree.notes.first() {
            None => Ok(tree.root),
            Some(note) => Err(self.unsuitable(path, format!("cannot be kept whole: {note}"))),
        }
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
                .find(|candidate| self.find(candidate).is_some());
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
        if clean(path.as_bytes()).as_deref() != Ok(path) {
            return Err(self.unsuitable(
                path,
                "is asked for by a program, and no plain path".to_owned(),
            ));
        }
        let content = self.file(source)?;
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

    fn file(&self, path: &str) -> Result<Vec<u8>, ImageError> {
        let Some(found) = self.find(path) else {
            return Err(self.missing(path));
        };
        let read = || match &self.root[&found].content {
            Content::File(content) if content.length() <= MAX_FILE_BYTES => {
                Ok(content.bytes()?.into_owned())
            }
            _ => Err(io::Error::other("it is no regular file, or too large")),
        };
        read().map_err(|source| ImageError::Read {
            what: "packages' file",
            path: self.folder.join(path.trim_start_matches('/')),
            source,
        })
    }

    /// Where `path` leads, with the folder for a root. Packages of merged-/usr systems have everything
    /// below `/usr`, and rely on links that some other package brings.
    fn find(&self, path: &str) -> Option<String> {
        [path.to_owned(), format!("/usr{path}")]
            .iter()
            .filter_map(|path| follow_in(&self.root, path).ok())
            .map(|found| match &self.root.get(&found)?.content {
                Content::HardLink(original) => Some(original.clone()),
                _ => Some(found),
            })
            .find_map(|found| found)
    }

    fn missing(&self, path: &str) -> ImageError {
        ImageError::Unsuitable {
            what: "packages' folder",
            path: self.folder.clone(),
            reason: format!("has no {path}"),
            remedy: self.remedy(),
        }
    }

    fn unsuitable(&self, path: &str, reason: String) -> ImageError {
        ImageError::Unsuitable {
            what: "packages' file",
            path: self.folder.join(path.trim_start_matches('/')),
            reason,
            remedy: self.remedy(),
        }
    }

    fn remedy(&self) -> String {
        format!(
            "scripts/fetch-ssh-packages.sh {} fetches a folder that has all of it",
            self.arch
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::elf::tests::dynamic;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn packages(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn needs_of(folder: &tempfile::TempDir, program: &str) -> Result<Vec<String>, ImageError> {
        let cancel = Cancel::new().unwrap();
        let packages = Packages::read(folder.path(), Arch::X86_64, &cancel)?;
        let mut needs = Needs::new();
        packages.program(program, &mut needs)?;
        Ok(needs.into_keys().collect())
    }

    #[test]
    fn program_brings_its_loader_and_libraries_by_the_names_that_it_asks_for() {
        let folder = packages(&[
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
        assert_eq!(
            needs_of(&folder, "/usr/bin/p").unwrap(),
            [
                "/lib/libc.so",
                "/lib/x86_64-linux-gnu/liba.so.1",
                "/lib64/ld.so"
            ]
        );
    }

    #[test]
    fn static_program_brings_nothing_along() {
        let folder = packages(&[("p", dynamic(None, &[]))]);
        assert!(needs_of(&folder, "/p").unwrap().is_empty());
    }

    #[test]
    fn loaders_and_libraries_whose_names_climb_are_refused() {
        for (loader, library) in [
            ("ld.so", "a"),
            ("/lib/../../ld.so", "a"),
            ("/ld.so", "../a"),
        ] {
            let folder = packages(&[
                ("p", dynamic(Some(loader), &[library])),
                ("ld.so", dynamic(None, &[])),
                ("lib/a", dynamic(None, &[])),
                ("a", dynamic(None, &[])),
            ]);
            let error = needs_of(&folder, "/p").unwrap_err().to_string();
            assert!(error.contains("and no plain path"), "{error}");
        }
    }

    #[test]
    fn missing_library_is_named_and_links_do_not_lead_out_of_the_folder() {
        let folder = packages(&[("p", dynamic(None, &["libx.so"]))]);
        let error = needs_of(&folder, "/p").unwrap_err();
        assert!(error.to_string().contains("needs libx.so"), "{error}");
        symlink("../../../../../../etc/passwd", folder.path().join("out")).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        for path in ["/out", "/loop", "/none"] {
            let error = needs_of(&folder, path).unwrap_err().to_string();
            let wanted = format!(" has no {path}; scripts/fetch-ssh-packages.sh x86_64 fetches");
            assert!(error.contains(&wanted), "{error}");
        }
    }
}
