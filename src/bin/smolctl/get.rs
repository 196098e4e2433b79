//! `smolctl get`.

use crate::arguments::GetArguments;
use crate::failure::Failure;
use crate::ping::duration;
use crate::run::channel_to;
use smolvm_host::cancel::Cancel;
use smolvm_host::deadline::Deadline;
use smolvm_host::standard_stream::StandardStream;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) fn get(arguments: &GetArguments, cancel: &Cancel) -> Result<u8, Failure> {
    if arguments.remote.is_empty() {
        return Err(Failure::usage("the path in the guest is empty"));
    }
    let channel = channel_to(&arguments.target, cancel)?;
    let remote = arguments.remote.as_bytes();
    let deadline = Deadline::after_optional(arguments.timeout.map(duration));
    let fetched = if arguments.local == Path::new("-") {
        let mut stdout = StandardStream::stdout(cancel).map_err(Failure::output)?;
        channel.get_file(remote, &mut stdout, deadline)
    } else {
        let local = local_path(&arguments.local, &arguments.remote)?;
        channel.get_file_to(remote, &local, deadline)
    };
    fetched.map_err(|error| Failure::channel(&arguments.target, error))?;
    Ok(0)
}

/// A directory takes the file under its name in the guest.
fn local_path(local: &Path, remote: &OsStr) -> Result<PathBuf, Failure> {
    if !local.is_dir() {
        if local.as_os_str().as_bytes().ends_with(b"/") {
            return Err(Failure::local(anyhow::anyhow!(
                "there is no directory {}",
                local.display()
            )));
        }
        return Ok(local.to_owned());
    }
    let name = Path::new(remote).file_name();
    let name = name.ok_or_else(|| {
        Failure::usage(format_args!(
            "{} is a directory and '{}' has no name to use in it",
            local.display(),
            remote.to_string_lossy()
        ))
    })?;
    Ok(local.join(name))
}
