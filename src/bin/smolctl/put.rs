//! `smolctl put`.

use crate::arguments::PutArguments;
use crate::failure::Failure;
use crate::guest::guest_of;
use crate::ping::duration;
use crate::progress::Progress;
use smolvm_host::Transfer;
use smolvm_host::cancel::Cancel;
use smolvm_host::files::Source;
use std::path::Path;

pub(crate) fn put(arguments: &PutArguments, cancel: &Cancel) -> Result<u8, Failure> {
    if arguments.remote.is_empty() {
        return Err(Failure::usage("the path in the guest is empty"));
    }
    let guest = guest_of(&arguments.target, &arguments.way, cancel)?;
    let mut transfer = Transfer::new();
    if let Some(seconds) = arguments.timeout {
        transfer = transfer.timeout(duration(seconds));
    }
    if let Some(mode) = arguments.mode {
        transfer = transfer.mode(mode);
    }
    let source = open(&arguments.local, cancel)?;
    let progress = Progress::of_bytes(Some(source.size));
    let transfer = transfer.progress(|bytes| progress.set(bytes));
    guest
        .put_source(source, &arguments.remote, transfer)
        .map_err(|error| Failure::guest(&arguments.target, error))?;
    Ok(0)
}

/// A file to send; `-` is standard input.
pub(crate) fn open(local: &Path, cancel: &Cancel) -> Result<Source, Failure> {
    let (source, cannot) = if local == Path::new("-") {
        let cannot = "cannot keep standard input in a temporary file".to_owned();
        (Source::from_stream(&std::io::stdin(), cancel), cannot)
    } else {
        let cannot = format!("cannot send {}", local.display());
        (Source::open(local, cancel), cannot)
    };
    source.map_err(|error| match cancel.is_cancelled() {
        true => Failure::cancelled(),
        false => Failure::local(anyhow::Error::new(error).context(cannot)),
    })
}
