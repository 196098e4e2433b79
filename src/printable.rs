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
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => continue,
            _ if character.is_control() => continue,
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
    fn long_text_is_cut_between_characters() {
        assert_eq!(printable(&"x".repeat(1024)), "x".repeat(1024));
        let shown = printable(&"€".repeat(1024));
        assert_eq!(shown, format!("{}…", "€".repeat(341)));
    }
}
