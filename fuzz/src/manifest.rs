//! An image folder's manifest: written anew it says the same, and nothing that it names is outside of its folder.

use smolvm_host::image::Image;
use smolvm_host::image::manifest::{MANIFEST_FORMAT, MANIFEST_NAME, Manifest};
use std::fs;

/// Checks what is made of a folder with that manifest, a kernel `k` and a folder `d` with a file.
pub fn check(json: &[u8]) {
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let image = folder.path().join("image");
    fs::create_dir_all(image.join("d")).expect("the folder is new");
    for file in [folder.path().join("k"), image.join("k"), image.join("d/k")] {
        fs::write(file, "k").expect("the folder is new");
    }
    fs::write(image.join(MANIFEST_NAME), json).expect("the folder is new");
    let read = Manifest::read(&image);
    let opened = Image::open(&image);
    match read {
        Ok(manifest) => {
            assert_eq!(manifest.format, MANIFEST_FORMAT);
            fs::write(image.join(MANIFEST_NAME), manifest.to_json()).expect("it can be written");
            assert_eq!(Manifest::read(&image).ok(), Some(manifest.clone()));
            assert!(
                opened
                    .as_ref()
                    .is_ok_and(|opened| opened.manifest == manifest)
                    || opened.is_err()
            );
        }
        Err(error) => {
            assert!(opened.is_err(), "what cannot be read is opened");
            assert!(!error.to_string().is_empty());
        }
    }
    if let Ok(opened) = opened {
        let inventories = opened.manifest.inventories.iter();
        let inventories = inventories.flat_map(|(file, inventory)| [file, inventory]);
        let within: Vec<_> = [
            Some(opened.kernel()),
            opened.initramfs(),
            opened.root_disk(),
        ]
        .into_iter()
        .flatten()
        .chain(inventories.map(|name| opened.folder.join(name)))
        .collect();
        for path in within {
            assert_eq!(
                path.parent(),
                Some(opened.folder.as_path()),
                "{}",
                path.display()
            );
            assert!(path.is_file(), "{}", path.display());
        }
    }
}
