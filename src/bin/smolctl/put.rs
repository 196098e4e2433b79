//! `smolctl put`.

use crate::arguments::{PutArguments, UploadArguments};
use crate::failure::Failure;
use crate::guest::{deadline_of, guest_of, transfer_by};
use crate::progress::Progress;
use smolvm_host::cancel::Cancel;
use smolvm_host::deadline::Deadline;
use smolvm_host::files::{Source, Transfer};
use smolvm_protocol::request::Owner;
use std::path::Path;

pub(crate) fn put(arguments: &PutArguments, cancel: &Cancel) -> Result<u8, Failure> {
    if arguments.remote.is_empty() {
        return Err(Failure::usage("the path in the guest is empty"));
    }
    let deadline = deadline_of(arguments.timeout);
    let guest = guest_of(&arguments.target, &arguments.way, deadline, cancel)?;
    let source = open(&arguments.local, cancel, deadline)?;
    let transfer = transfer_by(deadline).verify(arguments.verify);
    let transfer = as_asked(transfer, arguments.mode, &arguments.upload);
    let progress = Progress::of_bytes(Some(source.size));
    let transfer = transfer.progress(|bytes| progress.set(bytes));
    guest
        .put_source(source, &arguments.remote, transfer)
        .map_err(|error| Failure::guest(&arguments.target, error))?;
    Ok(0)
}

/// What an upload is given and waits for, as asked.
pub(crate) fn as_asked<'progress>(
    mut transfer: Transfer<'progress>,
    mode: Option<u32>,
    arguments: &UploadArguments,
) -> Transfer<'progress> {
    if let Some(mode) = mode {
        transfer = transfer.mode(mode);
    }
    if let Some(Owner { uid, gid }) = arguments.owner {
        transfer = transfer.owner(uid, gid);
    }
    transfer.sync(arguments.sync)
}

/// A file to send; `-` is standard input.
pub(crate) fn open(local: &Path, cancel: &Cancel, deadline: Deadline) -> Result<Source, Failure> {
    let (source, cannot) = if local == Path::new("-") {
        let cannot = "cannot keep standard input in a temporary file".to_owned();
        (
            Source::from_stream(&std::io::stdin(), cancel, deadline),
            cannot,
        )
    } else {
        let cannot = format!("cannot send {}", local.display());
        (Source::open(local, cancel, deadline), cannot)
    };
    source.map_err(|error| match cancel.is_cancelled() {
        true => Failure::cancelled(),
        false => Failure::local(anyhow::Error::new(error).context(cannot)),
    })
}
