//! The parts of a JSON text, found and not built.
//!
//! Owns the walk over a text that is known to be JSON: an object's members, an array's elements.
//! Whether it is JSON is `serde_json`'s to say, once for the whole text; its own reading of the
//! parts would bring its reading of numbers, which nobody wants here, into every guest: 8 KB.
//! A [`Json`] is one value without white space around it, still as the peer wrote it.

use serde::de::IgnoredAny;
use std::fmt;

/// What stands between two parts of a container, and JSON's white space.
const SEPARATORS: [char; 6] = [',', ':', ' ', '\t', '\n', '\r'];

/// One value's text, within a text that is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Json<'text>(&'text str);

/// Why a text is no JSON object.
#[derive(Debug)]
pub(crate) enum JsonError {
    /// It is no JSON.
    Syntax(serde_json::Error),
    /// It is another value.
    NoObject,
}

impl fmt::Display for JsonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(formatter),
            Self::NoObject => formatter.write_str("not a JSON object"),
        }
    }
}

impl<'text> Json<'text> {
    /// The value of a whole text, whatever its kind. Each part is checked, none is built, and depth
    /// costs no stack.
    #[inline(never)]
    pub(crate) fn of(text: &'text str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<IgnoredAny>(text)?;
        Ok(Self(text.trim_matches(SEPARATORS)))
    }

    /// Its text: never empty.
    pub(crate) fn get(self) -> &'text str {
        self.0
    }

    /// An array's elements; `None` of another value.
    pub(crate) fn elements(self) -> Option<Parts<'text>> {
        self.0.strip_prefix('[').map(Parts)
    }

    /// An object's names and values, in turn; `None` of another value.
    pub(crate) fn names_and_values(self) -> Option<Parts<'text>> {
        self.0.strip_prefix('{').map(Parts)
    }
}

/// What is left of a container, its closing bracket included.
pub(crate) struct Parts<'text>(&'text str);

impl<'text> Iterator for Parts<'text> {
    type Item = Json<'text>;

    #[inline(never)]
    fn next(&mut self) -> Option<Json<'text>> {
        let rest = self.0.trim_start_matches(SEPARATORS);
        let (part, rest) = rest.split_at_checked(end_of_value(rest.as_bytes()))?;
        self.0 = rest;
        (!part.is_empty()).then_some(Json(part))
    }
}

/// Where the value ends that a container goes on with; 0 at the container's end.
fn end_of_value(json: &[u8]) -> usize {
    let (mut at, mut depth, mut is_in_string) = (0, 0_usize, false);
    while let Some(byte) = json.get(at) {
        match byte {
            // In strings alone: whatever follows, it ends nothing.
            b'\\' => at += 1,
            b'"' => is_in_string = !is_in_string,
            _ if is_in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 0 => depth -= 1,
            b']' | b'}' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// Picks the members `names`, words with a space between them, out of a JSON object, unparsed; of a
/// repeated one the last counts, as in Python. Unknown members are checked for syntax and skipped,
/// never built.
pub(crate) fn members<'text, const N: usize>(
    text: &'text str,
    names: &str,
) -> Result<[Option<Json<'text>>; N], JsonError> {
    let mut found = [None; N];
    pick(text, names, &mut found)?;
    Ok(found)
}

/// The one copy of the code behind [`members`], whatever their number.
#[inline(never)]
fn pick<'text>(
    text: &'text str,
    names: &str,
    found: &mut [Option<Json<'text>>],
) -> Result<(), JsonError> {
    let json = Json::of(text).map_err(JsonError::Syntax)?;
    let mut parts = json.names_and_values().ok_or(JsonError::NoObject)?;
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if let Ok(name) = crate::text::bytes_of(name) {
            let known = names.split(' ').position(|known| known.as_bytes() == name);
            if let Some(place) = known.and_then(|at| found.get_mut(at)) {
                *place = Some(value);
            }
        }
    }
    Ok(())
}

/// The number that a JSON value is, where that is whole and not negative; one copy of the code behind it.
#[inline(never)]
pub(crate) fn whole_number(value: Json<'_>) -> Option<u64> {
    value.get().parse().ok()
}

/// An optional member: `null` counts as absent.
pub(crate) fn present(value: Option<Json<'_>>) -> Option<Json<'_>> {
    value.filter(|value| value.get() != "null")
}

#[cfg(test)]
#[path = "json_tests.rs"]
pub(crate) mod tests;
