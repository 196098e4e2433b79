//! `smolctl image build`.

use crate::arguments::{ImageArguments, ImageBuildArguments, ImageVerb};
use crate::failure::Failure;
use crate::output::print_line;
use smolvm_host::cancel::Cancel;
use smolvm_host::image::{Inputs, build};
use std::io::Write;

pub(crate) fn image(arguments: ImageArguments, cancel: &Cancel) -> Result<u8, Failure> {
    match arguments.verb {
        ImageVerb::Build(arguments) => build_image(arguments, cancel),
    }
}

fn build_image(arguments: ImageBuildArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let inputs = Inputs {
        arch: arguments.arch,
        kernel: arguments.kernel,
        modules: arguments.modules,
        busybox: arguments.busybox,
        agent: arguments.agent,
        layout: arguments.layout,
    };
    let manifest = build(&inputs, &arguments.output, cancel)?;
    let initramfs = manifest.files[&manifest.initramfs].size;
    let _ = writeln!(
        std::io::stderr(),
        "{} image for {}: initramfs of {} KiB, {} modules",
        manifest.variant,
        manifest.arch,
        initramfs / 1024,
        manifest.modules.len()
    );
    print_line(&arguments.output.display().to_string())?;
    Ok(0)
}
