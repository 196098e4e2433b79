//! Entries for `fuzz/` into what the crate keeps to itself: the walk over JSON, and floats.

use crate::float;
use crate::json::Json;
use crate::text;
use serde_json::{Map, Value};

/// Containers within containers, as many as `serde_json` builds.
const MAX_DEPTH: usize = 127;

/// What a text is by the walk of `json.rs`.
#[derive(Clone, Debug, PartialEq)]
pub enum Walked {
    /// No JSON.
    NoJson,
    /// JSON that `serde_json` builds no value of: a string is no Unicode, a number no float, or it is too deep.
    Other,
    /// This value.
    Value(Value),
}

/// Reads a whole text.
#[must_use]
pub fn walk(text: &str) -> Walked {
    let Ok(json) = Json::of(text) else {
        return Walked::NoJson;
    };
    value(json, MAX_DEPTH).map_or(Walked::Other, Walked::Value)
}

fn value(json: Json<'_>, levels: usize) -> Option<Value> {
    if let Some(elements) = json.elements() {
        let levels = levels.checked_sub(1)?;
        let elements: Option<_> = elements.map(|element| value(element, levels)).collect();
        return elements.map(Value::Array);
    }
    if let Some(mut parts) = json.names_and_values() {
        let levels = levels.checked_sub(1)?;
        let mut members = Map::new();
        while let (Some(name), Some(member)) = (parts.next(), parts.next()) {
            members.insert(string(name)?, value(member, levels)?);
        }
        return Some(Value::Object(members));
    }
    if json.get().starts_with('"') {
        return string(json).map(Value::String);
    }
    serde_json::from_str(json.get()).ok()
}

fn string(json: Json<'_>) -> Option<String> {
    String::from_utf8(text::bytes_of(json).ok()?).ok()
}

/// The float that a JSON number is.
#[must_use]
pub fn float(number: &str) -> f64 {
    float::parse(number)
}
