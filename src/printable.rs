//! Text from somewhere else within a sentence for people.
//!
//! Owns what such a text may do there: nothing but be read. A guest is not trusted with the terminal
//! that shows its words (a control sequence can retitle, repaint and even type), nor with its room.

/// So much of a foreign text is shown.
const MAX_SHOWN_BYTES: usize = 1024;

/// `text` on one line, without characters that steer a terminal or turn the direction of writing,
/// and cut to 1 KiB.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        let character = match character {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            _ if steers(character) => continue,
            _ => character,
        };
        if shown.len() + character.len_utf8() > MAX_SHOWN_BYTES {
            shown.push('…');
            break;
        }
        shown.push(character);
    }
    shown
}

/// A foreign text that comes in pieces, as it may stand on a terminal: lines stay lines.
#[derive(Debug, Default)]
pub struct PrintableLines {
    /// What may be the beginning of a character, at most three bytes.
    begun: Vec<u8>,
}

impl PrintableLines {
    /// The next piece, without characters that steer a terminal; what is no UTF-8 is shown as U+FFFD.
    pub fn next(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend(piece);
        let mut shown = String::new();
        for chunk in bytes.utf8_chunks() {
            let is_line = |c: &char| !steers(*c) || matches!(c, '\n' | '\t');
            shown.extend(chunk.valid().chars().filter(is_line));
            let invalid = chunk.invalid();
            if !invalid.is_empty() && bytes.ends_with(invalid) && is_beginning(invalid) {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
        }
        shown
    }
}

/// Whether a character may follow from these bytes and more.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_dropped_and_lines_are_joined() {
        assert_eq!(
            printable("a\x1b]0;t\x07b\nc\td\u{9b}2J\u{202e}\u{7f}é"),
            "a]0;tb c d2Jé"
        );
    }

    #[test]
    fn pieces_keep_their_lines_and_characters_across_them() {
        let mut lines = PrintableLines::default();
        assert_eq!(lines.next(b"a\x1b[31mb\r\n\tc\xe2\x82"), "a[31mb\n\tc");
        assert_eq!(lines.next(b"\xac\xc2\x9b2J\xff"), "\u{20ac}2J\u{fffd}");
        assert_eq!(lines.next(b"\xe2"), "");
        assert_eq!(lines.next(b"x"), "\u{fffd}x");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(printable(&"x".repeat(1024)), "x".repeat(1024));
        let shown = printable(&"€".repeat(1024));
        assert_eq!(shown, format!("{}…", "€".repeat(341)));
    }
}
