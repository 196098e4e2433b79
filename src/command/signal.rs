//! A signal by its name or number.

use smolvm_protocol::response::signal_name;
use std::fmt;
use std::str::FromStr;

/// One of Linux's 31 standard signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal {
    number: u8,
}

impl Signal {
    /// The terminal is gone; to many servers: read the configuration anew.
    pub const HUP: Self = Self { number: 1 };
    /// Ctrl-C.
    pub const INT: Self = Self { number: 2 };
    /// Ctrl-\.
    pub const QUIT: Self = Self { number: 3 };
    /// End at once; it cannot be caught.
    pub const KILL: Self = Self { number: 9 };
    /// For the command's own use.
    pub const USR1: Self = Self { number: 10 };
    /// For the command's own use.
    pub const USR2: Self = Self { number: 12 };
    /// End in order.
    pub const TERM: Self = Self { number: 15 };
    /// Go on after a stop.
    pub const CONT: Self = Self { number: 18 };
    /// Stop; it cannot be caught.
    pub const STOP: Self = Self { number: 19 };

    /// The signal of that number; `None` where it is not 1 to 31.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        signal_name(number).map(|_| Self { number })
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.number
    }
}

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSignal {
    text: String,
}

impl fmt::Display for UnknownSignal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.escape_debug();
        write!(
            formatter,
            "there is no signal '{text}'; use a name such as TERM, or a number from 1 to 31"
        )
    }
}

impl std::error::Error for UnknownSignal {}

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// A name with or without `SIG`, or a number.
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        (1..=31)
            .filter_map(Self::from_number)
            .find(|signal| signal_name(signal.number) == Some(name))
            .or_else(|| text.parse().ok().and_then(Self::from_number))
            .ok_or_else(|| UnknownSignal {
                text: text.to_owned(),
            })
    }
}

impl fmt::Display for Signal {
    /// Its name without `SIG`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(signal_name(self.number).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("TERM", 15), ("SIGTERM", 15), ("9", 9), ("SYS", 31)] {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number);
        }
        for text in ["", "SIG", "term", "0", "32", "+9x"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
        for (signal, name) in [
            (Signal::HUP, "HUP"),
            (Signal::INT, "INT"),
            (Signal::QUIT, "QUIT"),
            (Signal::KILL, "KILL"),
            (Signal::USR1, "USR1"),
            (Signal::USR2, "USR2"),
            (Signal::TERM, "TERM"),
            (Signal::CONT, "CONT"),
            (Signal::STOP, "STOP"),
        ] {
            assert_eq!(signal.to_string(), name);
        }
    }
}
