//! The environment that a `run` brings along.
//!
//! Owns its limits and how scalars that are no strings are printed. Entries are counted while they
//! are parsed, so that no request builds more than the limit.

use super::Environment;
use crate::float;
use crate::python_scalar;
use crate::response::Refusal;
use crate::text::{self, TextError, shown};
use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The most entries that a request's `env` may have.
pub const MAX_ENVIRONMENT_ENTRIES: usize = 16_384;

/// Parses `env`.
pub(super) fn parse(env: &RawValue) -> Result<Environment, Refusal> {
    if !env.get().starts_with('{') {
        return Err(Refusal::new("'env' must be an object of strings"));
    }
    let mut refusal = None;
    serde_json::Deserializer::from_str(env.get())
        .deserialize_map(Entries {
            refusal: &mut refusal,
        })
        .map_err(|error| refusal.unwrap_or_else(|| Refusal::new(format!("bad request: {error}"))))
}

/// Collects entries; the first bad one's refusal is kept beside the deserializer's own error.
struct Entries<'refusal> {
    refusal: &'refusal mut Option<Refusal>,
}

impl<'json> Visitor<'json> for Entries<'_> {
    type Value = Environment;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'json>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<&RawValue>()? {
            let value = map.next_value::<&RawValue>()?;
            let entry = if entries.len() == MAX_ENVIRONMENT_ENTRIES {
                Err(format!(
                    "'env' has more than {MAX_ENVIRONMENT_ENTRIES} entries"
                ))
            } else {
                entry(name, value)
            };
            match entry {
                Ok(entry) => entries.push(entry),
                Err(sentence) => {
                    *self.refusal = Some(Refusal::new(sentence));
                    return Err(A::Error::custom("refused"));
                }
            }
        }
        Ok(entries)
    }
}

fn entry(name: &RawValue, value: &RawValue) -> Result<(Vec<u8>, Vec<u8>), String> {
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
pub(super) fn printed_scalar(value: &RawValue) -> Result<Vec<u8>, ScalarError> {
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
