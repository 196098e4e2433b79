//! Two images, archives or folders of files, compared down to the path that differs.
//!
//! Owns what each of them is taken for: an image folder by its manifest, an initramfs and a tar
//! archive by their content, any other folder as a tree. Which files of two images differ is found by
//! their bytes; what differs within them is told by their inventories.

use super::difference::{Change, Difference, differences};
use super::listing::{self, Listing, word};
use super::manifest::{FileSum, MANIFEST_NAME, Manifest};
use super::tree::Tree;
use super::{ImageError, regular};
use crate::cancel::Cancel;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// The largest inventory that is read: four million lines of a usual length.
const MAX_INVENTORY_BYTES: u64 = 1024 * 1024 * 1024;
/// How a `newc` archive begins.
const CPIO_MAGIC: &[u8] = b"070701";
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// Says where `first` and `second` differ; nothing where they are the same.
///
/// # Errors
/// [`ImageError`] where one of them cannot be read, and [`ImageError::WrongCall`] where they are not of
/// the same kind.
pub fn compare(
    first: &Path,
    second: &Path,
    cancel: &Cancel,
) -> Result<Vec<Difference>, ImageError> {
    for path in [first, second] {
        fs::metadata(path).map_err(read_error(path))?;
    }
    match (is_image(first), is_image(second)) {
        (true, true) => compare_images(first, second, cancel),
        (false, false) => Ok(differences(
            &listing_of(first, cancel)?,
            &listing_of(second, cancel)?,
        )),
        (is_first, _) => {
            let (image, other) = if is_first {
                (first, second)
            } else {
                (second, first)
            };
            Err(ImageError::WrongCall {
                reason: format!(
                    "{} is an image folder and {} is none: name two of the same kind",
                    image.display(),
                    other.display()
                ),
            })
        }
    }
}

fn is_image(path: &Path) -> bool {
    path.join(MANIFEST_NAME).is_file()
}

fn compare_images(
    first: &Path,
    second: &Path,
    cancel: &Cancel,
) -> Result<Vec<Difference>, ImageError> {
    let (first_manifest, second_manifest) = (Manifest::read(first)?, Manifest::read(second)?);
    let mut found = differences(&members(&first_manifest), &members(&second_manifest));
    for file in differences(&files(first, cancel)?, &files(second, cancel)?) {
        let name = &file.path;
        let is_in_both = matches!(file.change, Change::Words { .. });
        let inventory = inventory_of(name, &first_manifest, &second_manifest);
        let Some(inventory) = inventory.filter(|_| is_in_both) else {
            // What an inventory says differently is said of what it describes.
            if !(is_in_both && first_manifest.is_inventory(name)) {
                found.push(file);
            }
            continue;
        };
        let inner = differences(
            &listing_in(&first.join(&inventory))?,
            &listing_in(&second.join(&inventory))?,
        );
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
    Ok(found)
}

/// The inventory of a file that both images have one of.
fn inventory_of(name: &str, first: &Manifest, second: &Manifest) -> Option<String> {
    let inventory = first.inventories.get(name)?;
    (second.inventories.get(name) == Some(inventory)).then(|| inventory.clone())
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
                let sum = regular::open(&path).and_then(FileSum::of_reader);
                listing::of_sum(&sum.map_err(read_error(&path))?)
            }
            _ => "kind=other".to_owned(),
        };
        listing.insert(name, line);
    }
    Ok(listing)
}

/// The listing of an initramfs, an archive or a folder.
fn listing_of(path: &Path, cancel: &Cancel) -> Result<Listing, ImageError> {
    if let Some(archive) = initramfs(path).map_err(read_error(path))? {
        return listing::of_initramfs(archive).map_err(read_error(path));
    }
    let tree = Tree::read(path, cancel)?;
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
        true => Box::new(BufReader::new(flate2::bufread::GzDecoder::new(file))),
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
