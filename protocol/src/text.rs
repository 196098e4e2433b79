//! JSON text to bytes that need not be UTF-8, and back.
//!
//! Owns Python's `surrogateescape`: a byte 0x80 to 0xFF that is no UTF-8 travels as the lone
//! surrogate U+DC80 to U+DCFF (`docs/protocol.md`, "Request"). Refuses any other lone surrogate.
//! Values stay borrowed (`json.rs`) until somebody wants their bytes.

use crate::json::Json;
use crate::python_scalar::push_unicode_escape;
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
#[inline(never)]
pub(crate) fn bytes_of(value: Json<'_>) -> Result<Vec<u8>, TextError> {
    let [b'"', within @ .., _] = value.get().as_bytes() else {
        return Err(TextError::NotAString);
    };
    let mut rest = within;
    let mut bytes = Vec::with_capacity(rest.len());
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let Some((escaped, behind)) = rest.split_first() else {
            break;
        };
        rest = behind;
        bytes.push(match escaped {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => match code_point(&mut rest) {
                byte @ 0xDC80..=0xDCFF => byte as u8,
                other => {
                    let Some(character) = char::from_u32(other) else {
                        let code_point = other as u16;
                        return Err(TextError::LoneSurrogate { code_point });
                    };
                    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            },
            itself => *itself,
        });
    }
    Ok(bytes)
}

/// The code point that `\u` stands for whose digits come next: of a high surrogate with a low one
/// behind it the character that both are.
fn code_point(rest: &mut &[u8]) -> u32 {
    let unit = take_unit(rest);
    if let (0xD800..=0xDBFF, Some(mut behind)) = (unit, rest.strip_prefix(b"\\u")) {
        let low @ 0xDC00..=0xDFFF = take_unit(&mut behind) else {
            return unit;
        };
        *rest = behind;
        return 0x1_0000 + ((unit - 0xD800) << 10 | (low - 0xDC00));
    }
    unit
}

/// The number that the next four digits are.
fn take_unit(rest: &mut &[u8]) -> u32 {
    let (digits, behind) = rest.split_at(rest.len().min(4));
    *rest = behind;
    let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or_default();
    digits
        .iter()
        .fold(0, |unit, digit| unit << 4 | value(digit))
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

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn parsed(json: &str) -> Result<Vec<u8>, TextError> {
        bytes_of(Json::of_valid(json))
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
    fn words_are_found_by_their_numbers() {
        let found = [0, 1, 2, 3, 4].map(|number| word("a bc d", number));
        assert_eq!(found, [None, Some("a"), Some("bc"), Some("d"), None]);
    }

    #[test]
    fn long_text_is_shown_cut_at_a_character() {
        let text = shown("é".repeat(SHOWN_BYTES).as_bytes());
        assert!(text.ends_with("é…") && text.len() < SHOWN_BYTES + 5);
        assert_eq!(shown(b"a\xffb"), "a\u{fffd}b");
    }
}
