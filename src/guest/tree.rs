//! Trees of files into a guest and out of it.

use super::{Guest, GuestError};
use crate::channel::{Copied, GET_TREE, PUT_TREE};
use crate::deadline::Deadline;
use crate::files::Transfer;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Guest {
    /// Copies the file, directory or link `local` into the guest, links as they are, with modes (0o777 of a file's, 0o1777 of
    /// a directory's). `remote` becomes its root; where that is a directory there, the root goes into it under the
    /// transfer's name, or, where the transfer has none, a directory's content does. A directory that is there
    /// already keeps its mode and what else is in it. Devices, pipes and sockets are left out and told.
    ///
    /// # Errors
    /// [`GuestError`]; what was complete by then stays in the guest. [`GuestError::NoFeature`] where the agent does not
    /// serve trees, [`GuestError::NotThisWay`] where the transfer asks for what is for one file.
    pub fn put_tree(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<OsStr>,
        transfer: Transfer<'_>,
    ) -> Result<Copied, GuestError> {
        check(&transfer)?;
        let deadline = Deadline::after_optional(transfer.timeout);
        let mut progress = transfer.progress.unwrap_or_else(|| Box::new(|_| ()));
        Ok(self.require_by(PUT_TREE, deadline)?.put_tree(
            local.as_ref(),
            remote.as_ref().as_bytes(),
            transfer.name.as_deref(),
            deadline,
            &mut progress,
        )?)
    }

    /// Copies the file, directory or link `remote` out of the guest, as [`Self::put_tree`] does into it: `local` becomes its
    /// root, or the directory that its root or content goes into. Nothing that the guest names is made anywhere else.
    ///
    /// # Errors
    /// [`GuestError`]; what was complete by then stays. [`GuestError::NoFeature`] where the agent does not serve
    /// trees, [`GuestError::NotThisWay`] where the transfer asks for what is for one file.
    pub fn get_tree(
        &self,
        remote: impl AsRef<OsStr>,
        local: impl AsRef<Path>,
        transfer: Transfer<'_>,
    ) -> Result<Copied, GuestError> {
        check(&transfer)?;
        let deadline = Deadline::after_optional(transfer.timeout);
        let mut progress = transfer.progress.unwrap_or_else(|| Box::new(|_| ()));
        Ok(self.require_by(GET_TREE, deadline)?.get_tree(
            remote.as_ref().as_bytes(),
            local.as_ref(),
            transfer.name.as_deref().map(OsStr::from_bytes),
            deadline,
            &mut progress,
        )?)
    }
}

/// Refuses what the protocol has for one file alone.
fn check(transfer: &Transfer<'_>) -> Result<(), GuestError> {
    match transfer.features().next() {
        None => Ok(()),
        Some(_) => Err(GuestError::NotThisWay(
            "to verify, to give away and to sync is for one file; a tree is not copied so",
        )),
    }
}
