//! The environment that a `run` brings along.
//!
//! Owns its limits and how scalars that are no strings are printed. Entries are counted while they
//! are parsed, so that no request builds more than the limit.

use super::Environment;
use crate::float;
use crate::json::Json;
use crate::python_scalar;
use crate::response::Refusal;
use crate::text::{self, TextError, shown};
use std::fmt;

/// The most entries that a request's `env` may have.
pub const MAX_ENVIRONMENT_ENTRIES: usize = 16_384;

/// Parses `env`.
pub(super) fn parse(env: Json<'_>) -> Result<Environment, Refusal> {
    let Some(mut parts) = env.names_and_values() else {
        return Err(Refusal::new("'env' must be an object of strings"));
    };
    let mut entries = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if entries.len() == MAX_ENVIRONMENT_ENTRIES {
            let sentence = format!("'env' has more than {MAX_ENVIRONMENT_ENTRIES} entries");
            return Err(Refusal::new(sentence));
        }
        entries.push(entry(name, value).map_err(Refusal::new)?);
    }
    Ok(entries)
}

fn entry(name: Json<'_>, value: Json<'_>) -> Result<(Vec<u8>, Vec<u8>), String> {
    let name =
        text::bytes_of(name).map_err(|error| format!("bad request: a name in 'env' {error}"))?;
    let quoted = || python_scalar::quoted(&shown(&name));
    if name.is_empty() {
        return Err("'env' has an empty name".to_owned());
    }
    if name.contains(&b'=') || name.contains(&0) {
        return Err(format!(
            "the name {} in 'env' has a '=' or a NUL byte",
            quoted()
        ));
    }
    let value = match printed_scalar(value) {
        Ok(value) => value,
        Err(ScalarError::Text(error)) => {
            return Err(format!(
                "bad request: the value of {} in 'env' {error}",
                quoted()
            ));
        }
        Err(error) => return Err(format!("the value of {} in 'env' {error}", quoted())),
    };
    if value.contains(&0) {
        return Err(format!("the value of {} in 'env' has a NUL byte", quoted()));
    }
    Ok((name, value))
}

/// Why a value cannot be printed.
pub(super) enum ScalarError {
    Container,
    OutOfRange,
    Text(TextError),
}

impl fmt::Display for ScalarError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container => formatter.write_str("must be a string, not an array or an object"),
            Self::OutOfRange => {
                formatter.write_str("is a number out of range: send it as a string")
            }
            Self::Text(error) => error.fmt(formatter),
        }
    }
}

/// A string's bytes, or another scalar as Python's `str()` prints it.
pub(super) fn printed_scalar(value: Json<'_>) -> Result<Vec<u8>, ScalarError> {
    let json = value.get();
    match json.as_bytes()[0] {
        b'"' => text::bytes_of(value).map_err(ScalarError::Text),
        b't' => Ok(b"True".to_vec()),
        b'f' => Ok(b"False".to_vec()),
        b'n' => Ok(b"None".to_vec()),
        b'[' | b'{' => Err(ScalarError::Container),
        _ if json.contains(['.', 'e', 'E']) => match float::parse(json) {
            number if number.is_finite() => Ok(python_scalar::float(number).into_bytes()),
            _ => Err(ScalarError::OutOfRange),
        },
        _ => match json.parse::<i64>() {
            Ok(number) => Ok(number.to_string().into_bytes()),
            Err(_) => Err(ScalarError::OutOfRange),
        },
    }
}
