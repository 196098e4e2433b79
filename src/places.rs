//! Where this program keeps things: the cache and the state folder, as the XDG rules say.
//!
//! Owns the names of these folders; refuses to create them. Everything in the cache can be removed
//! at any time; the state folder holds what is known of running VMs.

use std::env;
use std::fmt;
use std::path::PathBuf;

/// No folder could be named, because the environment names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    variables: &'static str,
}

impl fmt::Display for NoPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "no folder to keep things in: set one of {} to an absolute path",
            self.variables
        )
    }
}

impl std::error::Error for NoPlace {}

/// Downloads, tools and verdicts: `$SMOLVM_CACHE_DIR`, else `$XDG_CACHE_HOME/smolvm`, else
/// `~/.cache/smolvm`; the same folder that the project's scripts use.
///
/// # Errors
/// [`NoPlace`] where none of these variables is set to an absolute path.
pub fn cache_dir() -> Result<PathBuf, NoPlace> {
    absolute("SMOLVM_CACHE_DIR")
        .or_else(|| absolute("XDG_CACHE_HOME").map(|base| base.join("smolvm")))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache/smolvm")))
        .ok_or(NoPlace {
            variables: "SMOLVM_CACHE_DIR, XDG_CACHE_HOME and HOME",
        })
}

/// What is known of VMs: `$SMOLVM_STATE_DIR`, else `$XDG_STATE_HOME/smolvm`, else
/// `~/.local/state/smolvm`.
///
/// # Errors
/// [`NoPlace`] where none of these variables is set to an absolute path.
pub fn state_dir() -> Result<PathBuf, NoPlace> {
    absolute("SMOLVM_STATE_DIR")
        .or_else(|| absolute("XDG_STATE_HOME").map(|base| base.join("smolvm")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/smolvm")))
        .ok_or(NoPlace {
            variables: "SMOLVM_STATE_DIR, XDG_STATE_HOME and HOME",
        })
}

/// The variable's value where it is an absolute path: the XDG rules say to ignore any other.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    path.is_absolute().then_some(path)
}
