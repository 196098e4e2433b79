//! `/proc`, the state folder, how long its sockets' paths are, and the pool of CIDs.

use super::remedy::as_root;
use super::{Finding, Subject};
use crate::cancel::Cancel;
use crate::places;
use crate::target::MAX_NAME_BYTES;
use crate::vm::device::DeviceSockets;
use crate::vm::{CidPool, Registry, VmError};
use std::error::Error;

pub(super) fn examine() -> Vec<Finding> {
    vec![proc(), state_folder(), socket_path(), cid_pool()]
}

fn proc() -> Finding {
    match Registry::open() {
        Err(VmError::NoProc) => Finding::missing(Subject::Proc, "there is no whole /proc here")
            .mended_by(as_root("mount -t proc proc /proc")),
        _ => Finding::ok(Subject::Proc, "tells of processes and of this boot"),
    }
}

/// By taking the registry's lock, for which the folder is made where it is missing.
fn state_folder() -> Finding {
    let subject = Subject::StateFolder;
    let state = match places::state_dir() {
        Ok(state) => state,
        Err(error) => return Finding::missing(subject, error.to_string()),
    };
    let locked = Cancel::new()
        .map_err(super::boot::text_of)
        .and_then(|cancel| {
            let registry = Registry::at(&state);
            registry
                .lock(&cancel)
                .map(drop)
                .map_err(super::boot::text_of)
        });
    match locked {
        Ok(()) => Finding::ok(subject, format!("{} can be written", state.display())),
        Err(told) => Finding::missing(subject, told)
            .mended_by("export SMOLVM_STATE_DIR=/var/tmp/smolvm-$USER".to_owned()),
    }
}

fn socket_path() -> Finding {
    let subject = Subject::SocketPath;
    let Ok(state) = places::state_dir() else {
        return Finding::missing(subject, "there is no state folder");
    };
    let registry = Registry::at(&state);
    let fits = |length: &usize| DeviceSockets::in_dir(&registry.dir(&"x".repeat(*length)));
    let remedy = "export SMOLVM_STATE_DIR=/var/tmp/smolvm-$USER".to_owned();
    match (1..=MAX_NAME_BYTES)
        .rev()
        .find(|length| fits(length).is_ok())
    {
        Some(MAX_NAME_BYTES) => Finding::ok(subject, "short enough for every VM's name"),
        Some(length) => Finding::limited(
            subject,
            format!("short enough for names of up to {length} letters"),
        )
        .mended_by(remedy),
        None => {
            let told = fits(&1).err().map(super::boot::text_of);
            Finding::missing(subject, told.unwrap_or_default()).mended_by(remedy)
        }
    }
}

fn cid_pool() -> Finding {
    let subject = Subject::CidPool;
    let pool = match CidPool::host() {
        Ok(pool) => pool,
        Err(error) => return Finding::missing(subject, super::boot::text_of(error)),
    };
    match pool.allocate() {
        Err(error) => Finding::missing(subject, super::boot::text_of(error)),
        Ok(_) if pool.is_of_host() || places::cid_pool().is_ok_and(|path| path.is_some()) => {
            Finding::ok(subject, pool.path().display().to_string())
        }
        Ok(_) => Finding::limited(
            subject,
            format!(
                "{}, so that other users' VMs are noticed only once QEMU is refused their CIDs",
                pool.path().display()
            ),
        )
        .mended_by(as_root("install -m 666 /dev/null /run/lock/smolvm-cids")),
    }
}

/// An error and what caused it, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
