//! JSON text to bytes that need not be UTF-8, and back.
//!
//! Owns Python's `surrogateescape`: a byte 0x80 to 0xFF that is no UTF-8 travels as the lone
//! surrogate U+DC80 to U+DCFF (`docs/protocol.md`, "Request"). Refuses any other lone surrogate.
//! Reading and unescaping JSON is `serde_json`'s; values stay borrowed until somebody wants them.

use crate::python_scalar::push_unicode_escape;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The most of a peer's text that an error repeats, in bytes.
const SHOWN_BYTES: usize = 8192;

/// Why a JSON value is no byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// The value is no JSON string.
    NotAString,
    /// The string has a lone surrogate that stands for no byte.
    LoneSurrogate {
        /// Its code point, U+D800 to U+DFFF.
        code_point: u16,
    },
}

impl fmt::Display for TextError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAString => formatter.write_str("must be a string"),
            Self::LoneSurrogate { code_point } => write!(
                formatter,
                "has the lone surrogate U+{code_point:04X}, which stands for no byte"
            ),
        }
    }
}

impl std::error::Error for TextError {}

/// The bytes that a JSON string stands for.
///
/// # Errors
/// [`TextError`] where it is no string, or has a lone surrogate outside U+DC80 to U+DCFF.
pub fn bytes_of(value: &RawValue) -> Result<Vec<u8>, TextError> {
    bytes_of_json(value.get())
}

/// The same of a value's text.
pub(crate) fn bytes_of_json(json: &str) -> Result<Vec<u8>, TextError> {
    if !json.starts_with('"') {
        return Err(TextError::NotAString);
    }
    let mut bytes = serde_json::Deserializer::from_str(json)
        .deserialize_bytes(SurrogateBytes)
        .map_err(|_| TextError::NotAString)?;
    restore_escaped_bytes(&mut bytes)?;
    Ok(bytes)
}

/// The word of that number, the first being 1, of words with a space between them.
#[must_use]
#[inline(never)]
pub fn word(words: &'static str, number: usize) -> Option<&'static str> {
    let mut left = number;
    let mut start = 0;
    for (at, byte) in words.bytes().chain([b' ']).enumerate() {
        if byte == b' ' {
            left = left.checked_sub(1)?;
            if left == 0 {
                return words.get(start..at);
            }
            start = at + 1;
        }
    }
    None
}

/// Text for people from bytes: what is no UTF-8 as U+FFFD, and no longer than an error should be.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut end = SHOWN_BYTES;
    while end > SHOWN_BYTES - 3 && bytes[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    format!("{}…", String::from_utf8_lossy(&bytes[..end]))
}

/// Bytes as a JSON string, quoted and in ASCII; a byte that is no UTF-8 as its lone surrogate.
#[must_use]
pub fn json_string_of(bytes: &[u8]) -> String {
    let mut json = String::with_capacity(bytes.len() + 2);
    json.push('"');
    for chunk in bytes.utf8_chunks() {
        let quoted = crate::python_scalar::json_string(chunk.valid());
        json.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            push_unicode_escape(&mut json, 0xDC00 + u16::from(*byte));
        }
    }
    json.push('"');
    json
}

/// Takes a JSON string's content with surrogates encoded as if they were characters (WTF-8), which
/// is what `serde_json` makes of a string that is asked for as bytes.
struct SurrogateBytes;

impl Visitor<'_> for SurrogateBytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// Replaces each encoded surrogate U+DC80 to U+DCFF by its byte, in place: the text only shrinks.
fn restore_escaped_bytes(bytes: &mut Vec<u8>) -> Result<(), TextError> {
    let (mut read, mut write) = (0, 0);
    while read < bytes.len() {
        if let [0xED, second @ 0xA0..=0xBF, third, ..] = bytes[read..] {
            let code_point = 0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
            if !(0xDC80..=0xDCFF).contains(&code_point) {
                return Err(TextError::LoneSurrogate { code_point });
            }
            bytes[write] = code_point.to_be_bytes()[1];
            read += 3;
        } else {
            bytes[write] = bytes[read];
            read += 1;
        }
        write += 1;
    }
    bytes.truncate(write);
    Ok(())
}

