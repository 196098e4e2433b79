//! A control frame's payload becomes a [`Request`], or a [`Refusal`] with its one sentence.

use super::environment;
use super::resume;
use super::run;
use super::stream;
use super::{
    Destination, ExpectedSum, FollowingSum, GetFileRequest, GetTreeRequest, MAX_ID, PutFileRequest,
    PutTreeRequest, Request, ShutdownMode,
};
use crate::checksum::Checksum;
use crate::float;
use crate::json::{self, Json, present};
use crate::python_scalar;
use crate::response::Refusal;
use crate::text::{self, shown};

/// The members that a request of any operation can have.
const NAMES: &str = "op v cmd shell timeout env argv cwd user usage until leftovers stdin pty rows cols \
    term signal to path name mode size sha256 uid gid sync";
const NUMBER_OF_NAMES: usize = 27;

/// A request's members, unparsed, in the order of [`NAMES`].
pub(super) struct Members<'frame>([Option<Json<'frame>>; NUMBER_OF_NAMES]);

impl Request {
    /// Parses the payload of a request's frame.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let members = Members::parse(payload)?;
        members.check_version()?;
        let op = members.operation()?;
        match op.as_slice() {
            b"ping" => Ok(Self::Ping),
            b"run" => run::parse(&members).map(Self::Run).map_err(Refusal::of_run),
            b"put_file" => members.put_file().map(Self::PutFile),
            b"get_file" => members.get_file().map(Self::GetFile),
            b"put_tree" => members.put_tree().map(Self::PutTree),
            b"get_tree" => members.get_tree().map(Self::GetTree),
            b"shutdown" => members.shutdown().map(Self::Shutdown),
            b"timings" => Ok(Self::Timings),
            b"connect" => stream::connect(&members).map(Self::Connect),
            b"set_clock" => resume::set_clock(payload),
            b"reseed" => resume::reseed(payload),
            _ => Err(unknown_operation(members.get("op"))),
        }
    }
}

impl FollowingSum {
    /// Parses the payload of the frame behind an upload whose sum follows.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        match Members::parse(payload)?.get("sha256").map(expected_sum) {
            Some(Ok(ExpectedSum::Given(sum))) => Ok(Self(sum)),
            _ => Err(no_checksum()),
        }
    }
}

impl<'frame> Members<'frame> {
    /// Not within the agent's code for a connection, where it would be 3 KB more.
    #[inline(never)]
    pub(super) fn parse(payload: &'frame [u8]) -> Result<Self, Refusal> {
        let json = std::str::from_utf8(payload).map_err(|error| bad_request(&error))?;
        json::members(json, NAMES)
            .map(Self)
            .map_err(|error| bad_request(&error))
    }

    /// The member of that name, one of [`NAMES`].
    #[inline(never)]
    pub(super) fn get(&self, name: &str) -> Option<Json<'frame>> {
        let at = NAMES.split(' ').position(|known| known == name);
        debug_assert!(at.is_some(), "{name} is none of the names");
        *self.0.get(at?)?
    }

    /// The same; `null` counts as absent.
    #[inline(never)]
    pub(super) fn present(&self, name: &str) -> Option<Json<'frame>> {
        present(self.get(name))
    }

    /// What is asked for; the name of an operation that there may be.
    pub(super) fn operation(&self) -> Result<Vec<u8>, Refusal> {
        match self.get("op") {
            Some(op) if op.get().starts_with('"') => required_bytes("op", op),
            other => Err(unknown_operation(other)),
        }
    }

    fn check_version(&self) -> Result<(), Refusal> {
        let Some(version) = self.present("v") else {
            return Ok(());
        };
        if is_one(version) {
            return Ok(());
        }
        Err(Refusal::new(format!(
            "unsupported protocol version {}",
            printed(version)
        )))
    }

    fn put_file(&self) -> Result<PutFileRequest, Refusal> {
        let size = match self.get("size") {
            None => 0,
            Some(size) => json::whole_number(size)
                .ok_or_else(|| Refusal::new("'size' must be a whole number of bytes, 0 or more"))?,
        };
        Ok(PutFileRequest {
            size,
            destination: self.destination(),
        })
    }

    #[inline(never)]
    fn destination(&self) -> Result<Destination, Refusal> {
        let mut to = Destination {
            path: self.required_path()?,
            name: self.name()?,
            ..Destination::default()
        };
        if let Some(value) = self.present("mode") {
            to.mode = Some(mode(value)?);
        }
        if let Some(value) = self.present("sha256") {
            to.sha256 = Some(expected_sum(value)?);
        }
        id("uid", self.get("uid"), &mut to.owner.uid)?;
        id("gid", self.get("gid"), &mut to.owner.gid)?;
        to.sync = flag("sync", self.get("sync"))?;
        Ok(to)
    }

    fn name(&self) -> Result<Option<Vec<u8>>, Refusal> {
        self.present("name")
            .map(|name| required_bytes("name", name))
            .transpose()
    }

    fn get_file(&self) -> Result<GetFileRequest, Refusal> {
        Ok(GetFileRequest {
            path: self.required_path()?,
            sha256: flag("sha256", self.get("sha256"))?,
        })
    }

    fn put_tree(&self) -> Result<PutTreeRequest, Refusal> {
        Ok(PutTreeRequest {
            path: self.required_path()?,
            name: self.name()?,
        })
    }

    fn get_tree(&self) -> Result<GetTreeRequest, Refusal> {
        Ok(GetTreeRequest {
            path: self.required_path()?,
        })
    }

    fn shutdown(&self) -> Result<ShutdownMode, Refusal> {
        let Some(mode) = self.present("mode") else {
            return Ok(ShutdownMode::default());
        };
        match required_bytes("mode", mode)?.as_slice() {
            b"poweroff" => Ok(ShutdownMode::PowerOff),
            b"reboot" => Ok(ShutdownMode::Reboot),
            other => {
                let quoted = python_scalar::quoted(&shown(other));
                Err(Refusal::new(format!(
                    "unknown mode {quoted}: use 'poweroff' or 'reboot'"
                )))
            }
        }
    }

    fn required_path(&self) -> Result<Vec<u8>, Refusal> {
        let path = match self.present("path") {
            Some(path) => required_bytes("path", path)?,
            None => Vec::new(),
        };
        if path.is_empty() {
            return Err(Refusal::new("missing 'path'"));
        }
        Ok(path)
    }
}

