//! `smolctl image`: the verbs, and `image build`.

mod compare;
mod inject;

use crate::arguments::{ImageArguments, ImageBuildArguments, ImageVerb};
use crate::failure::Failure;
use crate::output::print_line;
use crate::progress::Progress;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::image::{Inputs, LayoutInput, build};
use std::io::Write;

pub(crate) fn image(arguments: ImageArguments, cancel: &Cancel) -> Result<u8, Failure> {
    match arguments.verb {
        ImageVerb::Build(arguments) => build_image(arguments, cancel),
        ImageVerb::Inject(arguments) => inject::inject_agent(arguments, cancel),
        ImageVerb::Verify(arguments) => compare::verify_image(&arguments, cancel),
        ImageVerb::Diff(arguments) => compare::diff_images(&arguments, cancel),
    }
}

fn build_image(arguments: ImageBuildArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let inputs = Inputs {
        arch: arguments.arch,
        kernel: arguments.kernel,
        modules: arguments.modules,
        busybox: arguments.busybox,
        agent: arguments.agent,
        layout: match arguments.layout {
            Some(path) => LayoutInput::File(path),
            None => LayoutInput::BuiltIn(arguments.variant),
        },
        packages: arguments.packages,
        disk_mib: arguments.disk_size,
    };
    let progress = Progress::of_work("building the image");
    let manifest = build(&inputs, &arguments.output, cancel)?;
    drop(progress);
    if arguments.json {
        let image = json!({"image": arguments.output.display().to_string(), "manifest": manifest});
        print_line(&image.to_string())?;
        return Ok(0);
    }
    let size_kib = |name: &str| manifest.files[name].size / 1024;
    let mut parts = Vec::new();
    if let Some(name) = &manifest.initramfs {
        parts.push(format!("initramfs of {} KiB", size_kib(name)));
    }
    if let Some(name) = &manifest.root_disk {
        parts.push(format!("disk of {} MiB", size_kib(name) / 1024));
    }
    let _ = writeln!(
        std::io::stderr(),
        "{} image for {}: {}, {} modules",
        manifest.variant,
        manifest.arch,
        parts.join(", "),
        manifest.modules.len()
    );
    print_line(&arguments.output.display().to_string())?;
    Ok(0)
}
