//! What a `run` may say: each member, and which of them go together.
//!
//! Entries of `argv` are counted while they are parsed, so that no request builds more than the
//! limit.

use super::environment;
use super::parse::{Members, flag, required_bytes};
use super::stream;
use super::{Leftovers, RunRequest, Shell, Timeout, Until};
use crate::float;
use crate::json::{Json, present};
use crate::python_scalar::quoted;
use crate::response::Refusal;
use crate::text::{self, shown};

/// The most entries that a request's `argv` may have.
pub const MAX_ARGUMENTS: usize = 16_384;

/// Parses the members of a `run`.
#[inline(never)]
pub(super) fn parse(members: &Members<'_>) -> Result<RunRequest, Refusal> {
    let mut run = RunRequest::default();
    let cmd = members.present("cmd");
    let shell = members.present("shell");
    if let Some(value) = members.present("argv") {
        argv(value, &mut run.argv)?;
        if cmd.is_some() || shell.is_some() {
            return Err(Refusal::new(
                "'argv' is run without a shell: leave 'cmd' and 'shell' out",
            ));
        }
    } else {
        if let Some(cmd) = cmd {
            run.command = required_bytes("cmd", cmd)?;
        }
        if run.command.is_empty() {
            return Err(Refusal::new("missing 'cmd'"));
        }
    }
    if one_of("shell", shell, ["login", "raw"], ": use 'login' or 'raw'")? == Some(true) {
        run.shell = Shell::Raw;
    }
    if let Some(value) = members.present("timeout") {
        run.timeout = timeout(value)?;
    }
    if let Some(env) = members.present("env") {
        run.environment = environment::parse(env)?;
    }
    c_string("cwd", members.get("cwd"), &mut run.directory)?;
    c_string("user", members.get("user"), &mut run.user)?;
    run.usage = flag("usage", members.get("usage"))?;
    run.stdin = flag("stdin", members.get("stdin"))?;
    run.until = until(members)?;
    if let Some(pty) = members.present("pty") {
        run.terminal = Some(stream::terminal(pty)?);
        if members.present("leftovers").is_some() {
            return Err(Refusal::new(
                "'leftovers' goes without 'pty': the end of a terminal is the end of all its processes",
            ));
        }
        if members.present("until").is_some() && run.until == Until::Eof {
            return Err(Refusal::new("'until' must be 'exit' beside 'pty'"));
        }
        run.stdin = true;
        run.until = Until::Exit(Leftovers::Keep);
    }
    Ok(run)
}

fn until(members: &Members<'_>) -> Result<Until, Refusal> {
    let leftovers = one_of(
        "leftovers",
        members.get("leftovers"),
        ["keep", "kill"],
        ": use 'keep' or 'kill'",
    )?;
    match (
        one_of(
            "until",
            members.get("until"),
            ["eof", "exit"],
            ": use 'eof' or 'exit'",
        )?,
        leftovers,
    ) {
        (Some(true), Some(true)) => Ok(Until::Exit(Leftovers::Kill)),
        (Some(true), _) => Ok(Until::Exit(Leftovers::Keep)),
        (_, None) => Ok(Until::Eof),
        _ => Err(Refusal::new("'leftovers' needs 'until': 'exit'")),
    }
}

/// Whether a member is the second of its two words; `None` where it is absent.
fn one_of(
    member: &str,
    value: Option<Json<'_>>,
    words: [&str; 2],
    hint: &str,
) -> Result<Option<bool>, Refusal> {
    let Some(value) = present(value) else {
        return Ok(None);
    };
    let word = required_bytes(member, value)?;
    if let Some(at) = words.iter().position(|each| each.as_bytes() == word) {
        return Ok(Some(at == 1));
    }
    let quoted = quoted(&shown(&word));
    Err(Refusal::new(
        ["unknown ", member, " ", &quoted, hint].concat(),
    ))
}

/// A string that the kernel takes, and no empty one; absent, `place` stays that.
fn c_string(member: &str, value: Option<Json<'_>>, place: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some(value) = present(value) else {
        return Ok(());
    };
    *place = required_bytes(member, value)?;
    if place.is_empty() || place.contains(&0) {
        return Err(Refusal::new(
            ["'", member, "' is empty or has a NUL byte"].concat(),
        ));
    }
    Ok(())
}

/// A program and its arguments.
fn argv(value: Json<'_>, argv: &mut Vec<Vec<u8>>) -> Result<(), Refusal> {
    let Some(elements) = value.elements() else {
        return Err(Refusal::new("'argv' must be an array of strings"));
    };
    for element in elements {
        if argv.len() == MAX_ARGUMENTS {
            let sentence = format!("'argv' has more than {MAX_ARGUMENTS} entries");
            return Err(Refusal::new(sentence));
        }
        let entry = text::bytes_of(element)
            .map_err(|error| Refusal::new(format!("an entry of 'argv' {error}")))?;
        if entry.contains(&0) {
            return Err(Refusal::new("an entry of 'argv' has a NUL byte"));
        }
        argv.push(entry);
    }
    if argv.first().is_none_or(Vec::is_empty) {
        return Err(Refusal::new(
            "'argv' names no program: its first entry is missing or empty",
        ));
    }
    Ok(())
}

/// The time limit; an integer too large for a float is finite still, and too long for any clock.
fn timeout(value: Json<'_>) -> Result<Option<Timeout>, Refusal> {
    let refusal = || {
        Refusal::new("'timeout' must be a finite number of seconds, 0 or more (0: no time limit)")
    };
    let number = value.get();
    let seconds = match number.as_bytes()[0] {
        b'-' | b'0'..=b'9' => float::parse(number),
        _ => return Err(refusal()),
    };
    let is_integer = !number.contains(['.', 'e', 'E']);
    if seconds < 0.0 || (seconds.is_infinite() && !is_integer) {
        return Err(refusal());
    }
    Ok(Timeout::from_seconds(seconds))
}
