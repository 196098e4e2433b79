//! `smolctl cp`: files and trees, both ways, by the rules of `docker cp`.
//!
//! Owns what a path at either end means. A directory that is there takes what is copied under its name; any
//! other path is the copy's own; `/.` behind a directory means what is in it. Refuses to copy from guest to guest.

mod operand;

use crate::arguments::CpArguments;
use crate::failure::Failure;
use crate::guest::{deadline_of, guest_of, transfer_by};
use crate::output::print_line;
use crate::progress::Progress;
use crate::put::{as_asked, open};
use operand::Operand;
use serde_json::json;
use smolvm_host::cancel::Cancel;
use smolvm_host::channel::{ChannelError, Copied};
use smolvm_host::files::Transfer;
use smolvm_host::printable::printable;
use smolvm_host::standard_stream::StandardStream;
use smolvm_host::{Guest, GuestError};
use smolvm_protocol::tree::MAX_SKIPPED_SHOWN;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// An agent's sentence for a directory and the like (`docs/protocol.md`, "get_file").
const NO_FILE: &str = "not a regular file";

/// What the protocol has for files alone.
const ONE_FILE: &str = "--verify, --owner and --sync are for one file; leave them out, or copy a tree's files one by one without -r";

pub(crate) fn cp(arguments: &CpArguments, cancel: &Cancel) -> Result<u8, Failure> {
    let from = Operand::parse(&arguments.from).map_err(Failure::usage)?;
    let to = Operand::parse(&arguments.to).map_err(Failure::usage)?;
    let copied = match (from, to) {
        (Operand::Remote { target, path }, to @ (Operand::Local(_) | Operand::Standard)) => {
            download(arguments, &target, &path, &to, cancel)
        }
        (from @ (Operand::Local(_) | Operand::Standard), Operand::Remote { target, path }) => {
            upload(arguments, &from, &target, &path, cancel)
        }
        (Operand::Remote { .. }, Operand::Remote { .. }) => Err(Failure::usage(
            "both sides are in a guest; copy to this side first, or write ./NAME for a file here whose name has a colon",
        )),
        _ => Err(Failure::usage(
            "both sides are here; write one as TARGET:PATH, such as vm1:/tmp",
        )),
    }?;
    tell(&copied, arguments.json)?;
    Ok(0)
}

/// What is sent, as it was looked at.
enum Sent {
    Stream,
    File(PathBuf),
    Tree(PathBuf),
}

fn upload(
    arguments: &CpArguments,
    from: &Operand,
    target: &OsStr,
    path: &OsStr,
    cancel: &Cancel,
) -> Result<Copied, Failure> {
    let sent = look_at(arguments, from)?;
    if matches!(sent, Sent::Tree(_)) {
        if arguments.mode.is_some() {
            return Err(Failure::usage(
                "--mode is for one file; a tree's modes are kept",
            ));
        }
        if arguments.verify || arguments.upload.owner.is_some() || arguments.upload.sync {
            return Err(Failure::usage(ONE_FILE));
        }
    }
    let deadline = deadline_of(arguments.timeout);
    let guest = guest_of(target, &arguments.way, deadline, cancel)?;
    let failed = |error| Failure::guest(target, error);
    let mut source = match sent {
        Sent::Tree(local) => {
            let place = match fs::symlink_metadata(&local) {
                Ok(metadata) if metadata.is_symlink() => {
                    place_in_guest(path, local.file_name().map(OsStr::as_bytes))?
                }
                _ => path.to_owned(),
            };
            // Where its name stands in the path already, a directory of that name must not take it under that once more.
            let name = (place == path).then(|| tree_name(&local)).flatten();
            return send_tree(&guest, &local, &place, name, transfer_by(deadline)).map_err(failed);
        }
        Sent::Stream => open(Path::new("-"), cancel, deadline)?,
        Sent::File(local) => open(&local, cancel, deadline)?,
    };
    let place = place_in_guest(path, source.name.as_deref())?;
    if place != path {
        source.name = None;
    }
    let bytes = source.size;
    let progress = Progress::of_bytes(Some(bytes));
    let transfer = transfer_by(deadline)
        .verify(arguments.verify)
        .progress(|bytes| progress.set(bytes));
    let transfer = as_asked(transfer, arguments.mode, &arguments.upload);
    guest.put_source(source, place, transfer).map_err(failed)?;
    Ok(one_file(bytes))
}

