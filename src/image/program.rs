//! The programs that go into a guest: static, for its architecture, and what they say they are.
//!
//! Owns the checks of an agent and of any other program before it is put into an image; refuses to
//! run one, since it may be for another architecture.

use super::elf::Elf;
use super::{ImageError, regular};
use crate::arch::Arch;
use std::path::Path;

/// The largest program that is read.
pub(super) const MAX_PROGRAM_BYTES: u64 = 64 * 1024 * 1024;

/// Reads an input whole.
///
/// # Errors
/// [`ImageError::Read`], also for what is no regular file or too large.
pub(super) fn read(what: &'static str, path: &Path, max_bytes: u64) -> Result<Vec<u8>, ImageError> {
    regular::read(path, max_bytes).map_err(|source| ImageError::Read {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Checks the agent that was read from `path`, and tells its version.
///
/// # Errors
/// [`ImageError::Unsuitable`] where it is dynamic, for another architecture, or no agent.
pub(super) fn check_agent(path: &Path, agent: &[u8], arch: Arch) -> Result<String, ImageError> {
    check_static(agent, arch)
        .and_then(|()| {
            agent_version(agent).ok_or_else(|| "is no guest agent: it tells no version".to_owned())
        })
        .map_err(|reason| ImageError::Unsuitable {
            what: "guest agent",
            path: path.to_owned(),
            reason,
            remedy: format!("scripts/build-guest-agent.sh {arch} builds it"),
        })
}

/// Checks that a program runs in a guest of `arch` that has no loader and no libraries.
///
/// # Errors
/// What it is instead, as the end of a sentence that begins with the program.
pub(super) fn check_static(bytes: &[u8], arch: Arch) -> Result<(), String> {
    let elf = Elf::parse(bytes).map_err(|error| error.to_string())?;
    match elf.arch() {
        Some(found) if found == arch => {}
        Some(found) => return Err(format!("is for {found}, not for {arch}")),
        None => return Err(format!("is not for {arch}")),
    }
    if !elf.is_program() {
        return Err("is no program".to_owned());
    }
    if let Some(loader) = elf.interpreter() {
        return Err(format!("is not static (it needs {loader})"));
    }
    if let Some(library) = elf.needed().first() {
        return Err(format!("is not static (it needs {library})"));
    }
    Ok(())
}

/// The version in the line that the agent prints for `--version` (guest-agent/src/main.rs), which
/// stands in the program as it is: one for another architecture cannot be asked.
fn agent_version(agent: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"smolvm-guest-agent ";
    agent
        .windows(BEFORE.len())
        .enumerate()
        .filter(|(_, window)| *window == BEFORE)
        .find_map(|(at, _)| {
            let line = agent[at + BEFORE.len()..]
                .split(|byte| *byte == b'\n')
                .next()?;
            let version = std::str::from_utf8(line.get(..line.len().min(64))?).ok()?;
            let is_version = version.starts_with(|first: char| first.is_ascii_digit())
                && version
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".+-".contains(c));
            is_version.then(|| version.to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::elf::tests::dynamic;

    #[test]
    fn program_with_a_loader_or_libraries_is_not_static() {
        let said = |loader, libraries| check_static(&dynamic(loader, libraries), Arch::X86_64);
        assert_eq!(said(None, &[]), Ok(()));
        let wanted = "is not static (it needs /lib/ld.so)";
        assert_eq!(said(Some("/lib/ld.so"), &[]), Err(wanted.to_owned()));
        let wanted = "is not static (it needs libc.so)";
        assert_eq!(said(None, &["libc.so"]), Err(wanted.to_owned()));
    }
}
