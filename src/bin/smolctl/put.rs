//! `smolctl put`.

use crate::arguments::PutArguments;
use crate::failure::Failure;
use crate::guest::guest_of;
use crate::ping::duration;
use anyhow::Context;
use smolvm_host::cancel::Cancel;
use smolvm_host::files::Source;
use smolvm_host::{Guest, Transfer};
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
    send(&guest, arguments, transfer, cancel)?;
    Ok(0)
}

fn send(
    guest: &Guest,
    arguments: &PutArguments,
    transfer: Transfer<'_>,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let outcome = if arguments.local == Path::new("-") {
        let source = Source::from_stream(&std::io::stdin(), cancel)
            .context("cannot keep standard input in a temporary file")
            .map_err(|error| match cancel.is_cancelled() {
                true => Failure::cancelled(),
                false => Failure::local(error),
            })?;
        guest.put_source(source, &arguments.remote, transfer)
    } else {
        guest.put_file(&arguments.local, &arguments.remote, transfer)
    };
    outcome.map_err(|error| Failure::guest(&arguments.target, error))
}
