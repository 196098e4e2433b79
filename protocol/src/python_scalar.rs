//! Scalars as Python prints them.
//!
//! Owns the few texts in which hosts in the field see Python's `str()`, `repr()` and `json.dumps()`:
//! environment values that are no strings, the echoed time-out, refused operations, and every
//! answer's JSON. Refuses containers.

use std::fmt::Write as _;

/// `repr(float)` has an exponent from this place of the decimal point on, counted from the first digit.
const LARGE_POINT: i32 = 17;
/// And up to this one.
const SMALL_POINT: i32 = -4;

/// A finite number as `repr(float)` prints it: `1.0`, `1e+16`, `1e-05`.
///
/// The digits are `serde_json`'s, the shortest that read back alike, as Python's are; std's own way to
/// them is 14 KB more. Where the point stands, and what exponent there is, is Python's.
#[must_use]
pub fn float(number: f64) -> String {
    let shortest = serde_json::Number::from_f64(number.abs())
        .map(|number| number.to_string())
        .unwrap_or_default();
    let (significand, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (whole, fraction) = significand.split_once('.').unwrap_or((significand, ""));
    let all = [whole, fraction].concat();
    let significant = all.trim_start_matches('0');
    // Where the point stands: 1 is behind the first digit.
    let point =
        exponent.parse().unwrap_or(0) + whole.len() as i32 - (all.len() - significant.len()) as i32;
    let sign = if number.is_sign_negative() { "-" } else { "" };
    match significant.trim_end_matches('0') {
        "" => format!("{sign}0.0"),
        digits => format!("{sign}{}", laid_out(digits, point)),
    }
}

/// Digits, neither the first nor the last a 0, with their point or an exponent.
fn laid_out(digits: &str, point: i32) -> String {
    let length = digits.len() as i32;
    if point >= LARGE_POINT || point <= SMALL_POINT {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let sign = if point < 1 { '-' } else { '+' };
        return format!("{first}{dot}{rest}e{sign}{:02}", (point - 1).unsigned_abs());
    }
    if point <= 0 {
        return format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
    }
    if point >= length {
        return format!("{digits}{}.0", "0".repeat((point - length) as usize));
    }
    let (whole, fraction) = digits.split_at(point as usize);
    format!("{whole}.{fraction}")
}

/// Text as `repr(str)` quotes it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for character in text.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            _ if character == quote => quoted.extend(['\\', quote]),
            '\0'..='\x1f' | '\x7f'..='\u{a0}' | '\u{ad}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character));
            }
            _ if is_invisible(character) => {
                let code_point = u32::from(character);
                let _ = match code_point {
                    0..=0xFFFF => write!(quoted, "\\u{code_point:04x}"),
                    _ => write!(quoted, "\\U{code_point:08x}"),
                };
            }
            _ => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

/// Whether a character beyond Latin-1 is a space, a format or a private one, which `repr` escapes. It
/// escapes unassigned ones, too: which those are changes with Unicode's version, and is left out.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{1680}' | '\u{180e}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'..='\u{e007f}' | '\u{f0000}'..='\u{10ffff}'
    )
}

/// Text as `json.dumps(str)` writes it: quoted, and in ASCII alone.
#[must_use]
pub fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\x08' => json.push_str("\\b"),
            '\x0c' => json.push_str("\\f"),
            ' '..='~' => json.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    push_unicode_escape(&mut json, *unit);
                }
            }
        }
    }
    json.push('"');
    json
}

/// Appends an escape of four hexadecimal digits.
pub(crate) fn push_unicode_escape(json: &mut String, unit: u16) {
    let _ = write!(json, "\\u{unit:04x}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (-1.0, "-1.0"),
            (14_247_382_341_385.062, "14247382341385.062"),
            (120.0, "120.0"),
            (0.000123, "0.000123"),
            (0.000_012_3, "1.23e-05"),
            (1.5e-100, "1.5e-100"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (12e15, "1.2e+16"),
            (1.0, "1.0"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    quickcheck! {
        fn printed_floats_are_short_and_read_back_alike(bits: u64) -> bool {
            let number = f64::from_bits(bits);
            let printed = float(number);
            // Of two shortest ones that are equally near, std does not print the one that Python does.
            let length = format!("{number:?}").len();
            !number.is_finite()
                || printed.parse() == Ok(number)
                    && printed.replace("e+", "e").replace("e-0", "e-").len() == length
        }
    }

    #[test]
    fn text_is_quoted_as_python_quotes_it() {
        for (text, repr) in [
            ("x", "'x'"),
            ("", "''"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            ("a\\b\n\x01\u{7f}", "'a\\\\b\\n\\x01\\x7f'"),
            ("é\u{fffd}", "'é\u{fffd}'"),
            ("\u{200b}\u{feff}\u{e0001}", "'\\u200b\\ufeff\\U000e0001'"),
        ] {
            assert_eq!(quoted(text), repr);
        }
    }

    #[test]
    fn json_strings_are_ascii_as_python_writes_them() {
        assert_eq!(
            json_string("a\"\\\n\x7f/é\u{1f600}"),
            "\"a\\\"\\\\\\n\\u007f/\\u00e9\\ud83d\\ude00\""
        );
    }
}
