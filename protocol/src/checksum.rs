//! A file's SHA-256 sum as it stands in requests and answers.
//!
//! Owns its text, 64 hex digits. Refuses to compute one: that is for whoever has the bytes.

use std::fmt;

/// A SHA-256 sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub [u8; Self::BYTES]);

impl Checksum {
    /// How long a sum is.
    pub const BYTES: usize = 32;

    /// The sum of so many hex digits, of either case; `None` where `text` is anything else.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let mut sum = [0; Self::BYTES];
        if text.len() != 2 * Self::BYTES {
            return None;
        }
        for (at, &digit) in text.iter().enumerate() {
            let value = char::from(digit).to_digit(16)?;
            sum[at / 2] = sum[at / 2] << 4 | value as u8;
        }
        Some(Self(sum))
    }
}

/// Its hex digits, in lower case.
impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 2 * Self::BYTES];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        formatter.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn sums_are_read_as_they_are_written_in_either_case(seed: u64) -> bool {
            let mut sum = [0xa5; Checksum::BYTES];
            sum[7..15].copy_from_slice(&seed.to_be_bytes());
            let text = Checksum(sum).to_string();
            [text.to_lowercase(), text.to_uppercase()]
                .iter()
                .all(|text| Checksum::from_hex(text.as_bytes()) == Some(Checksum(sum)))
        }
    }

    #[test]
    fn what_is_not_64_hex_digits_is_no_sum() {
        for text in [
            "",
            "0",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
        ] {
            assert_eq!(Checksum::from_hex(text.as_bytes()), None, "{text}");
        }
    }
}
