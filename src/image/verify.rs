//! The check of an image folder against its manifest, in both directions.
//!
//! Owns the second one, that nothing is there which the manifest does not list; that all of its files
//! are there and match is [`Image::open`]'s.

use super::manifest::MANIFEST_NAME;
use super::{Image, ImageError};
use crate::cancel::Cancel;
use std::path::Path;

/// Opens an image folder, compares every file, and looks for others.
///
/// # Errors
/// As [`Image::open`], [`ImageError::Mismatch`] for a file that is not listed, [`ImageError::Cancelled`].
pub fn verify(folder: &Path, cancel: &Cancel) -> Result<Image, ImageError> {
    let image = Image::open_until(folder, Some(cancel))?;
    let read_error = |source| ImageError::Read {
        what: "image",
        path: image.folder.clone(),
        source,
    };
    for entry in std::fs::read_dir(&image.folder).map_err(read_error)? {
        let name = entry.map_err(read_error)?.file_name();
        let is_listed = name
            .to_str()
            .is_some_and(|name| name == MANIFEST_NAME || image.manifest.files.contains_key(name));
        if !is_listed {
            return Err(ImageError::Mismatch {
                path: image.folder.clone(),
                reason: format!("it holds {name:?}, which its manifest does not list"),
            });
        }
    }
    Ok(image)
}
