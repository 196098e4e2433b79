//! `smolctl get`.

use crate::arguments::GetArguments;
use crate::cp::with_advice;
use crate::failure::Failure;
use crate::guest::{deadline_of, guest_of, transfer_by};
use crate::progress::Progress;
use smolvm_host::cancel::Cancel;
use smolvm_host::standard_stream::StandardStream;
use std::path::Path;

pub(crate) fn get(arguments: &GetArguments, cancel: &Cancel) -> Result<u8, Failure> {
    if arguments.remote.is_empty() {
        return Err(Failure::usage("the path in the guest is empty"));
    }
    let deadline = deadline_of(arguments.timeout);
    let guest = guest_of(&arguments.target, &arguments.way, deadline, cancel)?;
    let progress = Progress::of_bytes(None);
    let transfer = transfer_by(deadline)
        .verify(arguments.verify)
        .progress(|bytes| progress.set(bytes));
    let fetched = if arguments.local == Path::new("-") {
        let mut stdout = StandardStream::stdout(cancel).map_err(Failure::output)?;
        guest.get_to(&arguments.remote, &mut stdout, transfer)
    } else {
        guest.get_file(&arguments.remote, &arguments.local, transfer)
    };
    fetched.map_err(|error| Failure::guest(&arguments.target, with_advice(error)))?;
    Ok(0)
}