fn look_at(arguments: &CpArguments, from: &Operand) -> Result<Sent, Failure> {
    let Operand::Local(local) = from else {
        return match arguments.recursive {
            true => Err(Failure::usage(
                "standard input is one file; leave -r out to copy it",
            )),
            false => Ok(Sent::Stream),
        };
    };
    let cannot_read = |error| {
        let what = format!("cannot read {}", local.display());
        Failure::local(anyhow::Error::new(error).context(what))
    };
    let metadata = match arguments.recursive {
        true => fs::symlink_metadata(local),
        false => fs::metadata(local),
    };
    let metadata = metadata.map_err(cannot_read)?;
    match arguments.recursive {
        true if metadata.is_dir() || metadata.is_symlink() => Ok(Sent::Tree(local.clone())),
        false if metadata.is_dir() => Err(Failure::usage(format_args!(
            "{} is a directory; copy it with -r",
            local.display()
        ))),
        _ => Ok(Sent::File(local.clone())),
    }
}

/// A path that ends in a slash means a directory, which has to be there: the file's name is written behind it, so that a
/// guest without that directory refuses.
fn place_in_guest(path: &OsStr, name: Option<&[u8]>) -> Result<OsString, Failure> {
    let path = path.as_bytes();
    if !path.ends_with(b"/") && !path.ends_with(b"/.") {
        return Ok(OsStr::from_bytes(path).to_owned());
    }
    let name = name.ok_or_else(|| {
        Failure::usage(
            "standard input has no name to use in a directory; write the file's own path",
        )
    })?;
    Ok(OsString::from_vec([path, b"/", name].concat()))
}

fn send_tree(
    guest: &Guest,
    local: &Path,
    path: &OsStr,
    name: Option<OsString>,
    transfer: Transfer<'_>,
) -> Result<Copied, GuestError> {
    let progress = Progress::of_bytes(None);
    let mut transfer = transfer.progress(|bytes| progress.set(bytes));
    if let Some(name) = name {
        transfer = transfer.name(name);
    }
    guest.put_tree(local, path, transfer)
}

fn tree_name(local: &Path) -> Option<OsString> {
    let name = name_of(local.as_os_str()).map(OsStr::to_owned);
    name.or_else(|| name_above(local))
}

fn download(
    arguments: &CpArguments,
    target: &OsStr,
    path: &OsStr,
    to: &Operand,
    cancel: &Cancel,
) -> Result<Copied, Failure> {
    if arguments.mode.is_some() {
        return Err(Failure::usage(
            "--mode is for a file that goes into a guest",
        ));
    }
    if arguments.upload.owner.is_some() || arguments.upload.sync {
        return Err(Failure::usage(
            "--owner and --sync are for a file that goes into a guest",
        ));
    }
    if arguments.recursive && arguments.verify {
        return Err(Failure::usage(ONE_FILE));
    }
    if arguments.recursive && *to == Operand::Standard {
        return Err(Failure::usage(
            "standard output takes one file; leave -r out, or copy to a directory",
        ));
    }
    if arguments.json && *to == Operand::Standard {
        return Err(Failure::usage(
            "standard output has the file itself, so --json has no place there",
        ));
    }
    let deadline = deadline_of(arguments.timeout);
    let guest = guest_of(target, &arguments.way, deadline, cancel)?;
    let failed = |error| Failure::guest(target, error);
    let progress = Progress::of_bytes(None);
    let mut transfer = transfer_by(deadline)
        .verify(arguments.verify)
        .progress(|bytes| progress.set(bytes));
    let fetched = match to {
        Operand::Local(local) if arguments.recursive => {
            if let Some(name) = name_of(path) {
                transfer = transfer.name(name);
            }
            return guest.get_tree(path, local, transfer).map_err(failed);
        }
        Operand::Local(local) => guest.get_file(path, local, transfer),
        _ => {
            let mut stdout = StandardStream::stdout(cancel).map_err(Failure::output)?;
            guest.get_to(path, &mut stdout, transfer)
        }
    };
    let fetched = fetched.map_err(|error| failed(with_advice(error)))?;
    Ok(one_file(fetched.bytes))
}

