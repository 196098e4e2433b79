//! Files into a guest and out of it, from and to paths, readers and writers.

use super::{Guest, GuestError, Way};
use crate::channel::{Fetched, SHA256, deliver};
use crate::deadline::Deadline;
use crate::files::{Counted, Source, Transfer, place_of};
use smolvm_protocol::request::{Destination, ExpectedSum};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Guest {
    /// Stores the file `local` in the guest as `remote`, or within it where that is a directory. Its permission
    /// bits (0o777 of them) go along.
    ///
    /// # Errors
    /// [`GuestError`]; the target in the guest is then as it was. [`GuestError::Read`] where `local` cannot be
    /// read.
    pub fn put_file(
        &self,
        local: impl AsRef<Path>,
        remote: impl AsRef<OsStr>,
        mut transfer: Transfer<'_>,
    ) -> Result<(), GuestError> {
        let local = local.as_ref();
        let deadline = Deadline::after_optional(transfer.timeout);
        let source = Source::open(local, &self.inner.cancel, deadline)
            .map_err(|source| self.unreadable(local.display().to_string(), source))?;
        transfer.timeout = deadline.remaining();
        self.put_source(source, remote, transfer)
    }

    /// Stores a file that is open already.
    ///
    /// # Errors
    /// [`GuestError`]; the target in the guest is then as it was.
    pub fn put_source(
        &self,
        mut source: Source,
        remote: impl AsRef<OsStr>,
        mut transfer: Transfer<'_>,
    ) -> Result<(), GuestError> {
        transfer.mode = transfer.mode.or(source.mode);
        transfer.name = transfer.name.or(source.name.take());
        let deadline = Deadline::after_optional(transfer.timeout);
        self.require_for(&transfer, deadline)?;
        let (file, size) = (&mut source.file, source.size);
        self.send(file, size, remote.as_ref(), transfer, deadline)
    }

    /// Stores `size` bytes of a reader in the guest as `remote`. What the reader has beyond them is not read, and
    /// the time that it takes is not cut short.
    ///
    /// # Errors
    /// [`GuestError`]; the target in the guest is then as it was. [`super::ErrorKind::Local`] where the reader
    /// fails or ends early.
    pub fn put_from(
        &self,
        reader: &mut dyn Read,
        size: u64,
        remote: impl AsRef<OsStr>,
        transfer: Transfer<'_>,
    ) -> Result<(), GuestError> {
        let deadline = Deadline::after_optional(transfer.timeout);
        self.require_for(&transfer, deadline)?;
        self.send(reader, size, remote.as_ref(), transfer, deadline)
    }

    /// Makes sure that the agent can be sent a file in this way; one that serves nothing but version 1 is not asked.
    fn require_for(&self, transfer: &Transfer<'_>, deadline: Deadline) -> Result<(), GuestError> {
        for feature in transfer.features() {
            self.require_by(feature, deadline)?;
        }
        Ok(())
    }

    fn send(
        &self,
        reader: &mut dyn Read,
        size: u64,
        remote: &OsStr,
        transfer: Transfer<'_>,
        deadline: Deadline,
    ) -> Result<(), GuestError> {
        let destination = Destination {
            path: remote.as_bytes().to_vec(),
            name: transfer.name,
            mode: transfer.mode,
            sha256: transfer.verify.then_some(ExpectedSum::Follows),
            owner: transfer.owner,
            sync: transfer.sync,
        };
        let mut counted = Counted::new(reader, transfer.progress);
        match self.way() {
            Way::Agent(channel) => channel.put_file(&mut counted, size, destination, deadline)?,
            Way::Ssh(channel) => channel.put_file(&mut counted, size, &destination, deadline)?,
        }
        Ok(())
    }

    /// Fetches the guest's file `remote` to `local`, or within it where that is a directory. What is there is
    /// replaced once all of the file has come. Its permission bits (0o777 of them) come along.
    ///
    /// # Errors
    /// [`GuestError`]; what was there is then as it was. [`GuestError::Place`] where `local` cannot be meant.
    pub fn get_file(
        &self,
        remote: impl AsRef<OsStr>,
        local: impl AsRef<Path>,
        mut transfer: Transfer<'_>,
    ) -> Result<Fetched, GuestError> {
        let local = place_of(local.as_ref(), remote.as_ref())?;
        let deadline = Deadline::after_optional(transfer.timeout);
        if transfer.verify {
            self.require_by(SHA256, deadline)?;
        }
        let progress = transfer.progress.take();
        deliver(&local, &self.inner.cancel, deadline, |sink| {
            let mut counted = Counted::new(sink, progress);
            self.fetch(remote.as_ref(), transfer.verify, &mut counted, deadline)
        })
    }

    /// Fetches the guest's file `remote` into a writer. The time that the writer takes is not cut short.
    ///
    /// # Errors
    /// [`GuestError`]; the writer may then have a part of the file, or, where it is to be verified, all of another.
    pub fn get_to(
        &self,
        remote: impl AsRef<OsStr>,
        writer: &mut dyn Write,
        transfer: Transfer<'_>,
    ) -> Result<Fetched, GuestError> {
        let deadline = Deadline::after_optional(transfer.timeout);
        if transfer.verify {
            self.require_by(SHA256, deadline)?;
        }
        let mut counted = Counted::new(writer, transfer.progress);
        self.fetch(remote.as_ref(), transfer.verify, &mut counted, deadline)
    }

    fn fetch(
        &self,
        remote: &OsStr,
        verify: bool,
        sink: &mut dyn Write,
        deadline: Deadline,
    ) -> Result<Fetched, GuestError> {
        let remote = remote.as_bytes();
        Ok(match self.way() {
            Way::Agent(channel) if verify => channel.get_file_verified(remote, sink, deadline)?,
            Way::Agent(channel) => channel.get_file(remote, sink, deadline)?,
            Way::Ssh(channel) => channel.get_file(remote, sink, deadline)?,
        })
    }

    fn unreadable(&self, what: String, source: std::io::Error) -> GuestError {
        if self.inner.cancel.is_cancelled() {
            return crate::channel::ChannelError::Cancelled.into();
        }
        GuestError::Read { what, source }
    }
}