/// Picks the members `names` out of a JSON object, unparsed; of a repeated one the last counts, as
/// in Python. Unknown members are checked for syntax and skipped, never built.
pub(crate) fn members<'json, const N: usize>(
    json: &'json str,
    names: &[&str; N],
) -> Result<[Option<&'json RawValue>; N], serde_json::Error> {
    let mut found = [None; N];
    pick(json, names, &mut found)?;
    Ok(found)
}

/// The one copy of the code behind [`members`], whatever their number.
fn pick<'json>(
    json: &'json str,
    names: &[&str],
    found: &mut [Option<&'json RawValue>],
) -> Result<(), serde_json::Error> {
    struct Members<'names, 'json>(&'names [&'names str], &'names mut [Option<&'json RawValue>]);

    impl<'json> Visitor<'json> for Members<'_, 'json> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'json>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<&RawValue>()? {
                let value = map.next_value::<&RawValue>()?;
                if let Ok(key) = bytes_of(key) {
                    let known = self.0.iter().position(|name| name.as_bytes() == key);
                    if let Some(place) = known.and_then(|at| self.1.get_mut(at)) {
                        *place = Some(value);
                    }
                }
            }
            Ok(())
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Members(names, found))?;
    deserializer.end()
}

/// The number that a JSON value is, where that is whole and not negative; one copy of the code behind it.
#[inline(never)]
pub(crate) fn whole_number(json: &str) -> Option<u64> {
    json.parse().ok()
}

/// An optional member: `null` counts as absent.
pub(crate) fn present(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|value| value.get() != "null")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn parsed(json: &str) -> Result<Vec<u8>, TextError> {
        bytes_of(serde_json::from_str(json).unwrap())
    }

    quickcheck! {
        fn any_bytes_come_back_from_their_json(bytes: Vec<u8>) -> bool {
            let json = json_string_of(&bytes);
            json.is_ascii() && parsed(&json) == Ok(bytes)
        }
    }

    #[test]
    fn lone_surrogates_of_bytes_become_those_bytes() {
        assert_eq!(parsed(r#""a\udc80\udcffb""#), Ok(b"a\x80\xffb".to_vec()));
        assert_eq!(parsed(r#""\ud83d\ude00""#), Ok("\u{1f600}".into()));
        assert_eq!(
            parsed("\"\u{d7ff}\u{e000}\""),
            Ok("\u{d7ff}\u{e000}".into())
        );
    }

    #[test]
    fn other_lone_surrogates_are_refused() {
        for (json, code_point) in [
            (r#""\ud800""#, 0xD800),
            (r#""x\udc7f""#, 0xDC7F),
            (r#""\udd00""#, 0xDD00),
            (r#""\ud83dx""#, 0xD83D),
        ] {
            assert_eq!(parsed(json), Err(TextError::LoneSurrogate { code_point }));
        }
    }

    #[test]
    fn values_that_are_no_strings_are_refused() {
        for json in ["1", "null", "[1]", "{}", "true"] {
            assert_eq!(parsed(json), Err(TextError::NotAString));
        }
    }

    #[test]
    fn last_of_repeated_members_counts_and_unknown_ones_are_skipped() {
        let json = r#"{"a":1,"x":{"a":[1e999]},"\ud800":0,"b":null,"\u0061":2}"#;
        let [a, b, c] = members(json, &["a", "b", "c"]).unwrap();
        assert_eq!(a.map(RawValue::get), Some("2"));
        assert_eq!(b.map(RawValue::get), Some("null"));
        assert!(present(b).is_none() && c.is_none());
    }

    #[test]
    fn words_are_found_by_their_numbers() {
        let found = [0, 1, 2, 3, 4].map(|number| word("a bc d", number));
        assert_eq!(found, [None, Some("a"), Some("bc"), Some("d"), None]);
    }

    #[test]
    fn text_after_the_object_is_an_error() {
        assert!(members(r#"{"a":1} x"#, &["a"]).is_err());
    }

    #[test]
    fn long_text_is_shown_cut_at_a_character() {
        let text = shown("é".repeat(SHOWN_BYTES).as_bytes());
        assert!(text.ends_with("é…") && text.len() < SHOWN_BYTES + 5);
        assert_eq!(shown(b"a\xffb"), "a\u{fffd}b");
    }
}
