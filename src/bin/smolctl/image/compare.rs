//! `smolctl image verify` and `smolctl image diff`.

use crate::arguments::{ImageDiffArguments, ImageVerifyArguments};
use crate::failure::Failure;
use crate::output::print_line;
use smolvm_host::cancel::Cancel;
use smolvm_host::image::compare::{Comparison, compare};
use smolvm_host::image::verify::verify;
use smolvm_host::printable::printable;
use std::io::Write;

/// As of diff(1).
const DIFFERENT: u8 = 1;

pub(crate) fn verify_image(
    arguments: &ImageVerifyArguments,
    cancel: &Cancel,
) -> Result<u8, Failure> {
    let manifest = verify(&arguments.folder, cancel)?.manifest;
    let line = if arguments.json {
        serde_json::json!({
            "folder": arguments.folder.to_string_lossy(),
            "variant": manifest.variant,
            "arch": manifest.arch,
            "files": manifest.files,
        })
        .to_string()
    } else {
        format!(
            "{}: {} for {}, {} files match",
            arguments.folder.display(),
            manifest.variant,
            manifest.arch,
            manifest.files.len()
        )
    };
    print_line(&line)?;
    Ok(0)
}

pub(crate) fn diff_images(arguments: &ImageDiffArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let found = compare(&arguments.first, &arguments.second, cancel);
    // 1 says that they differ, so trouble has another code.
    let Comparison {
        differences: found,
        notes,
    } = found.map_err(|error| Failure::from(error).of_diff())?;
    for note in notes {
        let _ = writeln!(std::io::stderr(), "{}", printable(&note));
    }
    if arguments.json {
        let json = serde_json::to_string(&found).map_err(Failure::local);
        print_line(&json.map_err(Failure::of_diff)?)?;
    } else {
        for difference in &found {
            print_line(&difference.to_string())?;
        }
    }
    Ok(if found.is_empty() { 0 } else { DIFFERENT })
}