fn bad_request(reason: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(format!("bad request: {reason}"))
}

pub(super) fn unknown_operation(op: Option<Json<'_>>) -> Refusal {
    let shown = match op {
        None => "None".to_owned(),
        Some(op) if op.get().starts_with('"') => python_scalar::quoted(
            &text::bytes_of(op).map_or_else(|_| String::new(), |op| shown(&op)),
        ),
        Some(op) => printed(op),
    };
    Refusal::new(["unknown op ", &shown].concat())
}

/// Whether a value equals the number 1.
fn is_one(value: Json<'_>) -> bool {
    value
        .get()
        .starts_with(|first: char| first.is_ascii_digit())
        && float::parse(value.get()) == 1.0
}

/// A value as Python's `str()` prints it; a container stays JSON.
fn printed(value: Json<'_>) -> String {
    match environment::printed_scalar(value) {
        Ok(bytes) => shown(&bytes),
        Err(_) => shown(value.get().as_bytes()),
    }
}

/// The bytes of a member that must be a string.
pub(crate) fn required_bytes(member: &str, value: Json<'_>) -> Result<Vec<u8>, Refusal> {
    text::bytes_of(value).map_err(|error| match error {
        text::TextError::NotAString => Refusal::new(format!("'{member}' {error}")),
        text::TextError::LoneSurrogate { .. } => bad_request(&format_args!("'{member}' {error}")),
    })
}

/// Permission bits; a file type's bits, which a host's `stat` has beside them, are dropped as
/// `chmod(2)` drops them.
pub(crate) fn mode(value: Json<'_>) -> Result<u32, Refusal> {
    match json::whole_number(value) {
        Some(mode) if mode <= 0o177_777 => Ok(mode as u32 & 0o7777),
        _ => Err(Refusal::new(
            "'mode' must be a whole number, the permission bits (0o7777 at most; a file type's bits are dropped)",
        )),
    }
}

/// A sum, or the word that says where it will be.
fn expected_sum(value: Json<'_>) -> Result<ExpectedSum, Refusal> {
    let text = text::bytes_of(value).unwrap_or_default();
    if text == b"follows" {
        return Ok(ExpectedSum::Follows);
    }
    let sum = Checksum::from_hex(&text).ok_or_else(no_checksum)?;
    Ok(ExpectedSum::Given(sum))
}

fn no_checksum() -> Refusal {
    Refusal::new("'sha256' must be 64 hex digits, the SHA-256 sum of the content")
}

/// The number of a user or group.
fn id(member: &str, value: Option<Json<'_>>, id: &mut Option<u32>) -> Result<(), Refusal> {
    if let Some(value) = present(value) {
        // As 64 bits, for which the code is there.
        *id = match value.get().parse::<u64>() {
            Ok(number) if number <= MAX_ID.into() => Some(number as u32),
            _ => None,
        };
        if id.is_none() {
            return Err(Refusal::new(format!(
                "'{member}' must be a whole number, 0 to {MAX_ID}"
            )));
        }
    }
    Ok(())
}

/// A member that is true or false; absent, it is false.
pub(super) fn flag(member: &str, value: Option<Json<'_>>) -> Result<bool, Refusal> {
    match present(value).map(Json::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        _ => Err(Refusal::new(format!("'{member}' must be true or false"))),
    }
}

#[cfg(test)]
#[path = "parse_file_tests.rs"]
mod file_tests;

#[cfg(test)]
#[path = "parse_run_tests.rs"]
mod run_tests;

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
