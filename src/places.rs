//! Where this program keeps things: the cache and the state folder, as the XDG rules say.
//!
//! Owns the names of these folders; refuses to create them. Everything in the cache can be removed
//! at any time; the state folder holds what is known of running VMs.

use std::env;
use std::fmt;
use std::path::PathBuf;

/// No folder could be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The environment names none.
    Unset {
        /// The variables that could.
        variables: &'static str,
    },
    /// A variable of our own names one relative to wherever we happen to run.
    Relative {
        /// The variable.
        variable: &'static str,
    },
}

impl fmt::Display for NoPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset { variables } => write!(
                formatter,
                "no folder to keep things in: set one of {variables} to an absolute path"
            ),
            Self::Relative { variable } => write!(
                formatter,
                "{variable} is no absolute path: set it to one, or unset it"
            ),
        }
    }
}

impl std::error::Error for NoPlace {}

/// Tells a variable of our own that names no absolute path before anything is done: some callers do
/// without the cache.
///
/// # Errors
/// [`NoPlace::Relative`].
pub fn check() -> Result<(), NoPlace> {
    own("SMOLVM_CACHE_DIR")?;
    own("SMOLVM_STATE_DIR")?;
    cid_pool()?;
    Ok(())
}

/// Downloads, tools and verdicts: `$SMOLVM_CACHE_DIR`, else `$XDG_CACHE_HOME/smolvm`, else
/// `~/.cache/smolvm`; the same folder that the project's scripts use.
///
/// # Errors
/// [`NoPlace`] where none of these variables is set to an absolute path, or the first to another.
pub fn cache_dir() -> Result<PathBuf, NoPlace> {
    let variables = "SMOLVM_CACHE_DIR, XDG_CACHE_HOME and HOME";
    own("SMOLVM_CACHE_DIR")?
        .or_else(|| absolute("XDG_CACHE_HOME").map(|base| base.join("smolvm")))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache/smolvm")))
        .ok_or(NoPlace::Unset { variables })
}

/// What is known of VMs: `$SMOLVM_STATE_DIR`, else `$XDG_STATE_HOME/smolvm`, else
/// `~/.local/state/smolvm`.
///
/// # Errors
/// [`NoPlace`] where none of these variables is set to an absolute path, or the first to another.
pub fn state_dir() -> Result<PathBuf, NoPlace> {
    let variables = "SMOLVM_STATE_DIR, XDG_STATE_HOME and HOME";
    own("SMOLVM_STATE_DIR")?
        .or_else(|| absolute("XDG_STATE_HOME").map(|base| base.join("smolvm")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/smolvm")))
        .ok_or(NoPlace::Unset { variables })
}

/// The file by which CIDs are given out, where `$SMOLVM_CID_POOL` names one.
///
/// # Errors
/// [`NoPlace::Relative`].
pub fn cid_pool() -> Result<Option<PathBuf>, NoPlace> {
    own("SMOLVM_CID_POOL")
}

/// The value of a variable of our own, which is never ignored; an empty one counts as unset, as in
/// the project's scripts.
fn own(variable: &'static str) -> Result<Option<PathBuf>, NoPlace> {
    match env::var_os(variable) {
        Some(path) if !path.is_empty() => match absolute(variable) {
            Some(path) => Ok(Some(path)),
            None => Err(NoPlace::Relative { variable }),
        },
        _ => Ok(None),
    }
}

/// The variable's value where it is an absolute path: the XDG rules say to ignore any other.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    path.is_absolute().then_some(path)
}
