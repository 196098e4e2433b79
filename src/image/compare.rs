//! Two images, archives or folders of files, compared down to the path that differs.
//!
//! Owns what each of them is taken for: an image folder by its manifest, an initramfs and a tar
//! archive by their content, any other folder as a tree. Which files of two images differ is found by
//! their bytes; what differs within them is told by their inventories, as long as both are what their
//! manifests say.

use super::difference::{Change, Difference, differences};
use super::listing::{self, Listing, word};
use super::manifest::{FileSum, MANIFEST_NAME, Manifest};
use super::tree::Tree;
use super::{ImageError, regular};
use crate::cancel::Cancel;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// The largest inventory that is read: four million lines of a usual length.
const MAX_INVENTORY_BYTES: u64 = 1024 * 1024 * 1024;
/// How a `newc` archive begins.
const CPIO_MAGIC: &[u8] = b"070701";
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Where the two differ; nothing where they are the same.
    pub differences: Vec<Difference>,
    /// What was not compared, a sentence each.
    pub notes: Vec<String>,
}

/// Says where `first` and `second` differ.
///
/// # Errors
/// [`ImageError`] where one of them cannot be read, and [`ImageError::WrongCall`] where they are not of
/// the same kind.
pub fn compare(first: &Path, second: &Path, cancel: &Cancel) -> Result<Comparison, ImageError> {
    for path in [first, second] {
        fs::metadata(path).map_err(read_error(path))?;
    }
    let mut notes = Vec::new();
    let differences = match (is_image(first), is_image(second)) {
        (true, true) => compare_images(&Side::read(first, cancel)?, &Side::read(second, cancel)?)?,
        (false, false) => differences(
            &listing_of(first, &mut notes, cancel)?,
            &listing_of(second, &mut notes, cancel)?,
        ),
        (is_first, _) => {
            let (image, other) = if is_first {
                (first, second)
            } else {
                (second, first)
            };
            return Err(ImageError::WrongCall {
                reason: format!(
                    "{} is an image folder and {} is none: name two of the same kind",
                    image.display(),
                    other.display()
                ),
            });
        }
    };
    Ok(Comparison { differences, notes })
}

fn is_image(path: &Path) -> bool {
    path.join(MANIFEST_NAME).is_file()
}

/// One of two image folders.
struct Side<'call> {
    folder: &'call Path,
    manifest: Manifest,
    files: Listing,
}

impl<'call> Side<'call> {
    fn read(folder: &'call Path, cancel: &Cancel) -> Result<Self, ImageError> {
        Ok(Self {
            folder,
            manifest: Manifest::read(folder)?,
            files: files(folder, cancel)?,
        })
    }

    /// The inventory of a file, where both are what the manifest says: of a file that was changed since it
    /// was built, an inventory says nothing.
    fn inventory(&self, name: &str) -> Option<&str> {
        let inventory = self.manifest.inventories.get(name)?;
        let is_as_listed = |name: &str| {
            let sum = self.manifest.files.get(name);
            sum.is_some_and(|sum| self.files.get(name) == Some(&listing::of_sum(sum)))
        };
        (is_as_listed(name) && is_as_listed(inventory)).then_some(inventory)
    }
}

fn compare_images(first: &Side<'_>, second: &Side<'_>) -> Result<Vec<Difference>, ImageError> {
    let mut found = differences(&members(&first.manifest), &members(&second.manifest));
    let mut files = differences(&first.files, &second.files);
    let mut told = BTreeSet::new();
    for file in &files {
        let name = &file.path;
        let inventory = first.inventory(name).filter(|inventory| {
            second.inventory(name) == Some(inventory) && matches!(file.change, Change::Words { .. })
        });
        let Some(inventory) = inventory else {
            continue;
        };
        let inner = differences(
            &listing_in(&first.folder.join(inventory))?,
            &listing_in(&second.folder.join(inventory))?,
        );
        told.extend([name.clone(), inventory.to_owned()]);
        if inner.is_empty() {
            found.push(Difference {
                path: name.clone(),
                change: Change::Packing,
            });
        }
        found.extend(inner.into_iter().map(|inner| Difference {
            path: format!("{name}: {}", inner.path),
            ..inner
        }));
    }
    // What an inventory says differently was said of what it describes.
    files.retain(|file| !told.contains(&file.path));
    found.extend(files);
    Ok(found)
}

fn listing_in(inventory: &Path) -> Result<Listing, ImageError> {
    regular::read_text(inventory, MAX_INVENTORY_BYTES)
        .and_then(|text| listing::parse(&text))
        .map_err(read_error(inventory))
}

/// A manifest as one line, its members as words; the sums of files are left to the files themselves.
fn members(manifest: &Manifest) -> Listing {
    let value = serde_json::to_value(manifest).unwrap_or_default();
    let members = value.as_object().into_iter().flatten();
    let words = members
        .filter(|(name, _)| *name != "files")
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}={}", word(text)),
            None => format!("{name}={}", word(&value.to_string())),
        });
    let line = words.collect::<Vec<_>>().join(" ");
    Listing::from([(MANIFEST_NAME.to_owned(), line)])
}

/// The files of an image folder by their content.
fn files(folder: &Path, cancel: &Cancel) -> Result<Listing, ImageError> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(folder).map_err(read_error(folder))? {
        if cancel.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        let entry = entry.map_err(read_error(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == MANIFEST_NAME {
            continue;
        }
        let path = entry.path();
        let line = match entry.file_type().map_err(read_error(&path))? {
            kind if kind.is_file() => {
                let sum =
                    regular::open(&path).and_then(|file| FileSum::of_reader(cancel.reader(file)));
                listing::of_sum(&sum.map_err(|error| read_error(&path)(error).unless(cancel))?)
            }
            _ => "kind=other".to_owned(),
        };
        listing.insert(name, line);
    }
    Ok(listing)
}

/// The listing of an initramfs, an archive or a folder.
fn listing_of(
    path: &Path,
    notes: &mut Vec<String>,
    cancel: &Cancel,
) -> Result<Listing, ImageError> {
    if let Some(archive) = initramfs(path).map_err(read_error(path))? {
        return listing::of_initramfs(cancel.reader(archive))
            .map_err(|error| read_error(path)(error).unless(cancel));
    }
    let tree = Tree::read(path, cancel)?;
    let of_tree = tree.notes.iter();
    notes.extend(of_tree.map(|note| format!("{}: {note}", path.display())));
    listing::of_root(&tree.root, cancel).map_err(|error| read_error(path)(error).unless(cancel))
}

/// A file's bytes, unpacked, where they are a cpio archive.
fn initramfs(path: &Path) -> io::Result<Option<Box<dyn Read>>> {
    if fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let mut file = regular::open(path)?;
    let is_packed = begins_with(&file, GZIP_MAGIC);
    file.rewind()?;
    let is_cpio = begins_with(unpacked(file.try_clone()?, is_packed), CPIO_MAGIC);
    file.rewind()?;
    Ok(is_cpio.then(|| unpacked(file, is_packed)))
}

fn unpacked(file: File, is_packed: bool) -> Box<dyn Read> {
    let file = BufReader::new(file);
    match is_packed {
        true => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))),
        false => Box::new(file),
    }
}

fn begins_with(reader: impl Read, magic: &[u8]) -> bool {
    let mut beginning = Vec::new();
    let read = reader.take(magic.len() as u64).read_to_end(&mut beginning);
    read.is_ok() && beginning == magic
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::Read {
        what: "image",
        path,
        source,
    }
}
