//! What a user types to the program in place of the guest's shell: `~.` at the beginning of a line, as in ssh.
//!
//! Owns the states. A tilde at the beginning of a line is held back until the next key says what it means.

/// What `~?` prints, on a raw terminal.
pub(crate) const HELP: &str = "\r\n~.  leave, and end the shell\r\n~~  send a ~\r\n~?  this help\r\n\
    (each at the beginning of a line)\r\n";

/// Where in a line the user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Beginning,
    Within,
    /// Behind a tilde that was held back.
    Tilde,
}

/// What a user wants of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) help: bool,
    pub(crate) leave: bool,
}

/// Finds wishes among what is typed.
#[derive(Debug, Default)]
pub(crate) struct Escapes {
    place: Place,
}

impl Escapes {
    /// Adds what is for the guest to `kept`, up to a wish to leave.
    pub(crate) fn filter(&mut self, typed: &[u8], kept: &mut Vec<u8>) -> Wish {
        let mut wish = Wish::default();
        for &byte in typed {
            self.place = match (self.place, byte) {
                (Place::Beginning, b'~') => Place::Tilde,
                (Place::Tilde, b'.') => {
                    wish.leave = true;
                    return wish;
                }
                (Place::Tilde, b'?') => {
                    wish.help = true;
                    Place::Beginning
                }
                (place, byte) => {
                    if place == Place::Tilde && byte != b'~' {
                        kept.push(b'~');
                    }
                    kept.push(byte);
                    match byte {
                        b'\r' | b'\n' => Place::Beginning,
                        _ => Place::Within,
                    }
                }
            };
        }
        wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the guest gets of keys that come one by one, and the wishes.
    fn typed(keys: &str) -> (String, Wish) {
        let mut escapes = Escapes::default();
        let (mut kept, mut all) = (Vec::new(), Wish::default());
        for key in keys.bytes() {
            let wish = escapes.filter(&[key], &mut kept);
            all.help |= wish.help;
            all.leave |= wish.leave;
        }
        let mut at_once = Vec::new();
        let wish = Escapes::default().filter(keys.as_bytes(), &mut at_once);
        if !wish.leave {
            assert_eq!((&at_once, wish), (&kept, all), "{keys:?}");
        }
        (String::from_utf8(kept).unwrap(), all)
    }

    #[test]
    fn tilde_and_dot_leave_at_the_beginning_of_a_line_alone() {
        for keys in ["~.", "ls\r~.", "ls\n~.", "~?~.", "\r\r~."] {
            assert!(typed(keys).1.leave, "{keys:?}");
        }
        for keys in ["x~.", "~~.", "~x.", " ~.", "ls ~/.x\r", "~/.", "x\r ~."] {
            let (kept, wish) = typed(keys);
            assert_eq!(wish, Wish::default(), "{keys:?}");
            assert_eq!(kept, keys.replace("~~", "~"));
        }
    }

    #[test]
    fn other_keys_behind_a_tilde_go_with_it_and_help_is_told_from_them() {
        assert_eq!(typed("~~\r~?ls\r").0, "~\rls\r");
        assert!(typed("~?").1.help && !typed("~?").1.leave);
        assert_eq!(typed("~\r~x").0, "~\r~x");
    }

    #[test]
    fn nothing_behind_a_wish_to_leave_is_sent() {
        let mut kept = Vec::new();
        assert!(
            Escapes::default()
                .filter(b"a\r~.rm -r /\r", &mut kept)
                .leave
        );
        assert_eq!(kept, b"a\r");
    }
}