/// What the agent says of a directory does not say what to do.
pub(crate) fn with_advice(error: GuestError) -> GuestError {
    match error {
        GuestError::Channel(ChannelError::Refused { sentence }) if sentence == NO_FILE => {
            let sentence = format!("{sentence}; if it is a directory, copy it with smolctl cp -r");
            GuestError::Channel(ChannelError::Refused { sentence })
        }
        error => error,
    }
}

/// The name that a directory takes a copy under; `None` where what is in it is meant (`x/.`), or it has none (`/`).
fn name_of(path: &OsStr) -> Option<&OsStr> {
    match means_content(path) {
        true => None,
        false => Path::new(path).file_name(),
    }
}

/// The same where a path here ends in `..`, whose name the file system knows.
fn name_above(local: &Path) -> Option<OsString> {
    let is_above = local.components().next_back() == Some(Component::ParentDir);
    if !is_above || means_content(local.as_os_str()) {
        return None;
    }
    let real = fs::canonicalize(local).ok()?;
    real.file_name().map(OsStr::to_owned)
}

/// Whether the last component is `.`, slashes behind it aside.
fn means_content(path: &OsStr) -> bool {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/');
    let bytes = &bytes[..end.map_or(0, |at| at + 1)];
    bytes == b"." || bytes.ends_with(b"/.")
}

fn one_file(bytes: u64) -> Copied {
    Copied {
        entries: 1,
        bytes,
        skipped: Vec::new(),
    }
}

fn tell(copied: &Copied, as_json: bool) -> Result<(), Failure> {
    let skipped: Vec<_> = copied
        .skipped
        .iter()
        .map(|path| String::from_utf8_lossy(path))
        .collect();
    if as_json {
        let (entries, bytes) = (copied.entries, copied.bytes);
        let result = json!({"entries": entries, "bytes": bytes, "skipped": skipped});
        return print_line(&result.to_string());
    }
    if !skipped.is_empty() {
        let and_more = match skipped.len() {
            ..MAX_SKIPPED_SHOWN => "",
            _ => " (the first 16)",
        };
        let _ = writeln!(
            std::io::stderr(),
            "smolctl: left out{and_more}, being neither files nor directories nor links: {}",
            printable(&skipped.join(", "))
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_takes_a_copy_under_its_name_and_its_content_under_none() {
        for (path, name) in [
            ("/a/b", Some("b")),
            ("a/b/", Some("b")),
            ("a/b/.", None),
            ("a/./", None),
            (".", None),
            ("/", None),
            ("..", None),
        ] {
            assert_eq!(name_of(path.as_ref()), name.map(OsStr::new), "{path}");
        }
        for path in ["/usr/bin/..", "/usr/bin/../", "/usr/bin/..//"] {
            assert_eq!(name_above(Path::new(path)), Some("usr".into()), "{path}");
        }
        for path in ["/usr/bin/.", "/usr/bin/../.", "/usr/bin/a..b/.", "/usr"] {
            assert_eq!(name_above(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn path_in_the_guest_with_a_slash_behind_means_a_directory() {
        let place = |path: &str| place_in_guest(path.as_ref(), Some(b"n")).unwrap();
        assert_eq!(place("/a"), "/a");
        assert_eq!(place("/a/"), "/a//n");
        assert_eq!(place("/a/."), "/a/./n");
        assert!(place_in_guest("/a/".as_ref(), None).is_err());
    }
}
